"""Copies of committed files without rows that are out of date."""

from __future__ import annotations

import bisect
import secrets
from collections.abc import Sequence, Set
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from transforms.output.ledger import Ledger
from transforms.output.parquet_sink import parquet_writer
from transforms.output.records import names_that_count
from transforms.storage.gcs.client import open_in_parts


def rewrite_without(
    ledger: Ledger, run_id: str, ids: Set[str], records: Sequence[dict[str, Any]] | None = None
) -> tuple[list[str], list[str]]:
    """Copies the committed files that contain rows of some utterances into files of a run, without those rows.

    The names of the copies are random, because another attempt to commit the run may copy the same files at the same time.
    Files of the run itself are never copied.

    Args:
        ledger: ledger of the output.
        run_id: id of the run to which the copies belong.
        ids: ids of the utterances whose rows are out of date.
        records: records of the runs that may have such rows; by default all.

    Returns:
        Names of the copies, and names of the files that they replace; both for `Ledger.commit`.
    """
    copies: list[str] = []
    replaced: list[str] = []
    if not ids:
        return copies, replaced
    sorted_ids = sorted(ids)
    known = ledger.records() if records is None else records
    earlier = [record for record in known if record["run_id"] != run_id]
    for table in ledger.tables:
        for name in names_that_count(earlier, table):
            target = f"{ledger.prefix(table, run_id)}-kept-{secrets.token_hex(6)}.parquet"
            if _copy_without(FileSystems.join(ledger.root, name), target, sorted_ids):
                replaced.append(name)
                copies.append(ledger.name_of(target))
    return copies, replaced


def _copy_without(source: str, target: str, sorted_ids: list[str]) -> bool:
    """Copies a file without the rows of some ids; returns False, and copies nothing, if it has no such rows."""
    value_set = pa.array(sorted_ids, pa.string())

    def out_of_date(rows: pa.RecordBatch | pa.Table) -> pa.Array:
        return pc.is_in(rows.column("utterance_id"), value_set=value_set)

    with open_in_parts(source) as file:
        parquet = pq.ParquetFile(file)
        if not _may_contain(parquet, sorted_ids) or not any(
            pc.any(out_of_date(batch)).as_py() for batch in parquet.iter_batches(columns=["utterance_id"])
        ):
            return False
        with (
            FileSystems.create(target) as out,
            parquet_writer(out, parquet.schema_arrow) as writer,
        ):
            for group in range(parquet.num_row_groups):
                rows = parquet.read_row_group(group)
                writer.write_table(rows.filter(pc.invert(out_of_date(rows))))
    return True


def _may_contain(parquet: pq.ParquetFile, sorted_ids: list[str]) -> bool:
    """Returns whether an id lies within the range of ids of a row group. It does for few files, as a wave is a range of ids."""
    column = parquet.schema_arrow.get_field_index("utterance_id")
    for group in range(parquet.num_row_groups):
        statistics = parquet.metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max:
            return True
        first = bisect.bisect_left(sorted_ids, statistics.min)
        if first < len(sorted_ids) and sorted_ids[first] <= statistics.max:
            return True
    return False
