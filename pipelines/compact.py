"""`audiosieve compact`: merges the small files of an output of `audiosieve score` into few large ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipelines.common.argument_types import whole_number
from pipelines.common.arguments import Parser, parse_options
from pipelines.common.errors import command
from pipelines.common.output_lock import output_lock
from transforms import schemas
from transforms.errors import OutputError
from transforms.output.compaction import SmallFiles, compact, small_files
from transforms.output.ledger import Ledger
from transforms.output.parquet_sink import FILE_BYTES
from transforms.output.results import open_results

MB = 1 << 20
# `compact` may read a file of up to half this size into memory at once.
MAX_FILE_MB = 1_024


@dataclasses.dataclass(frozen=True)
class CompactOptions:
    """Options of `audiosieve compact`.

    Attributes:
        output: output folder of `audiosieve score`.
        file_mb: size of the merged files in MiB, 1 to 1024.
        dry_run: whether to print the plan and write nothing.
    """

    output: str
    file_mb: int
    dry_run: bool


@command("compact")
def run(argv: Sequence[str]) -> int:
    """Merges the small files and prints the number of files per table; with `--dry_run`, prints the plan only."""
    options = parse(argv)
    file_bytes = options.file_mb * MB
    ledger = Ledger(open_results(options.output).root, tuple(schemas.SCORE_TABLES))
    if options.dry_run:
        groups = small_files(ledger, file_bytes)
        print(_plan(groups, file_bytes))
        return 0
    with output_lock(ledger.root) as lock:
        if pending := ledger.pending():
            raise OutputError(
                f"{ledger.root}: run {pending[0]}, a job on another runner, is not committed yet; wait for it"
            )
        ledger.remove_debris()
        groups = small_files(ledger, file_bytes)
        if not groups:
            print(_plan(groups, file_bytes))
            return 0
        request = {"options": {**dataclasses.asdict(options), "output": ledger.root}}
        record = compact(ledger, groups, file_bytes, request, lock.check)
    for table, counts in record["counts"].items():
        if counts["files"]:
            files, merged, rows = counts["files"], counts["merged_files"], counts["rows"]
            print(f"{table}: {files:,} files with {rows:,} rows became {merged:,}")
    return 0


def _plan(groups: Sequence[SmallFiles], file_bytes: int) -> str:
    """Returns one line for each table that has files to merge."""
    if not groups:
        return f"nothing to do: no table has two files of less than {file_bytes // MB // 2} MB"
    lines = []
    for group in groups:
        size = sum(group.sizes)
        lines.append(
            f"{group.table}: {len(group.names):,} files with {group.rows:,} rows and {size / MB:,.1f} MB would become "
            f"{-(-size // file_bytes):,} or fewer"
        )
    return "\n".join(lines)


def parse(argv: Sequence[str]) -> CompactOptions:
    """Returns the options of the command."""
    return parse_options(build_parser(), argv, CompactOptions)


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "compact",
        "Merge the many small files that a run on a cluster, or many runs, leave in an output. The rows stay the same; "
        "a process that reads the output meanwhile must start again.",
    )
    add = parser.add_argument
    add("output", metavar="OUT", help="output folder of `audiosieve score`, local or in a bucket")
    add(
        "--file_mb",
        type=whole_number(at_least=1, at_most=MAX_FILE_MB),
        default=FILE_BYTES // MB,
        help="size of the merged files in MiB; files smaller than half of it are merged",
    )
    add("--dry_run", action="store_true", help="print what would be merged and write nothing")
    return parser
