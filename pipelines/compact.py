"""`audiosieve compact`: the small files of an output of `audiosieve score` become few large ones."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.common.arguments import Parser, UsageError, command
from pipelines.common.output_lock import output_lock
from transforms import schemas
from transforms.errors import OutputError
from transforms.output.compaction import SmallFiles, compact, small_files
from transforms.output.ledger import Ledger
from transforms.output.parquet_sink import FILE_BYTES
from transforms.output.results import open_results

MB = 1 << 20
# A file up to half that size may be held in memory as a whole.
MOST_MB = 1_024


@command("compact")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, merges what is small, and says what was done."""
    options = _parser().parse_args(argv)
    if not 1 <= options.file_mb <= MOST_MB:
        raise UsageError(f"--file_mb is {options.file_mb}; it must be from 1 to {MOST_MB}")
    file_bytes = options.file_mb * MB
    ledger = Ledger(open_results(options.output).root, tuple(schemas.SCORE_TABLES))
    if options.dry_run:
        groups = small_files(ledger, file_bytes)
        print(_plan(groups, file_bytes, "would become"))
        return 0
    with output_lock(ledger.root):
        if pending := ledger.pending():
            raise OutputError(
                f"{ledger.root}: run {pending[0]}, a job on another runner, is not committed yet; wait for it"
            )
        ledger.remove_debris()
        groups = small_files(ledger, file_bytes)
        if not groups:
            print(_plan(groups, file_bytes, ""))
            return 0
        record = compact(ledger, groups, file_bytes, {"options": {**vars(options), "output": ledger.root}})
    for table, counts in record["counts"].items():
        if counts["files"]:
            files, merged, rows = counts["files"], counts["merged_files"], counts["rows"]
            print(f"{table}: {files:,} files with {rows:,} rows became {merged:,}")
    return 0


def _plan(groups: Sequence[SmallFiles], file_bytes: int, become: str) -> str:
    """What would be done, a line for each kind of file."""
    if not groups:
        return f"nothing to do: no table has two files of less than {file_bytes // MB // 2} MB"
    lines = []
    for group in groups:
        size = sum(group.sizes)
        lines.append(
            f"{group.table}: {len(group.names):,} files with {group.rows:,} rows and {size / MB:,.1f} MB {become} "
            f"{-(-size // file_bytes):,} or fewer"
        )
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        "compact",
        "Make few large files of the many small ones that a run on a cluster, or many runs, leave in an output. Rows stay as "
        "they are; what reads the output at that moment has to begin anew.",
    )
    add = parser.add_argument
    add("output", metavar="OUT", help="output of `audiosieve score`, here or in a bucket")
    add(
        "--file_mb",
        type=int,
        default=FILE_BYTES // MB,
        help="size that files shall have; those of less than half are merged",
    )
    add("--dry_run", action="store_true", help="say what would be merged; write nothing")
    return parser
