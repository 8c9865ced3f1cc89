"""Writes rows of the corpus back to a Parquet file, with their types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.corpus.columns import Roles, time_of
from transforms.corpus.source_rows import FILE_ROWS, combined_schema, parquet_batches
from transforms.curation.kept_list import ManifestError
from transforms.curation.piece_texts import TextState
from transforms.curation.row_writers.flat_rows import FlatRows
from transforms.curation.row_writers.matching import CHANGED_MEANWHILE, SourceRows
from transforms.schemas import TRIMMED
from transforms.storage.text_files import as_text

_NEW_TYPES = {
    "id": pa.string(),
    "start": pa.float64(),
    "duration": pa.float64(),
    "channel": pa.int32(),
    "score": pa.float64(),
    TRIMMED: pa.bool_(),
}
_ROWS_WITHOUT_ROW = 10_000


def write_parquet(rows: SourceRows, path: Path) -> Counter[TextState]:
    """Writes a Parquet file with the schema of the corpus and the new columns.

    A start, end or length of integers becomes one of floats, and an id that is a number becomes a text, if pieces or channels
    of utterances are kept.
    """
    flat = FlatRows(rows)
    source = combined_schema(rows.manifests.uris)
    schema = _output_schema(source, flat, rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch, utterances in _kept_batches(rows):
            writer.write_table(_table(batch, utterances, flat, schema, rows))
        pending: list[dict[str, Any]] = []
        for utterance in rows.without_row():
            pending.append(flat.without_row(utterance, rows.kept.columns))
            if len(pending) == _ROWS_WITHOUT_ROW:
                writer.write_table(_rows_table(pending, schema))
                pending = []
        if pending:
            writer.write_table(_rows_table(pending, schema))
    return flat.pieces


def _output_schema(source: pa.Schema, flat: FlatRows, rows: SourceRows) -> pa.Schema:
    fields = []
    roles = rows.manifests.names.roles(tuple(source.names))
    has_new_ids = rows.splits_channels or rows.are_files or rows.has("piece_start_us IS NOT NULL")
    for field in source:
        kind = field.type
        if has_new_ids and field.name == roles.id and not _is_text(kind):
            kind = pa.string()
        if has_new_ids and _is_in_seconds(field.name, roles) and not (_is_text(kind) or pa.types.is_floating(kind)):
            kind = pa.float64()
        if kind != field.type or has_new_ids or rows.lacking:
            field = pa.field(field.name, kind, nullable=True, metadata=field.metadata)
        fields.append(field)
    fields += [pa.field(name, _NEW_TYPES[meaning]) for meaning, name in flat.new.items()]
    return pa.schema(fields, source.metadata)


def _is_in_seconds(name: str, roles: Roles) -> bool:
    time = time_of(name) or next(
        (
            (role, time[1])
            for role in ("start", "end", "duration")
            if (time := getattr(roles, role)) and time[0] == name
        ),
        None,
    )
    return time is not None and time[1] == 1.0


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)


def _kept_batches(rows: SourceRows) -> Iterator[tuple[pa.RecordBatch, list[dict[str, Any]]]]:
    """Yields the rows of kept utterances in batches, with these utterances: as many as rows."""
    found = rows.found()
    utterance = next(found, None)
    for index, uri in enumerate(rows.manifests.uris):
        for number, batch in parquet_batches(uri):
            first = index * FILE_ROWS + number
            utterances = []
            while utterance is not None and utterance["place"] < first + len(batch):
                if utterance["place"] < first:  # damaged in columns that the listing does not read
                    raise ManifestError(CHANGED_MEANWHILE)
                utterances.append(utterance)
                utterance = next(found, None)
            if utterances:
                yield batch.take(pa.array([kept["place"] - first for kept in utterances], pa.int64())), utterances
    if utterance is not None:
        raise ManifestError(CHANGED_MEANWHILE)


def _table(
    batch: pa.RecordBatch, utterances: list[dict[str, Any]], flat: FlatRows, schema: pa.Schema, rows: SourceRows
) -> pa.Table:
    names = batch.schema.names
    # Only pieces and exported files have changes in columns other than those of the place.
    own_rows = batch.select(flat.own_columns(names)).to_pylist()
    changes, new = [], []
    for place, utterance in enumerate(utterances):
        needs_row = rows.are_files or (rows.is_trimmed and utterance["piece_start_us"] is not None)
        row = batch.slice(place, 1).to_pylist()[0] if needs_row else own_rows[place]
        changes.append(flat.changes(row, utterance))
        new.append(flat.new_cells(row, utterance))
    changed = {name for cells in changes for name in cells}
    columns = []
    for field in schema:
        if field.name not in names:
            columns.append(pa.array([cells.get(field.name) for cells in new], field.type))
        elif field.name in changed:
            values = batch.column(field.name).to_pylist()
            pairs = zip(changes, values, strict=True)
            columns.append(_array([cells.get(field.name, value) for cells, value in pairs], field.type))
        else:
            columns.append(batch.column(field.name).cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if _is_text(kind):
        values = [value if value is None or isinstance(value, str) else as_text(value) for value in values]
    if pa.types.is_dictionary(kind):
        return pa.array(values, kind.value_type).cast(kind)
    return pa.array(values, kind)


def _rows_table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Returns rows of carried columns as a table. A value that does not have the type of its column is null."""
    return pa.Table.from_arrays(
        [_array_of_carried([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema
    )


def _array_of_carried(values: list[Any], kind: pa.DataType) -> pa.Array:
    try:
        return _array(values, kind)
    except (pa.ArrowException, TypeError, ValueError):
        pass
    converted = []
    for value in values:
        try:
            converted.append(pa.scalar(value, kind).as_py())
        except (pa.ArrowException, TypeError, ValueError):
            converted.append(None)
    return _array(converted, kind)
