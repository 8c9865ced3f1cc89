"""`audiosieve query`: SQL over the tables of an output, or a summary of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pipelines.common.arguments import Dependent, Parser, check_effects, parse_options
from pipelines.common.errors import UsageError, command
from pipelines.common.terminal import columns, lines
from transforms.analysis.queries import QueryError, QueryResult, select
from transforms.analysis.row_formats import write_csv, write_json, write_parquet
from transforms.analysis.summary import Summary, summarise
from transforms.analysis.summary_text import summary_text
from transforms.analysis.text_tables import screen_text, table_text
from transforms.output.results import Results, open_results
from transforms.storage.atomic_files import check_new, new_file, new_text

# Rows of a table that are printed on the smallest terminal.
LEAST_ROWS = 5
# Lines for the header, its rule, the notes below the rows, and the prompt.
LINES_BESIDE_ROWS = 6
FORMATS = ("table", "csv", "json", "parquet")
SUMMARY_FORMATS = ("table", "json")


@dataclasses.dataclass(frozen=True)
class QueryOptions:
    """Options of `audiosieve query`.

    Attributes:
        scores: output folder of `audiosieve score`.
        sql: one SELECT, or "-" to read it from stdin; None if not given.
        file: path of a file with the SQL; None if not given.
        format: "table", "csv", "json" or "parquet"; None to choose by the suffix of the output.
        output: path of the file for the rows; None for stdout.
        overwrite: whether to replace an existing file.
        by: column or SQL expression that groups the summary; None for the first folder in which the ids differ.
    """

    scores: str
    sql: str | None
    file: str | None
    format: str | None
    output: str | None
    overwrite: bool
    by: str | None

    @property
    def row_format(self) -> str:
        """Format of the rows: the requested one, or that of the suffix of the output, or "table"."""
        suffix = Path(self.output or "").suffix[1:]
        return self.format or (suffix if suffix in FORMATS else FORMATS[0])


@command("query")
def run(argv: Sequence[str]) -> int:
    """Prints or writes the rows of a query; without SQL, a summary."""
    options = parse(argv)
    sql = _sql(options)
    _check_options(options, sql)
    results = open_results(options.scores)
    try:
        if sql is None:
            _write_summary(summarise(results, options.by), options)
        else:
            _write_rows(results, sql, options)
    except QueryError as error:
        raise UsageError(str(error) if options.by is None else f"--by {options.by}: {error}") from error
    return 0


def _write_summary(summary: Summary, options: QueryOptions) -> None:
    with _text_output(options) as out:
        if options.row_format == "json":
            out.write(json.dumps(dataclasses.asdict(summary), indent=2) + "\n")
        else:
            out.write(f"{summary_text(summary, None if options.output else columns())}\n")


def _write_rows(results: Results, sql: str, options: QueryOptions) -> None:
    rows = select(results.connect(), sql)
    if options.row_format == "parquet" and options.output:
        with new_file(options.output, options.overwrite) as file:
            write_parquet(rows, file)
        return
    with _text_output(options) as out:
        if options.row_format == "csv":
            write_csv(rows, out)
        elif options.row_format == "json":
            write_json(rows, out)
        else:
            out.write(f"{_table(rows, options)}\n")


def _table(rows: QueryResult, options: QueryOptions) -> str:
    """Returns the rows as text: all of them, or on a terminal as many as fit, with the number of the others."""
    width, height = columns(), lines()
    if options.output or width is None or height is None:
        return table_text(rows.table())
    first, more = rows.first(max(LEAST_ROWS, height - LINES_BESIDE_ROWS))
    return screen_text(first, more, width)


@contextlib.contextmanager
def _text_output(options: QueryOptions) -> Iterator[TextIO]:
    if options.output:
        with new_text(options.output, options.overwrite) as out:
            yield out
    else:
        yield sys.stdout


def _sql(options: QueryOptions) -> str | None:
    """Returns the SQL from the command line, a file or stdin; None for a summary."""
    if options.sql and options.file:
        raise UsageError("SQL is given twice: on the command line and in --file; choose one")
    try:
        if options.file:
            return Path(options.file).read_text(encoding="utf-8-sig")
        return sys.stdin.read() if options.sql == "-" else options.sql
    except OSError as error:
        raise UsageError(f"--file {options.file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the SQL is not in UTF-8 ({error})") from error


def _check_options(options: QueryOptions, sql: str | None) -> None:
    """Checks the options against each other and the output against the storage."""
    if options.by is not None and sql is not None:
        raise UsageError("--by groups the summary, and SQL replaces the summary; use GROUP BY in the SQL")
    if sql is None and options.row_format not in SUMMARY_FORMATS:
        raise UsageError(
            f"--format {options.row_format} needs SQL; formats of the summary: {', '.join(SUMMARY_FORMATS)}"
        )
    if options.output:
        check_new(options.output, options.overwrite)
    elif options.row_format == "parquet":
        raise UsageError("--format parquet needs an --output to write to")


def parse(argv: Sequence[str]) -> QueryOptions:
    """Returns the options of the command."""
    parser = build_parser()
    options = parse_options(parser, argv, QueryOptions)
    check_effects(parser, argv, options, Dependent(("overwrite",), bool(options.output), "--output"))
    return options


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "query",
        "Run SQL (DuckDB) over the output of `audiosieve score`. The tables are utterances, frames, anomalies, rejects and "
        "runs. Without SQL, print a summary.",
    )
    add = parser.add_argument
    add("scores", metavar="OUT", help="output folder of `audiosieve score`, local or in a bucket")
    add("sql", nargs="?", metavar="SQL", help="one SELECT; - reads it from stdin")
    add("--file", metavar="FILE", help="file with the SQL")
    add(
        "--format",
        choices=FORMATS,
        help="format of the rows; by default that of the suffix of --output, or table",
    )
    add("-o", "--output", metavar="FILE", help="file for the rows; by default they are printed")
    add("--overwrite", action="store_true", help="replace an existing --output")
    add(
        "--by",
        metavar="SQL",
        help="column of utterances, or SQL expression, that groups the summary; by default the first folder in which the "
        "ids differ",
    )
    return parser
