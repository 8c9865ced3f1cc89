"""The small files of an output become few large ones: the same rows, schemas and order, in bounded memory."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.errors import OutputError
from transforms.output.ledger import COMPACT, Ledger, count_rows, names_that_count
from transforms.output.parquet_sink import ROW_GROUP_ROWS, SORTED_GROUP_ROWS, FileSeries
from transforms.output.reconcile import LostRowsError
from transforms.schemas import SORTED_BY
from transforms.storage.files import File, match

# A file is small up to this share of what is aimed at. As files are ended only when they are large enough, each that a
# compaction writes is too large for the next one, but for the last.
SMALL = 0.5
# Small files that are fetched at the same time, since each takes a while to answer in a bucket; and bytes of them at most.
READERS = 16
READ_AHEAD = 128 << 20
# DuckDB sorts on disk (in TMPDIR) what does not fit. Each of its threads holds some of the memory: with as many as a large
# machine has cores nothing is left to sort in, and it fails.
MEMORY = "1GB"
THREADS = 2
_RUN_ID = b"audiosieve.run_id"


@dataclasses.dataclass(frozen=True)
class SmallFiles:
    """Small files of one table, all with the same schema and metadata, that can become one series of files.

    Attributes:
        table: name of the table.
        schema: of the files, but for the run that wrote each.
        names: of the files, relative to the root of the output, sorted, which is by time.
        sizes: in bytes.
        rows: in all of them.
    """

    table: str
    schema: pa.Schema
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    rows: int


def small_files(ledger: Ledger, file_bytes: int) -> list[SmallFiles]:
    """What a compaction would merge: small files that are two or more of a kind. Their footers are read, nothing else.

    Args:
        ledger: of the output.
        file_bytes: size that files shall have.

    Raises:
        OutputError: a file that counts is not there, or is no Parquet.
    """
    found = []
    records = ledger.records()
    for table in ledger.tables:
        counting = _sized(ledger, table, names_that_count(records, table))
        small = [file for file in counting if file.size_bytes < SMALL * file_bytes]
        kinds: dict[bytes, pa.Schema] = {}
        files: dict[bytes, list[tuple[str, int, int]]] = {}
        with ThreadPoolExecutor(READERS) as pool:
            for file, (schema, rows) in zip(small, pool.map(_footer, (file.uri for file in small)), strict=True):
                kind = schema.serialize().to_pybytes()
                kinds.setdefault(kind, schema)
                files.setdefault(kind, []).append((ledger.name_of(file.uri), file.size_bytes, rows))
        for kind, members in files.items():
            if len(members) > 1:
                names, sizes, counts = zip(*members, strict=True)
                found.append(SmallFiles(table, kinds[kind], names, sizes, sum(counts)))
    return found


def _sized(ledger: Ledger, table: str, names: Iterable[str]) -> list[File]:
    """Files of a table by their names; asked for all at once, where each would be a request."""
    there = {file.uri: file for file in match(FileSystems.join(ledger.root, table, "*"))}
    paths = [FileSystems.join(ledger.root, name) for name in names]
    missing = next((path for path in paths if path not in there), None)
    if missing:
        raise OutputError(f"{missing}: is not there, though a run committed it")
    return [there[path] for path in paths]


def _footer(path: str) -> tuple[pa.Schema, int]:
    """Schema of a file, without the run that wrote it, and its number of rows."""
    with _reading(path), FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        parquet = pq.ParquetFile(file)
        schema = parquet.schema_arrow
        metadata = {name: value for name, value in (schema.metadata or {}).items() if name != _RUN_ID}
        return schema.with_metadata(metadata or None), parquet.metadata.num_rows


def compact(ledger: Ledger, groups: Sequence[SmallFiles], file_bytes: int, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Merges small files; the new ones count and the old ones do not from one moment on, which is when the record is there.

    Args:
        ledger: of the output, in which no run is under way.
        groups: what is to be merged (`small_files`).
        file_bytes: size that files shall have.
        asked: what the record shall say besides.

    Returns:
        The record.

    Raises:
        OutputError: it does not work, or a run came in between; all is as it was.
    """
    run_id, started_s = Ledger.new_run_id(), time.time()
    names = [name for group in groups for name in group.names]
    try:
        merged = [name for group in groups for name in merge(ledger, run_id, group, file_bytes)]
        records = ledger.records()
        counting = {name for table in ledger.tables for name in names_that_count(records, table)}
        if ledger.pending() or not counting.issuperset(names):
            raise OutputError(f"{ledger.root}: a run was at work there meanwhile; nothing has changed, do it again")
        record = {
            **asked,
            "job": COMPACT,
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
        return ledger.commit(run_id, record, merged, names)
    except BaseException as error:
        with contextlib.suppress(Exception):  # what stays is removed by the next run
            ledger.discard(run_id)
        if isinstance(error, OSError | duckdb.Error):
            sentence = str(error).partition("\n")[0]
            raise OutputError(
                f"{ledger.root}: cannot be compacted ({sentence}); no row is lost, do it again"
            ) from error
        raise


def merge(ledger: Ledger, run_id: str, group: SmallFiles, file_bytes: int) -> list[str]:
    """Writes the rows of small files into large ones, which do not count yet; returns their names.

    Rows of a sorted table are sorted over all the files, so that each file holds a range of its own.

    Args:
        ledger: of the output.
        run_id: whose files they become.
        group: the small files.
        file_bytes: from which size on a further file is begun.

    Raises:
        OutputError: a file is no Parquet.
        LostRowsError: not all rows came out that went in, or more.
    """
    schema = group.schema.with_metadata({**(group.schema.metadata or {}), _RUN_ID: run_id.encode()})
    series = FileSeries(ledger.prefix(group.table, run_id), schema, file_bytes)
    tables = _read(ledger, group)
    keys = SORTED_BY.get(group.table)
    row_groups = _sorted(tables, group.schema, keys) if keys else _row_groups(tables)
    if not group.rows:
        row_groups = iter([group.schema.empty_table()])
    written = [series.write(table) for table in row_groups]
    names = [ledger.name_of(path) for path in (*written, series.close()) if path]
    if (rows := count_rows(ledger, group.table, names)) != group.rows:
        raise LostRowsError(
            f"of {group.rows} rows of {group.table} {rows} were merged; nothing has changed. Report this"
        )
    return names


def _read(ledger: Ledger, group: SmallFiles) -> Iterator[pa.Table]:
    """The row groups of small files, one by one; the next files are fetched meanwhile."""
    left = deque(zip(group.names, group.sizes, strict=True))
    fetched: deque[tuple[str, int, Future[bytes]]] = deque()
    ahead = 0
    pool = ThreadPoolExecutor(READERS)
    try:
        while left or fetched:
            while left and len(fetched) < READERS and (not fetched or ahead + left[0][1] <= READ_AHEAD):
                name, size = left.popleft()
                path = FileSystems.join(ledger.root, name)
                fetched.append((path, size, pool.submit(_content, path)))
                ahead += size
            path, size, content = fetched.popleft()
            with _reading(path):
                parquet = pq.ParquetFile(pa.BufferReader(content.result()))
                for number in range(parquet.num_row_groups):
                    yield parquet.read_row_group(number).replace_schema_metadata(group.schema.metadata)
            ahead -= size
    finally:
        pool.shutdown(cancel_futures=True)


def _content(path: str) -> bytes:
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        content: bytes = file.read()
        return content


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Says which file it is that cannot be read."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{path}: cannot be read as Parquet ({str(error).partition(chr(10))[0]})") from error


