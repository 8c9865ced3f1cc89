"""Rows are coalesced into row groups of the requested size, in zstd Parquet files."""

from __future__ import annotations

import functools
import io
import itertools

import apache_beam as beam
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.support.outputs import scored
from transforms.output.parquet_sink import (
    ROW_GROUP_ROWS,
    SORTED_GROUP_ROWS,
    Coalesce,
    WriteFiles,
    WriteTable,
    parquet_writer,
    sorted_groups,
)
from transforms.scoring.rows import frames_table

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False, metadata={"description": "of the row"}),
        pa.field("value", pa.int64(), nullable=False),
    ],
    metadata={"run": "r1"},
)


def spread(elements: list[tuple[str, int]]) -> pa.Table:
    """Returns a table with n rows for each (name, n)."""
    rows = [{"name": name, "value": i} for name, count in elements for i in range(count)]
    return pa.Table.from_pylist(rows, SCHEMA)


def count(element: tuple[str, int]) -> int:
    return element[1]


def coalesced(counts: list[int], rows: int) -> tuple[list[pa.Table], list[pa.Table]]:
    dofn = Coalesce(spread, count, rows)
    dofn.start_bundle()
    early = [table for i, n in enumerate(counts) for table in dofn.process((str(i), n))]
    return early, [windowed.value for windowed in dofn.finish_bundle()]


class TestCoalesce:
    @given(counts=st.lists(st.integers(0, 30), max_size=40), rows=st.integers(1, 60))
    def test_every_table_but_the_last_fills_a_row_group_and_nothing_is_lost(self, counts, rows):
        early, late = coalesced(counts, rows)
        assert all(table.num_rows >= rows for table in early)
        assert all(table.num_rows < rows + 30 for table in early)
        assert len(late) <= 1
        assert all(0 < table.num_rows < rows for table in late)
        found = [row for table in early + late for row in table.to_pylist()]
        assert found == spread([(str(i), n) for i, n in enumerate(counts)]).to_pylist()

    def test_no_elements_give_no_table(self):
        assert coalesced([], 10) == ([], [])

    def test_an_element_larger_than_a_row_group_is_not_split(self):
        early, late = coalesced([25], 10)
        assert [table.num_rows for table in early] == [25]
        assert late == []

    def test_elements_of_a_failed_bundle_are_dropped(self):
        dofn = Coalesce(spread, count, 10)
        dofn.start_bundle()
        assert list(dofn.process(("lost with its bundle", 3))) == []
        dofn.start_bundle()
        assert list(dofn.finish_bundle()) == []

    def test_row_groups_have_at_least_64k_rows_by_default(self):
        assert ROW_GROUP_ROWS >= 64 * 1_024
        assert Coalesce(spread, count)._rows == ROW_GROUP_ROWS


def write(tmp_path, elements, schema=SCHEMA, **how) -> list[pq.ParquetFile]:
    with beam.Pipeline(runner=FnApiRunner()) as root:
        root | beam.Create(elements) | WriteTable(str(tmp_path / "run1"), schema, **how)
    assert not list(tmp_path.glob("beam-temp*"))
    return [pq.ParquetFile(path) for path in sorted(tmp_path.iterdir())]


def groups(file: pq.ParquetFile) -> list:
    return [file.metadata.row_group(i) for i in range(file.num_row_groups)]


class TestWriteTable:
    def test_rows_become_zstd_files_named_after_the_run(self, tmp_path):
        files = write(tmp_path, [{"name": f"n{i}", "value": i} for i in range(50)])
        rows = [row for file in files for row in file.read().to_pylist()]
        assert sorted(row["value"] for row in rows) == list(range(50))
        assert all(row["name"] == f"n{row['value']}" for row in rows)
        codecs = {group.column(i).compression for file in files for group in groups(file) for i in range(2)}
        assert codecs == {"ZSTD"}
        assert all(path.match("run1-????????????.parquet") for path in tmp_path.iterdir())

    def test_files_have_the_schema_with_descriptions_and_metadata(self, tmp_path):
        for file in write(tmp_path, [{"name": "a", "value": 1}]):
            assert file.schema_arrow.equals(SCHEMA)
            assert file.schema_arrow.field("name").metadata == {b"description": b"of the row"}
            assert file.schema_arrow.metadata[b"run"] == b"r1"

    def test_only_the_last_row_group_of_a_file_is_smaller_than_requested(self, tmp_path):
        files = write(tmp_path, [(str(i), 7) for i in range(40)], to_table=spread, count_rows=count, rows=50)
        sizes = [[group.num_rows for group in groups(file)] for file in files]
        assert sum(map(sum, sizes)) == 280
        assert all(size >= 50 for file_sizes in sizes for size in file_sizes[:-1])
        assert max(map(max, sizes)) == 56

    @pytest.mark.parametrize("how", [{}, {"to_table": spread, "count_rows": count}], ids=["rows", "tables"])
    def test_without_elements_there_is_no_file(self, tmp_path, how):
        assert write(tmp_path, [], **how) == []

    def test_a_null_in_a_required_column_fails_the_job(self, tmp_path):
        with pytest.raises(Exception, match=r"(?i)null"):
            write(tmp_path, [{"name": "a", "value": 1}, {"name": None, "value": 2}])

    def test_two_runs_do_not_touch_each_others_files(self, tmp_path):
        for run, value in (("run1", 1), ("run2", 2)):
            with beam.Pipeline(runner=FnApiRunner()) as root:
                root | beam.Create([{"name": "a", "value": value}]) | WriteTable(str(tmp_path / run), SCHEMA)
        assert sorted(pq.read_table(tmp_path)["value"].to_pylist()) == [1, 2]

    def test_partial_functions_can_be_pickled(self, tmp_path):
        (file, *_) = write(
            tmp_path, [("a", 3)], to_table=functools.partial(spread), count_rows=functools.partial(count)
        )
        assert file.read()["value"].to_pylist() == [0, 1, 2]


