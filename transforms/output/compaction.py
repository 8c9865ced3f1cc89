"""Merges the small files of an output into few large ones, with the same rows, schemas and order, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.errors import OutputError
from transforms.output.ledger import Job, Ledger, count_rows
from transforms.output.parquet_sink import ROW_GROUP_ROWS, SORTED_GROUP_ROWS, FileSeries
from transforms.output.reconcile import LostRowsError
from transforms.output.records import names_that_count
from transforms.schemas import SORTED_BY
from transforms.storage.files import File, match

# A file below this share of the wanted size is small. A compaction closes its files at the wanted size, so that only its last
# file can be small again.
SMALL = 0.5
# Largest number of small files to fetch at the same time, because a request to a bucket takes a while, and their total bytes.
READERS = 16
READ_AHEAD = 128 << 20
# DuckDB spills to disk (in TMPDIR) beyond this. Each thread takes a part of it: the many threads of a large machine would
# leave too little for the sort, which then fails.
MEMORY = "1GB"
THREADS = 2
_RUN_ID = b"audiosieve.run_id"


@dataclasses.dataclass(frozen=True)
class SmallFiles:
    """Small files of one table, with the same schema and metadata, that can be merged.

    Attributes:
        table: name of the table.
        schema: schema of the files, without the id of the run in its metadata.
        names: names of the files, relative to the root of the output, sorted, and so by time.
        sizes: sizes of the files in bytes.
        rows: number of rows in all files.
    """

    table: str
    schema: pa.Schema
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    rows: int


def small_files(ledger: Ledger, file_bytes: int) -> list[SmallFiles]:
    """Returns the groups that a compaction would merge: two or more small files with one schema. Reads only footers.

    Args:
        ledger: ledger of the output.
        file_bytes: wanted size of a file in bytes.

    Raises:
        OutputError: a file that counts is missing, or is not Parquet.
    """
    groups = []
    records = ledger.records()
    for table in ledger.tables:
        files = _files(ledger, table, names_that_count(records, table))
        small = [file for file in files if file.size_bytes < SMALL * file_bytes]
        schemas: dict[bytes, pa.Schema] = {}
        by_schema: dict[bytes, list[tuple[str, int, int]]] = {}
        with ThreadPoolExecutor(READERS) as pool:
            for file, (schema, rows) in zip(small, pool.map(_footer, (file.uri for file in small)), strict=True):
                key = schema.serialize().to_pybytes()
                schemas.setdefault(key, schema)
                by_schema.setdefault(key, []).append((ledger.name_of(file.uri), file.size_bytes, rows))
        for key, members in by_schema.items():
            if len(members) > 1:
                names, sizes, counts = zip(*members, strict=True)
                groups.append(SmallFiles(table, schemas[key], names, sizes, sum(counts)))
    return groups


def _files(ledger: Ledger, table: str, names: Iterable[str]) -> list[File]:
    """Returns files of a table with their sizes, from one listing of the table instead of a request for each."""
    existing = {file.uri: file for file in match(FileSystems.join(ledger.root, table, "*"))}
    paths = [FileSystems.join(ledger.root, name) for name in names]
    missing = next((path for path in paths if path not in existing), None)
    if missing:
        raise OutputError(f"{missing}: the file is missing, although a run committed it")
    return [existing[path] for path in paths]


def _footer(path: str) -> tuple[pa.Schema, int]:
    """Returns the schema of a file, without the id of its run, and the number of rows."""
    with _naming(path), FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        parquet = pq.ParquetFile(file)
        schema = parquet.schema_arrow
        metadata = {name: value for name, value in (schema.metadata or {}).items() if name != _RUN_ID}
        return schema.with_metadata(metadata or None), parquet.metadata.num_rows


def compact(
    ledger: Ledger,
    groups: Sequence[SmallFiles],
    file_bytes: int,
    request: Mapping[str, Any],
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Merges small files. The record that it commits switches from the old files to the new ones in one step.

    Args:
        ledger: ledger of the output, which has no pending run.
        groups: files to merge (`small_files`).
        file_bytes: wanted size of a file in bytes.
        request: further content of the record.
        check: function that is called just before the record is written, and raises an error if it must not be.

    Returns:
        The record.

    Raises:
        OutputError: the files cannot be merged, or another run wrote meanwhile; the output has not changed.
    """
    run_id, started_s = Ledger.new_run_id(), time.time()
    names = [name for group in groups for name in group.names]
    try:
        merged = [name for group in groups for name in merge(ledger, run_id, group, file_bytes)]
        records = ledger.records()
        current_names = {name for table in ledger.tables for name in names_that_count(records, table)}
        if ledger.pending() or not current_names.issuperset(names):
            raise OutputError(
                f"{ledger.root}: another run wrote there meanwhile; nothing was changed, run compact again"
            )
        record = {
            **request,
            "job": Job.COMPACT,
            "counts": {
                table: {
                    "files": sum(len(group.names) for group in groups if group.table == table),
                    "merged_files": sum(name.startswith(f"{table}/") for name in merged),
                    "rows": sum(group.rows for group in groups if group.table == table),
                }
                for table in ledger.tables
            },
            "timings": {"total_s": round(time.time() - started_s, 3)},
        }
        return ledger.commit(run_id, record, merged, names, check)
    except BaseException as error:
        with contextlib.suppress(Exception):  # the next run removes the remaining files
            ledger.discard(run_id)
        if isinstance(error, OSError | duckdb.Error):
            message = str(error).partition("\n")[0]
            raise OutputError(
                f"{ledger.root}: cannot be compacted ({message}); no row is lost, run compact again"
            ) from error
        raise