def _row_groups(tables: Iterable[pa.Table], rows: int = ROW_GROUP_ROWS) -> Iterator[pa.Table]:
    """Joins tables until they make a row group, as the sinks do: what is one table stays together."""
    held: list[pa.Table] = []
    held_rows = 0
    for table in tables:
        held.append(table)
        held_rows += len(table)
        if held_rows >= rows:
            yield pa.concat_tables(held)
            held, held_rows = [], 0
    if held_rows:
        yield pa.concat_tables(held)


def _sorted(
    tables: Iterable[pa.Table], schema: pa.Schema, keys: tuple[str, ...], rows: int = SORTED_GROUP_ROWS
) -> Iterator[pa.Table]:
    """Sorts all rows of tables, the smallest values first, and cuts them into row groups."""
    batches = (batch for table in tables for batch in table.to_batches())
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as folder, duckdb.connect() as db:
        db.execute(f"SET memory_limit = '{MEMORY}'; SET threads = {THREADS}")
        db.execute("SET temp_directory = ?", [folder])
        db.register("unsorted", pa.RecordBatchReader.from_batches(schema, batches))
        found = db.sql(f"SELECT * FROM unsorted ORDER BY {', '.join(keys)}").to_arrow_reader(rows)
        held = found.schema.empty_table()
        for batch in found:
            held = pa.concat_tables([held, pa.Table.from_batches([batch])])
            while len(held) >= rows:
                yield held.slice(0, rows).cast(schema)
                held = held.slice(rows)
        if len(held):
            yield held.cast(schema)