SCORED = pa.schema([pa.field("utterance_id", pa.string(), False), pa.field("score", pa.float32(), False)])


def utterance_rows(count: int) -> list[dict]:
    """Returns rows whose scores rise and fall between 1.0 and 4.6."""
    return [{"utterance_id": f"u{i:06d}", "score": 1 + 3.6 * ((i * 7_919) % count) / count} for i in range(count)]


class TestSorted:
    @given(scores=st.lists(st.integers(0, 9), max_size=60), group_rows=st.integers(1, 20))
    def test_row_groups_contain_all_rows_in_order(self, scores, group_rows):
        table = pa.table({"score": pa.array(scores, pa.int64()), "place": range(len(scores))})
        groups = list(sorted_groups(table, ("score",), group_rows))
        assert all(group.num_rows == group_rows for group in groups[:-1])
        found = [row for group in groups for row in group.to_pylist()]
        assert found == sorted(table.to_pylist(), key=lambda row: (row["score"], row["place"]))

    def test_a_row_group_does_not_hold_the_memory_of_the_table(self):
        table = pa.Table.from_pylist(utterance_rows(10_000), SCORED)
        first, *_ = sorted_groups(table, ("score",), 100)
        assert first.get_total_buffer_size() < table.get_total_buffer_size() / 50

    def test_a_query_for_low_scores_reads_few_of_many_row_groups(self, tmp_path):
        files = write(tmp_path, utterance_rows(40_000), schema=SCORED, sort_by=("score", "utterance_id"))
        ranges = []
        for file in files:
            assert all(group.num_rows == SORTED_GROUP_ROWS for group in groups(file)[:-1])
            statistics = [group.column(1).statistics for group in groups(file)]
            assert all(each.has_min_max for each in statistics)
            assert all(low.max <= high.min for low, high in itertools.pairwise(statistics))
            ranges += [(each.min, each.max) for each in statistics]
        assert len(ranges) >= 10
        low = ds.field("score") < 1.3
        paths = [str(path) for path in tmp_path.iterdir()]
        touched = [part for whole in ds.dataset(paths).get_fragments() for part in whole.split_by_row_group(low)]
        assert len(touched) == sum(smallest < 1.3 for smallest, _ in ranges) <= 2 * len(files)
        rows = [row for part in touched for row in part.to_table(filter=low).to_pylist()]
        assert len(rows) == sum(row["score"] < 1.3 for row in utterance_rows(40_000))


def test_lists_have_the_standard_layout(tmp_path):
    schema = pa.schema([pa.field("flags", pa.list_(pa.string()), nullable=False)])
    for file in write(tmp_path, [{"flags": ["clipped"]}, {"flags": []}], schema=schema):
        assert file.schema.column(0).path == "flags.list.element"
        # Readers accept both layouts in one dataset: earlier versions wrote the other one.
        pq.write_table(file.read(), tmp_path / "old.parquet", use_compliant_nested_type=False)
    rows = ds.dataset(tmp_path, schema).to_table().to_pylist()
    assert sorted(map(str, rows)) == sorted(map(str, [{"flags": ["clipped"]}, {"flags": []}] * 2))


def test_the_numbers_of_the_frames_of_a_long_recording_take_little_space():
    frames = frames_table([scored("long", 4.0, duration_s=600.0)])
    buffer = io.BytesIO()
    with parquet_writer(buffer, frames.schema) as writer:
        writer.write_table(frames)
    column = pq.ParquetFile(buffer).metadata.row_group(0).column(frames.schema.get_field_index("frame"))
    assert column.total_compressed_size < 0.1 * len(frames)
    assert pq.read_table(buffer).equals(frames)


def table(first: int, rows: int = 10) -> pa.Table:
    return pa.Table.from_pylist([{"name": "x", "value": first + i} for i in range(rows)], SCHEMA)


class TestWriteFiles:
    def paths(self, dofn: WriteFiles, tables: list[pa.Table]) -> list[str]:
        """Returns the paths of the files that a bundle writes."""
        dofn.start_bundle()
        early = [path for item in tables for path in dofn.process(item)]
        return early + [windowed.value for windowed in dofn.finish_bundle()]

    @pytest.mark.parametrize(("file_bytes", "files"), [(1, 5), (10**9, 1)])
    def test_a_large_enough_file_is_closed_and_a_new_one_begins(self, tmp_path, file_bytes, files):
        paths = self.paths(WriteFiles(str(tmp_path / "run1"), SCHEMA, file_bytes), [table(10 * i) for i in range(5)])
        assert len(paths) == len(set(paths)) == files
        values = [value for path in paths for value in pq.read_table(path)["value"].to_pylist()]
        assert sorted(values) == list(range(50))

    def test_rows_of_a_failed_bundle_are_in_no_reported_file(self, tmp_path):
        dofn = WriteFiles(str(tmp_path / "run1"), SCHEMA)
        dofn.start_bundle()
        assert list(dofn.process(table(100))) == []
        (path,) = self.paths(dofn, [table(0)])
        assert pq.read_table(path)["value"].to_pylist() == list(range(10))

    def test_an_empty_bundle_has_no_file(self, tmp_path):
        assert self.paths(WriteFiles(str(tmp_path / "run1"), SCHEMA), []) == []
        assert list(tmp_path.iterdir()) == []
