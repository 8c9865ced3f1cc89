"""The plan of an export: a Parquet file with one row for each utterance to write.

A row group is a chunk: the utterances that one worker writes at a time. For WebDataset a chunk is a shard.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.corpus.archives.member import AUDIO_SUFFIXES
from transforms.corpus.word_times import word_columns
from transforms.curation.duckdb_rows import OWN_UTTERANCES, quoted, spill
from transforms.curation.exporting.target import Row
from transforms.curation.kept_list import KeptList, field_sql
from transforms.storage.portable_names import folded, portable_name, portable_path

ExportFormat = Literal["original", "flac", "wav", "webdataset", "shar", "parquet"]
# Formats of tars, of which each chunk is one.
SHARDS = ("webdataset", "shar")
# Formats that need no manifest.
DATASETS = ("shar", "parquet")
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
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("piece_start_us", pa.int64()),
        ("piece_end_us", pa.int64()),
        ("piece_is_last", pa.bool_()),
        ("parent_s", pa.float64()),
        ("score", pa.float64()),
        # Further columns of the list, as JSON.
        ("fields", pa.string()),
    ]
)

# Names of the exported files: paths without suffix, and the same text for paths that some file systems do not distinguish.
NAMES = pa.schema([("id", pa.string()), ("stem", pa.string()), ("folded", pa.string())])
_ABSOLUTE = re.compile(r"/|[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_AUDIO_SUFFIX = re.compile(rf"(?i)\.({'|'.join(sorted(AUDIO_SUFFIXES))})$")


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
    is_key = format == "webdataset"
    root = _common_folder(kept)
    names = (_name(row, root, is_key) for row in kept.rows(f"SELECT id, source_id, piece_number FROM {kept.table}"))
    kept.join("export_names", spill(names, NAMES, path.with_name(f"names-{path.name}")))
    with pq.ParquetWriter(path, PLAN) as writer:
        for table in _by_chunk(kept.batches(_plan_query(kept, format, shard_size))):
            writer.write_table(table.cast(PLAN), row_group_size=max(1, len(table)))
            chunks += 1
    return chunks


def _common_folder(kept: KeptList) -> str:
    """Returns the folder of all ids of the corpus, with a slash, if they are absolute paths or URIs; else an empty text."""
    (row,) = kept.rows(f"SELECT min(utterance_id) AS first, max(utterance_id) AS last FROM {OWN_UTTERANCES}")
    first, last = row["first"] or "", row["last"] or ""
    if not (_ABSOLUTE.match(first) and _ABSOLUTE.match(last)):
        return ""
    # All ids are between these two, so they share their beginning.
    folders = zip(first.split("/")[:-1], last.split("/")[:-1], strict=False)
    shared = itertools.takewhile(lambda pair: pair[0] == pair[1], folders)
    return "".join(f"{folder}/" for folder, _ in shared)


def _name(utterance: Row, root: str, is_key: bool) -> dict[str, str]:
    """Returns a row of `NAMES`. A piece has the name of its utterance with a number."""
    if utterance["piece_number"] is None:
        stem = export_stem(utterance["id"].removeprefix(root), is_key)
    else:
        stem = f"{export_stem(utterance['source_id'].removeprefix(root), is_key)}_{utterance['piece_number']:04d}"
    return {"id": utterance["id"], "stem": stem, "folded": folded(stem)}


def export_stem(utterance_id: str, is_key: bool = False) -> str:
    """Returns the path of the exported file of an utterance without its suffix. It is not unique.

    Args:
        utterance_id: id of the utterance.
        is_key: whether it is a key of WebDataset, whose name has no dot.
    """
    *folders, name = _AUDIO_SUFFIX.sub("", utterance_id).split("/")
    # A folder without the suffix of a recording never has the name of an exported file.
    folders = [_AUDIO_SUFFIX.sub(r"_\1", folder) for folder in folders]
    # WebDataset ends the key of a sample at the first dot.
    names = [*folders, name.replace(".", "_") if is_key else name]
    return portable_path([portable_name("_" if part in (".", "..") else part) for part in names])


def _plan_query(kept: KeptList, format: ExportFormat, shard_size: int) -> str:
    """Returns the query for the rows of a plan.

    A stem becomes unique by a hash of the id, also on file systems that ignore case or the forms of Unicode.
    """
    position = "(row_number() OVER by_place - 1)"
    if format in SHARDS:
        chunk = f"{position} // {shard_size}"
    else:
        size = shard_size if format == "parquet" else CHUNK
        chunk = f"CASE WHEN archive IS NULL THEN format('{{:012d}}', {position} // {size}) ELSE archive END"
    values = ", ".join(f"{quoted(name)} := {_json_value(kept, name)}" for name in kept.columns)
    fields = f"to_json(struct_pack({values}))" if values else "'{}'"
    return f"""
        WITH once AS (
            SELECT id, stem, folded, count(*) OVER (PARTITION BY folded) > 1 AS is_repeated FROM export_names
        ),
        twice AS (
            SELECT id, CASE WHEN is_repeated THEN concat(stem, '-', left(md5(id), 8)) ELSE stem END AS stem,
                count(*) OVER (
                    PARTITION BY CASE WHEN is_repeated THEN concat(folded, '-', left(md5(id), 8)) ELSE folded END
                ) > 1 AS is_repeated
            FROM once
        ),
        named AS (
            SELECT id, CASE WHEN is_repeated THEN concat(stem, '-', md5(id)) ELSE stem END AS unique_stem FROM twice
        ),
        chunked AS (
            SELECT *, {chunk} AS chunk_key FROM {kept.table} JOIN named USING (id)
            WINDOW by_place AS (ORDER BY path, start_s, id)
        )
        SELECT dense_rank() OVER (ORDER BY chunk_key) - 1 AS chunk, id AS utterance_id, unique_stem AS stem, path AS uri,
            archive, source_version, format, whole, round(start_s * sample_rate)::BIGINT AS first_sample,
            round((end_s - start_s) * sample_rate)::BIGINT AS samples, sample_rate, channel, channels, duration_s,
            start_s, end_s, piece_start_us, piece_end_us, piece_is_last, parent_s,
            score, {fields} AS fields
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
