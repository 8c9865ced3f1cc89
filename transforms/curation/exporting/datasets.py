"""Writes kept utterances as Parquet files of Hugging Face: the audio with all columns of the corpus, and the scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.archives.audio_rows import BROKEN_TABLE, audio_columns
from transforms.corpus.archives.reading import archive_kind_of, table_rows, table_schema
from transforms.curation.exporting.outcomes import exported_row, rejected_row
from transforms.curation.exporting.segments import Segment, segments
from transforms.curation.exporting.shards import fields_of
from transforms.curation.exporting.target import AudioTarget, Row
from transforms.curation.kept_list import free_name
from transforms.curation.row_writers.piece_fields import audio_fields, cut_fields
from transforms.elements import ArchiveKind
from transforms.errors import AudioFault, Reason, Stage
from transforms.schemas import TRIMMED
from transforms.storage.atomic_files import atomic_file

_AUDIO = "audio"
_AUDIO_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
# Types of new columns, as pyarrow and `datasets` name them.
_NEW = {
    "id": (pa.string(), "string"),
    "score": (pa.float64(), "float64"),
    "duration": (pa.float64(), "float64"),
    TRIMMED: (pa.bool_(), "bool"),
}
# A row group is read as a whole, so it has few recordings.
_ROWS_IN_GROUP, _BYTES_IN_GROUP = 100, 64 << 20
_FEATURES = b"huggingface"


def export_parquet(
    rows: Sequence[Row], folder: str, number: int, target: AudioTarget, fields: pa.Schema, resume: bool = True
) -> Iterator[Row]:
    """Writes a Parquet file that the library `datasets` loads.

    Rows of a Parquet or Arrow file with recordings keep all columns, their types, and the features that `datasets` declared.
    Other utterances have the columns `audio`, `id`, `score`, `duration` and those of the corpus. A piece has no recording in
    the other audio columns of its row, because those recordings are not cut.

    Args:
        rows: rows of one chunk of a plan: one file of the corpus, or utterances that are in none.
        folder: folder of the export, in any filesystem that Beam knows.
        number: number of the chunk.
        target: audio to write.
        fields: further columns of the kept list, with their types.
        resume: whether to skip a file that exists and has all rows.

    Yields:
        The outcome of each row (`OUTCOMES`).
    """
    name = f"data-{number:06d}.parquet"
    uri = f"{folder}/{name}"
    if resume and FileSystems.exists(uri) and _number_of_rows(uri) == len(rows):
        yield from (exported_row(row, name, row["stem"]) for row in rows)
        return
    try:
        table = _source_table(rows, target) if _is_in_table(rows[0]) else _NewTable(fields, target)
    except AudioFault as fault:
        yield from (rejected_row(row, fault) for row in rows)
        return
    with atomic_file(uri) as out, pq.ParquetWriter(out, table.schema) as writer:
        batches: list[pa.RecordBatch] = []
        for row, segment in segments(rows, target):
            if isinstance(segment, AudioFault):
                yield rejected_row(row, segment)
                continue
            batch = table.batch(row, segment)
            if batch is None:
                detail = "the row of the recording is no longer in the table"
                yield rejected_row(row, AudioFault(Stage.EXPORT, Reason.UNREADABLE, detail))
                continue
            batches.append(batch)
            if len(batches) == _ROWS_IN_GROUP or sum(part.nbytes for part in batches) > _BYTES_IN_GROUP:
                writer.write_table(pa.Table.from_batches(batches))
                batches = []
            yield exported_row(row, name, row["stem"], segment.is_limited)
        if batches:
            writer.write_table(pa.Table.from_batches(batches))


def _number_of_rows(uri: str) -> int:
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        return int(pq.read_metadata(file).num_rows)


def _is_in_table(row: Row) -> bool:
    return bool(row["archive"]) and archive_kind_of(row["archive"]) in (ArchiveKind.PARQUET, ArchiveKind.ARROW)


def _new_values(row: Row, target: AudioTarget) -> dict[str, Any]:
    duration_s = round(target.samples_of(row) / target.rate_of(row), 6)
    is_piece = row["piece_start_us"] is not None
    return {"id": row["utterance_id"], "score": row["score"], "duration": duration_s, TRIMMED: is_piece}


def _audio_cell(row: Row, segment: Segment) -> dict[str, Any]:
    return {"bytes": segment.content.read(), "path": f"{row['stem']}.{segment.suffix}"}


class _NewTable:
    """Rows of utterances that are in no table.

    Attributes:
        schema: schema of the file.
    """

    def __init__(self, fields: pa.Schema, target: AudioTarget) -> None:
        self._target = target
        self._names = {name: free_name(name, [_AUDIO, *fields.names]) for name in ("id", "score", "duration")}
        own = [field for field in fields if field.name != _AUDIO]
        new = [pa.field(name, _NEW[meaning][0]) for meaning, name in self._names.items()]
        audio = {"_type": "Audio"} | ({"sampling_rate": target.sample_rate} if target.sample_rate else {})
        metadata = {_FEATURES: json.dumps({"info": {"features": {_AUDIO: audio}}})}
        self.schema = pa.schema([pa.field(_AUDIO, _AUDIO_TYPE), *new, *own], metadata)

    def batch(self, row: Row, segment: Segment) -> pa.RecordBatch | None:
        """Returns the row of an exported utterance."""
        values = _new_values(row, self._target)
        fields = fields_of(row, self._target)
        cells = {name: fields.get(name) for name in self.schema.names}
        cells |= {name: values[meaning] for meaning, name in self._names.items()}
        cells[_AUDIO] = _audio_cell(row, segment)
        arrays = [_array(cells[field.name], field.type) for field in self.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _array(value: Any, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind) and value is not None and not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    return pa.array([value], kind)


def _source_table(rows: Sequence[Row], target: AudioTarget) -> _SourceTable:
    """Reads the rows of a table of the corpus, without the audio that is exported.

    Raises:
        AudioFault: the table cannot be read.
    """
    archive = rows[0]["archive"]
    wanted = {row["uri"].removeprefix(f"{archive}#") for row in rows}
    found: dict[str, tuple[str, pa.RecordBatch]] = {}
    for batch, names in table_rows(archive):
        for column, name in names.items():
            if name in wanted:
                found.setdefault(name, (column, batch.drop_columns([column])))
    try:
        schema = table_schema(archive)
    except BROKEN_TABLE as error:
        raise AudioFault(Stage.EXPORT, Reason.UNREADABLE, str(error)) from error
    is_trimmed = TRIMMED in json.loads(rows[0]["fields"])
    return _SourceTable(schema, found, target, is_trimmed)


class _SourceTable:
    """Rows of a table of the corpus, with new audio.

    Attributes:
        schema: schema of the file.
    """

    def __init__(
        self, schema: pa.Schema, rows: dict[str, tuple[str, pa.RecordBatch]], target: AudioTarget, is_trimmed: bool
    ) -> None:
        self._rows, self._target, self._audio = rows, target, audio_columns(schema)
        meanings = ["id", "score", "duration", *([TRIMMED] if is_trimmed else [])]
        self._new = {meaning: free_name(meaning, schema.names) for meaning in meanings}
        new = [pa.field(name, _NEW[meaning][0]) for meaning, name in self._new.items()]
        nullable = [field.with_nullable(True) for field in schema]
        self.schema = pa.schema([*nullable, *new], _declared(schema.metadata, target, self._new))

    def batch(self, row: Row, segment: Segment) -> pa.RecordBatch | None:
        """Returns the row of an exported utterance; None if the table has it no longer."""
        column, batch = self._rows.get(row["uri"].removeprefix(f"{row['archive']}#"), ("", None))
        if batch is None:
            return None
        cells = batch.to_pylist()[0]
        in_file = {**row, "start_s": 0.0, "end_s": row["end_s"] - row["start_s"]}
        changed: dict[str, Any] = {}
        if row["piece_start_us"] is not None:
            changed |= cut_fields(cells, in_file)[0] | dict.fromkeys(self._audio)
        changed |= audio_fields(cells, self._target.audio_of(row))
        values = _new_values(row, self._target)
        changed |= {name: values[meaning] for meaning, name in self._new.items()}
        changed[column] = _audio_cell(row, segment)
        arrays = [
            pa.array([changed[field.name]], field.type) if field.name in changed else batch.column(field.name)
            for field in self.schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _declared(
    metadata: dict[bytes, bytes] | None, target: AudioTarget, new: dict[str, str]
) -> dict[bytes, bytes] | None:
    """Returns the metadata of a schema, with the features that `datasets` declared for the new audio and columns.

    Args:
        metadata: metadata of the schema of the corpus.
        target: audio to write.
        new: names of new columns by their meaning.
    """
    try:
        declared = json.loads((metadata or {})[_FEATURES])
        features = declared["info"]["features"]
        audio = [feature for feature in features.values() if feature.get("_type") == "Audio"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return metadata
    for feature in audio:
        if target.sample_rate is not None:
            feature["sampling_rate"] = target.sample_rate
    features |= {name: {"dtype": _NEW[meaning][1], "_type": "Value"} for meaning, name in new.items()}
    return {**(metadata or {}), _FEATURES: json.dumps(declared).encode()}