def merge(ledger: Ledger, run_id: str, group: SmallFiles, file_bytes: int) -> list[str]:
    """Writes the rows of small files into large files, which count only after a commit.

    A sorted table is sorted over all its files, so that their ranges do not overlap.

    Args:
        ledger: ledger of the output.
        run_id: id of the run to which the large files belong.
        group: the small files.
        file_bytes: size in bytes at which a file is closed.

    Returns:
        Names of the large files.

    Raises:
        OutputError: a file is not Parquet.
        LostRowsError: the large files have fewer or more rows.
    """
    schema = group.schema.with_metadata({**(group.schema.metadata or {}), _RUN_ID: run_id.encode()})
    series = FileSeries(ledger.prefix(group.table, run_id), schema, file_bytes)
    tables = read_row_groups(ledger, group)
    keys = SORTED_BY.get(group.table)
    row_groups = sort_tables(tables, group.schema, keys) if keys else _row_groups(tables)
    if not group.rows:
        row_groups = iter([group.schema.empty_table()])
    written = [series.write(table) for table in row_groups]
    names = [ledger.name_of(path) for path in (*written, series.close()) if path]
    if (rows := count_rows(ledger, group.table, names)) != group.rows:
        raise LostRowsError(
            f"{rows} of {group.rows} rows of {group.table} were merged; nothing was changed. Report this"
        )
    return names


def read_row_groups(ledger: Ledger, group: SmallFiles) -> Iterator[pa.Table]:
    """Yields the row groups of small files, and fetches the next files in the background."""
    waiting = deque(zip(group.names, group.sizes, strict=True))
    fetching: deque[tuple[str, int, Future[bytes]]] = deque()
    fetching_bytes = 0
    pool = ThreadPoolExecutor(READERS)
    try:
        while waiting or fetching:
            while (
                waiting and len(fetching) < READERS and (not fetching or fetching_bytes + waiting[0][1] <= READ_AHEAD)
            ):
                name, size = waiting.popleft()
                path = FileSystems.join(ledger.root, name)
                fetching.append((path, size, pool.submit(fetch, path)))
                fetching_bytes += size
            path, size, content = fetching.popleft()
            with _naming(path):
                parquet = pq.ParquetFile(pa.BufferReader(content.result()))
                for number in range(parquet.num_row_groups):
                    yield parquet.read_row_group(number).replace_schema_metadata(group.schema.metadata)
            fetching_bytes -= size
    finally:
        pool.shutdown(cancel_futures=True)


def fetch(path: str) -> bytes:
    """Returns the content of a file."""
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        content: bytes = file.read()
        return content


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Names the file in errors of the block."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{path}: cannot be read as Parquet ({str(error).partition(chr(10))[0]})") from error


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Concatenates tables into row groups, as the sinks do, without splitting a table."""
    pending: list[pa.Table] = []
    num_rows = 0
    for table in tables:
        pending.append(table)
        num_rows += len(table)
        if num_rows >= ROW_GROUP_ROWS:
            yield pa.concat_tables(pending)
            pending, num_rows = [], 0
    if num_rows:
        yield pa.concat_tables(pending)


def sort_tables(tables: Iterable[pa.Table], schema: pa.Schema, keys: tuple[str, ...]) -> Iterator[pa.Table]:
    """Sorts the rows of all tables in ascending order, and cuts them into row groups.

    Args:
        tables: tables with the rows.
        schema: schema of the tables.
        keys: columns to sort by.
    """
    batches = (batch for table in tables for batch in table.to_batches())
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as folder, duckdb.connect() as db:
        db.execute(f"SET memory_limit = '{MEMORY}'; SET threads = {THREADS}")
        db.execute("SET temp_directory = ?", [folder])
        db.register("unsorted", pa.RecordBatchReader.from_batches(schema, batches))
        reader = db.sql(f"SELECT * FROM unsorted ORDER BY {', '.join(keys)}").to_arrow_reader(SORTED_GROUP_ROWS)
        pending = reader.schema.empty_table()
        for batch in reader:
            pending = pa.concat_tables([pending, pa.Table.from_batches([batch])])
            while len(pending) >= SORTED_GROUP_ROWS:
                yield pending.slice(0, SORTED_GROUP_ROWS).cast(schema)
                pending = pending.slice(SORTED_GROUP_ROWS)
        if len(pending):
            yield pending.cast(schema)
