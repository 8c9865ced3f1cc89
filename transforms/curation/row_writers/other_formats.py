"""Fields of the corpus for manifests in another format than that of the corpus: each becomes a column of the `KeptList`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from transforms import schemas
from transforms.corpus.carried import FieldType, carried_value
from transforms.corpus.columns import RESERVED_NAMES, normalised
from transforms.corpus.source_rows import FILE_ROWS, json_objects, parquet_batches, table_rows
from transforms.curation.duckdb_rows import quoted
from transforms.curation.kept_list import KeptList, field_key, field_sql
from transforms.curation.piece_texts import TextState
from transforms.curation.row_writers.matching import SourceRows, merged
from transforms.curation.row_writers.piece_fields import cut_fields
from transforms.schemas import TRIMMED
from transforms.storage.text_files import JsonText, cell_text

# Formats whose rows are objects of fields.
FLAT = ("csv", "tsv", "jsonl", "parquet")
_ROWS = 10_000
_SPILLED = pa.schema(
    [("id", pa.string()), ("cells", pa.map_(pa.string(), pa.string())), ("json", pa.list_(pa.string()))]
)


def with_fields(rows: SourceRows, scratch: Path) -> tuple[KeptList, Counter[TextState]]:
    """Returns the kept utterances with all fields of their rows, which have the types of carried columns.

    Columns with a meaning for manifests, such as the path, are left out, because the list has them. Utterances without a row
    keep their carried columns.

    Args:
        rows: rows of kept utterances, in one of the formats `FLAT`.
        scratch: folder for data that does not fit into memory.

    Returns:
        The list, and the number of pieces by how they got their texts.
    """
    kept, pieces = rows.kept, Counter[TextState]()
    types: dict[str, FieldType] = {}
    spilled = scratch / "fields.parquet"
    with pq.ParquetWriter(spilled, _SPILLED, compression="zstd") as writer:
        pending: list[tuple[str, dict[str, str]]] = []
        for utterance_id, cells in _cells(rows, pieces):
            for name, text in cells.items():
                types.setdefault(name, FieldType(name)).add(text)
            pending.append((utterance_id, cells))
            if len(pending) == _ROWS:
                writer.write_table(_spilled_table(pending))
                pending = []
        writer.write_table(_spilled_table(pending))
    fields = [kind.field() for kind in types.values()]
    fields = [schemas.carried_field(field.name) if pa.types.is_null(field.type) else field for field in fields]
    schema = pa.schema([("row id", pa.string()), *(pa.field(field_key(field.name), field.type) for field in fields)])
    typed = scratch / "typed_fields.parquet"
    with pq.ParquetWriter(typed, schema, compression="zstd") as writer:
        for batch in pq.ParquetFile(spilled).iter_batches(_ROWS):
            writer.write_table(_typed_table(batch.to_pylist(), fields, schema))
    kept.join("source_fields", ds.dataset(typed, schema))
    own = [name for name in kept.columns if name.lower() not in {name.lower() for name in types}]
    excluded = ", ".join(field_sql(name) for name in kept.columns)
    base = f"kept.* EXCLUDE ({excluded})" if excluded else "kept.*"
    columns = [f"kept.{field_sql(name)}" for name in own] + [_cell_sql(kept, field) for field in fields]
    kept.make(
        "kept_fields",
        f"SELECT {', '.join([base, *columns])} FROM {kept.table} AS kept "
        f"LEFT JOIN source_fields AS source ON source.{quoted('row id')} = kept.id ORDER BY kept.id",
    )
    names = [*(field.name for field in fields), *own]
    json_columns = [*(field.name for field in fields if schemas.is_json(field)), *kept.json_columns.intersection(own)]
    return kept.of_table("kept_fields", names, json_columns), pieces


def _cell_sql(kept: KeptList, field: pa.Field) -> str:
    """Returns SQL for the cell of a row, or, if the row is gone, for the carried column."""
    cell = f"source.{field_sql(field.name)}"
    if field.name not in kept.columns or schemas.is_json(field) != (field.name in kept.json_columns):
        return cell
    carried = kept.schema(f"SELECT {field_sql(field.name)} FROM {kept.table} LIMIT 0").field(0).type
    if carried != field.type:
        return cell
    is_gone = f"source.{quoted('row id')} IS NULL"
    return f"CASE WHEN {is_gone} THEN kept.{field_sql(field.name)} ELSE {cell} END AS {field_sql(field.name)}"


def _cells(rows: SourceRows, pieces: Counter[TextState]) -> Iterator[tuple[str, dict[str, str]]]:
    taken = {TRIMMED} if rows.is_trimmed else set()
    spelling: dict[str, str] = {}
    for row, utterances in merged(rows.found(), _objects(rows)):
        roles = rows.manifests.names.roles(tuple(row))
        times = {time[0] for time in (roles.start, roles.end, roles.duration) if time}
        for utterance in utterances:
            values = dict(row)
            if utterance["piece_start_us"] is not None:
                cut, state = cut_fields(row, utterance, rows.manifests.names.choice.get("text"))
                pieces[state] += 1
                values |= cut
            yield (
                utterance["id"],
                {
                    name: cell_text(value)
                    for name, value in values.items()
                    if name
                    and name not in {roles.path, roles.id, *times}
                    and normalised(name) not in RESERVED_NAMES
                    and name.lower() not in taken
                    # SQL ignores case, so that only the first of such names can be a column.
                    and spelling.setdefault(name.lower(), name) == name
                },
            )


def _objects(rows: SourceRows) -> Iterator[tuple[int, Mapping[str, Any]]]:
    manifests = rows.manifests
    for index, uri in enumerate(manifests.uris):
        first = index * FILE_ROWS
        if manifests.format == "jsonl":
            for number, _, row in json_objects(manifests, uri):
                yield first + number, row
        elif manifests.format == "parquet":
            for start, batch in parquet_batches(uri):
                for number, row in enumerate(batch.to_pylist(), start):
                    yield (
                        first + number,
                        {name: None if isinstance(value, bytes) else value for name, value in row.items()},
                    )
        else:
            header, numbered = table_rows(manifests, uri)
            for number, cells in numbered:
                yield first + number, dict(zip(header, cells, strict=True))


def _spilled_table(rows: list[tuple[str, dict[str, str]]]) -> pa.Table:
    return pa.table(
        {
            "id": [name for name, _ in rows],
            "cells": [list(cells.items()) for _, cells in rows],
            "json": [[name for name, text in cells.items() if type(text) is JsonText] for _, cells in rows],
        },
        _SPILLED,
    )


def _typed_table(rows: list[dict[str, Any]], fields: list[pa.Field], schema: pa.Schema) -> pa.Table:
    cells = []
    for row in rows:
        is_json = set(row["json"])
        cells.append({name: JsonText(text) if name in is_json else text for name, text in row["cells"]})
    arrays = [pa.array([row["id"] for row in rows], pa.string())]
    arrays += [pa.array([carried_value(values, field) for values in cells], field.type) for field in fields]
    return pa.Table.from_arrays(arrays, schema=schema)
