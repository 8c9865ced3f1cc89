"""`audiosieve query`: SQL over the tables of an output, or a summary of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pipelines.common.arguments import Parser, UsageError, command
from transforms.analysis.queries import QueryError, select
from transforms.analysis.row_formats import write_csv, write_json, write_parquet
from transforms.analysis.summary import summarise
from transforms.analysis.summary_text import summary_text
from transforms.analysis.text_tables import table_text
from transforms.output.results import open_results
from transforms.storage.atomic_files import check_new, new_file, new_text

FORMATS = ("table", "csv", "json", "parquet")
_OF_SUMMARY = ("table", "json")


@command("query")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, asks, and prints or writes the answer."""
    options = _parser().parse_args(argv)
    sql = _sql(options)
    _check_options(options, sql)
    results = open_results(options.scores)
    try:
        if sql is None:
            summary = summarise(results, options.by)
            with _out(options) as out:
                out.write(_as_json(summary) if options.format == "json" else f"{summary_text(summary)}\n")
            return 0
        answer = select(results.connect(), sql)
        if options.format == "parquet":
            with new_file(options.output, options.overwrite) as file:
                write_parquet(answer, file)
            return 0
        with _out(options) as out:
            if options.format == "csv":
                write_csv(answer, out)
            elif options.format == "json":
                write_json(answer, out)
            else:
                out.write(f"{table_text(answer.table())}\n")
    except QueryError as error:
        raise UsageError(str(error) if options.by is None else f"--by {options.by}: {error}") from error
    return 0


@contextlib.contextmanager
def _out(options: argparse.Namespace) -> Iterator[TextIO]:
    if options.output:
        with new_text(options.output, options.overwrite) as out:
            yield out
    else:
        yield sys.stdout


def _as_json(summary: object) -> str:
    return json.dumps(dataclasses.asdict(summary), indent=2) + "\n"  # type: ignore[call-overload]


def _sql(options: argparse.Namespace) -> str | None:
    """What is asked: on the command line, in a file, or on stdin; None for a summary."""
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


def _check_options(options: argparse.Namespace, sql: str | None) -> None:
    if options.by is not None and sql is not None:
        raise UsageError("--by is for the summary, without SQL; in SQL there is GROUP BY")
    if options.format is None:
        suffix = Path(options.output or "").suffix[1:]
        options.format = suffix if suffix in FORMATS else FORMATS[0]
    if sql is None and options.format not in _OF_SUMMARY:
        raise UsageError(f"--format {options.format} is for SQL; the summary can be had as {' or '.join(_OF_SUMMARY)}")
    if options.output:
        check_new(options.output, options.overwrite)
    elif options.format == "parquet":
        raise UsageError("--format parquet needs an --output to write to")


def _parser() -> Parser:
    parser = Parser(
        "query",
        "Ask the output of `audiosieve score` in SQL (DuckDB's). Its tables are utterances, frames, anomalies, rejects and "
        "runs. Without SQL: a summary.",
    )
    add = parser.add_argument
    add("scores", metavar="OUT", help="output of `audiosieve score`, here or in a bucket")
    add("sql", nargs="?", metavar="SQL", help="one SELECT; - reads it from stdin")
    add("--file", metavar="FILE", help="reads the SQL from a file")
    add("--format", choices=FORMATS, help="of the rows; by default what the name of --output says, or table")
    add("--output", metavar="FILE", help="writes the rows there, and not to stdout")
    add("--overwrite", action="store_true", help="lets --output replace a file")
    add("--by", metavar="SQL", help="groups of the summary: a column of utterances, or an expression over them; by default the "
        "first folder in which the ids differ")  # fmt: skip
    return parser
