"""The plan of an export: a Parquet file with a row for each utterance that is to be written (`PLAN`).

A row group is a chunk, which one worker writes at a time; for WebDataset a chunk is a shard.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.corpus.archive_member import AUDIO_SUFFIXES
from transforms.curation.duckdb_rows import batches_of
from transforms.curation.manifest_writers import quoted

ExportFormat = Literal["flac", "wav", "webdataset"]
# A row of the plan.
Row = dict[str, Any]
# Utterances in a chunk where it is no shard. Those of an archive are one chunk: it is read from its beginning.
CHUNK = 500

PLAN = pa.schema(
    [
        ("chunk", pa.int64()),
        ("utterance_id", pa.string()),
        ("stem", pa.string()),
        ("uri", pa.string()),
        ("archive", pa.string()),
        ("source_version", pa.string()),
        ("format", pa.string()),
        ("whole", pa.bool_()),
        ("first_sample", pa.int64()),
        ("samples", pa.int64()),
        ("sample_rate", pa.int32()),
        ("channel", pa.int32()),
        ("channels", pa.int32()),
        ("duration_s", pa.float64()),
        ("about", pa.string()),
    ]
)

_AUDIO_SUFFIX = rf"(?i)\.({'|'.join(sorted(AUDIO_SUFFIXES))})$"


def write_export_plan(
    connection: duckdb.DuckDBPyConnection, carried: Sequence[str], path: Path, format: ExportFormat, shard_size: int
) -> int:
    """Writes the plan for what stands in `listed` (`manifest_writers.list_kept`).

    Args:
        connection: with `listed` and `entries`.
        carried: columns that the JSON in a shard tells.
        path: of the plan.
        format: of the export.
        shard_size: utterances in a shard.

    Returns:
        How many chunks it has.
    """
    chunk = f"(row_number() OVER by_place - 1) // {shard_size}"
    if format != "webdataset":
        number = f"(row_number() OVER by_place - 1) // {CHUNK}"
        chunk = f"CASE WHEN archive IS NULL THEN format('{{:012d}}', {number}) ELSE archive END"
    dotless = "|| replace(last, '.', '_')" if format == "webdataset" else "|| last"
    columns = "".join(f", {quoted(name)} := {quoted(name)}" for name in carried)
    query = f"""
        WITH parts AS (
            SELECT listed.*, entries.source_version, entries.format, list_transform(
                string_split(regexp_replace(id, '{_AUDIO_SUFFIX}', ''), '/'),
                lambda part: CASE WHEN part IN ('', '.', '..') THEN '_'
                    ELSE left(regexp_replace(part, '[[:cntrl:]]', '_', 'g'), 150) END) AS parts
            FROM listed JOIN entries ON entries.utterance_id = listed.id
        ),
        named AS (
            SELECT *, parts[-1] AS last, concat(array_to_string(parts[:-2], '/'), CASE WHEN len(parts) > 1 THEN '/' ELSE '' END)
                {dotless} AS stem
            FROM parts
        ),
        told AS (
            SELECT *, CASE WHEN count(*) OVER (PARTITION BY lower(stem)) > 1 THEN concat(stem, '-', left(md5(id), 8)) ELSE stem
                END AS one_stem, {chunk} AS part
            FROM named WINDOW by_place AS (ORDER BY path, start_s, id)
        )
        SELECT dense_rank() OVER (ORDER BY part) - 1 AS chunk, id AS utterance_id, one_stem AS stem, path AS uri, archive,
            source_version, format, whole, round(start_s * sample_rate)::BIGINT AS first_sample,
            round((end_s - start_s) * sample_rate)::BIGINT AS samples, sample_rate, channel, channels, duration_s,
            to_json(struct_pack(id := id, score := score, duration := round(duration_s, 6), sample_rate := sample_rate
                {columns})) AS about
        FROM told ORDER BY chunk, path, start_s, id
    """
    chunks = 0
    with pq.ParquetWriter(path, PLAN) as writer:
        for table in _by_chunk(batches_of(connection, query)):
            writer.write_table(table.cast(PLAN), row_group_size=max(1, len(table)))
            chunks += 1
    return chunks


def _by_chunk(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Gathers rows in order of their chunk into a table for each."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        numbers = batch.column("chunk").to_numpy()
        starts = [0, *(1 + (numbers[1:] != numbers[:-1]).nonzero()[0]).tolist(), len(batch)]
        for first, last in itertools.pairwise(starts):
            part = batch.slice(first, last - first)
            if held and held[-1].column("chunk")[0] != part.column("chunk")[0]:
                yield pa.Table.from_batches(held)
                held = []
            held.append(part)
    if held:
        yield pa.Table.from_batches(held)
