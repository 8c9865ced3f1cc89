"""The plan of an export: a Parquet file with one row for each utterance to write.

A row group is a chunk: the utterances that one worker writes at a time. For WebDataset a chunk is a shard.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.corpus.archive_member import AUDIO_SUFFIXES
from transforms.corpus.word_times import word_columns
from transforms.curation.duckdb_rows import quoted
from transforms.curation.kept_list import KeptList, field_sql

Container = Literal["flac", "wav"]
ExportFormat = Literal["flac", "wav", "webdataset"]
# A row of the plan.
Row = dict[str, Any]
# Utterances in a chunk of single files. An archive is one chunk, because it can only be read from its beginning.
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
        ("metadata", pa.string()),
    ]
)

_AUDIO_SUFFIX = rf"(?i)\.({'|'.join(sorted(AUDIO_SUFFIXES))})$"


def write_export_plan(kept: KeptList, path: Path, format: ExportFormat, shard_size: int) -> int:
    """Writes the plan of an export.

    Args:
        kept: utterances to export.
        path: path of the plan.
        format: format of the export.
        shard_size: utterances in a shard, at least 1.

    Returns:
        Number of chunks.
    """
    chunks = 0
    with pq.ParquetWriter(path, PLAN) as writer:
        for table in _by_chunk(kept.batches(_plan_query(kept, format, shard_size))):
            writer.write_table(table.cast(PLAN), row_group_size=max(1, len(table)))
            chunks += 1
    return chunks


def _plan_query(kept: KeptList, format: ExportFormat, shard_size: int) -> str:
    """Returns the query for the rows of a plan.

    The stem is the path of the exported file without its suffix. It is made from the utterance id, but stays in the folder
    of the export, has no control characters or overlong parts, and is unique even if case is ignored.
    """
    position = "(row_number() OVER by_place - 1)"
    if format == "webdataset":
        chunk = f"{position} // {shard_size}"
        # WebDataset ends the key of a sample at the first dot.
        name = "replace(parts[-1], '.', '_')"
    else:
        chunk = f"CASE WHEN archive IS NULL THEN format('{{:012d}}', {position} // {CHUNK}) ELSE archive END"
        name = "parts[-1]"
    further = "".join(f", {quoted(name)} := {_json_value(kept, name)}" for name in kept.columns)
    return f"""
        WITH split AS (
            SELECT *, list_transform(string_split(regexp_replace(id, '{_AUDIO_SUFFIX}', ''), '/'),
                lambda part: CASE WHEN part IN ('', '.', '..') THEN '_'
                    ELSE left(regexp_replace(part, '[[:cntrl:]]', '_', 'g'), 150) END) AS parts
            FROM {kept.table}
        ),
        named AS (
            SELECT *, concat(array_to_string(parts[:-2], '/'), CASE WHEN len(parts) > 1 THEN '/' ELSE '' END) || {name} AS stem
            FROM split
        ),
        chunked AS (
            SELECT *, {chunk} AS chunk_key, CASE WHEN count(*) OVER (PARTITION BY lower(stem)) > 1
                THEN concat(stem, '-', left(md5(id), 8)) ELSE stem END AS unique_stem
            FROM named WINDOW by_place AS (ORDER BY path, start_s, id)
        )
        SELECT dense_rank() OVER (ORDER BY chunk_key) - 1 AS chunk, id AS utterance_id, unique_stem AS stem, path AS uri,
            archive, source_version, format, whole, round(start_s * sample_rate)::BIGINT AS first_sample,
            round((end_s - start_s) * sample_rate)::BIGINT AS samples, sample_rate, channel, channels, duration_s,
            to_json(struct_pack(id := id, score := score, duration := round(duration_s, 6), sample_rate := sample_rate
                {further})) AS metadata
        FROM chunked ORDER BY chunk, path, start_s, id
    """


def _json_value(kept: KeptList, name: str) -> str:
    """Returns SQL for the value of a column in JSON. Word times and columns without a type are JSON already."""
    column = field_sql(name)
    return (
        f"CASE WHEN json_valid({column}::VARCHAR) THEN {column}::JSON ELSE to_json({column}) END"
        if word_columns([name]) or name in kept.json_columns
        else column
    )


def _by_chunk(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Regroups rows that are sorted by chunk into one table for each chunk."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        numbers = batch.column("chunk").to_numpy()
        starts = [0, *(1 + (numbers[1:] != numbers[:-1]).nonzero()[0]).tolist(), len(batch)]
        for first, last in itertools.pairwise(starts):
            part = batch.slice(first, last - first)
            if pending and pending[-1].column("chunk")[0] != part.column("chunk")[0]:
                yield pa.Table.from_batches(pending)
                pending = []
            pending.append(part)
    if pending:
        yield pa.Table.from_batches(pending)
