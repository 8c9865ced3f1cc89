"""Types of the carried columns of an output. All files of `utterances` have the same."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from transforms.corpus.carried import EXACT, joined_field
from transforms.output.ledger import Job, Ledger
from transforms.output.records import names_that_count
from transforms.schemas import carried_field, is_json, with_carried
from transforms.storage.gcs.client import open_in_parts


def stored_fields(root: str, files: Sequence[str], names: Sequence[str]) -> list[pa.Field]:
    """Returns the fields of carried columns, from the footer of one file.

    Args:
        root: root of the output.
        files: names of the files of `utterances` that count.
        names: names of the columns.
    """
    if not files or not names:
        return [carried_field(name) for name in names]
    uri = FileSystems.join(root, files[-1])
    with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        schema = pq.read_schema(file)
    return [schema.field(name) if name in schema.names else carried_field(name) for name in names]


def align_carried(
    ledger: Ledger, fields: Sequence[pa.Field], run_id: str | None = None, check: Callable[[], None] = lambda: None
) -> list[pa.Field]:
    """Returns the types of carried columns for a run, and gives the rows of earlier runs the same types.

    If a type changes, the files of `utterances` are replaced in one step, before the run starts.

    Args:
        ledger: ledger of the output.
        fields: types of the columns of the utterances that are scored; of the type null if none has a value.
        run_id: id of the run that replaces the files if a type changes; None for a new one.
        check: function that is called just before that, and raises an error if it must not happen.
    """
    files = names_that_count(ledger.records(), "utterances")
    fixed = [carried_field(field.name) if pa.types.is_null(field.type) else field for field in fields]
    if not files:
        return fixed
    earlier = stored_fields(ledger.root, files, [field.name for field in fields])
    joined = [
        old if pa.types.is_null(new.type) else _joined(ledger, old, new)
        for old, new in zip(earlier, fields, strict=True)
    ]
    if any(not _is_same(old, new) for old, new in zip(earlier, joined, strict=True)):
        run_id, started_s = run_id or Ledger.new_run_id(), time.time()
        copies = [
            _retyped(ledger, name, f"{ledger.prefix('utterances', run_id)}-typed-{number:05d}.parquet", joined)
            for number, name in enumerate(files)
        ]
        record = {"job": Job.COMPACT, "counts": {}, "timings": {"total_s": round(time.time() - started_s, 3)}}
        ledger.commit(run_id, record, copies, files, check)
    return joined


def _joined(ledger: Ledger, old: pa.Field, new: pa.Field) -> pa.Field:
    if pa.types.is_int64(old.type) and pa.types.is_float64(new.type):
        for batch in ledger.rows("utterances", [old.name]):
            extremes = pc.min_max(batch.column(0)).as_py()
            if extremes["max"] is not None and not -EXACT <= extremes["min"] <= extremes["max"] <= EXACT:
                return carried_field(old.name, as_json=True)
        return new
    return joined_field(old, new)


def _is_same(one: pa.Field, other: pa.Field) -> bool:
    return bool(one.type == other.type) and is_json(one) == is_json(other)


def _retyped(ledger: Ledger, name: str, target: str, fields: Sequence[pa.Field]) -> str:
    """Copies a file of `utterances` with other types of carried columns; returns the name of the copy."""
    by_name = {field.name: field for field in fields}
    with open_in_parts(FileSystems.join(ledger.root, name)) as file:
        parquet = pq.ParquetFile(file)
        old = parquet.schema_arrow
        own = pa.schema([field for field in old if field.name not in by_name], old.metadata)
        schema = with_carried(own, list(fields))
        with (
            FileSystems.create(target, compression_type=CompressionTypes.UNCOMPRESSED) as out,
            pq.ParquetWriter(out, schema, compression="zstd") as writer,
        ):
            for group in range(parquet.num_row_groups):
                rows = parquet.read_row_group(group)
                columns = [
                    _converted(rows.column(field.name), old.field(field.name), field)
                    if field.name in by_name and field.name in old.names
                    else rows.column(field.name)
                    if field.name in old.names
                    else pa.nulls(len(rows), field.type)
                    for field in schema
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=max(1, len(rows)))
    return ledger.name_of(target)


def _converted(values: pa.ChunkedArray, old: pa.Field, new: pa.Field) -> pa.Array | pa.ChunkedArray:
    if _is_same(old, new):
        return values
    items: list[Any] = values.to_pylist()
    if is_json(new) and not is_json(old):
        items = [None if item is None else json.dumps(item, ensure_ascii=False) for item in items]
    return pa.array(items, new.type)
