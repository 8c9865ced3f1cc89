"""Compaction merges small files without losing, doubling or reordering rows, and switches in one step."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.outputs import diagnosis_of, rejected, scored, write_output, written
from tests.support.storage.local_buckets import bucket
from transforms import schemas
from transforms.errors import OutputError
from transforms.output import compaction
from transforms.output.compaction import compact, merge, small_files
from transforms.output.ledger import Job, Ledger
from transforms.output.reconcile import LostRowsError
from transforms.output.results import open_results
from transforms.output.rewrite import rewrite_without
from transforms.scoring.rows import frames_table

MB = 1 << 20
TABLES = tuple(schemas.SCORE_TABLES)


def ledger_of(root: Path | str) -> Ledger:
    return Ledger(str(root), TABLES)


def rows(root: Path | str, table: str) -> Counter[str]:
    """Returns all rows that count, as text, with their numbers of occurrences."""
    return Counter(
        json.dumps(row, default=str) for row in open_results(str(root)).dataset(table).to_table().to_pylist()
    )


def files(root: Path, table: str) -> list[Path]:
    return sorted((root / table).glob("*.parquet"))


def one_frame(utterance_id: str) -> pa.Table:
    return frames_table([scored(utterance_id, [1.0])])


def do(root: Path | str, file_bytes: int = 256 * MB) -> dict:
    ledger = ledger_of(root)
    return compact(ledger, small_files(ledger, file_bytes), file_bytes, {})


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Five runs with three utterances each, one of them with an anomaly, and a reject."""
    for run in range(5):
        uneven = scored(f"{run}/bad.flac", [4.0] * 400 + [1.0] * 100 + [4.0] * 400, columns={"speaker": "ann"})
        even = [scored(f"{run}/{i}.flac", 1.0 + (7 * run + 3 * i) % 11 / 4, duration_s=1.0) for i in range(2)]
        write_output(tmp_path / "out", [uneven, *even], [rejected(f"{run}/lost")], carry=["speaker"])
    return tmp_path / "out"


def test_all_rows_are_kept_in_one_file_per_table(output):
    before = {table: rows(output, table) for table in TABLES}
    runs = open_results(str(output)).runs
    record = do(output)
    assert {table: rows(output, table) for table in TABLES} == before
    assert all(before.values())
    assert [len(files(output, table)) for table in TABLES] == [1, 1, 1, 1]
    assert record["counts"]["utterances"] == {"files": 5, "merged_files": 1, "rows": 15}
    assert open_results(str(output)).runs == runs
    assert open_results(str(output)).source == "/corpus"


def test_a_second_compaction_finds_nothing(output):
    do(output)
    assert small_files(ledger_of(output), 256 * MB) == []


def test_files_of_later_runs_are_merged_too(output):
    do(output)
    write_output(output, [scored("new", 3.0)], [rejected("new too")], carry=["speaker"])
    before = {table: rows(output, table) for table in TABLES}
    do(output)
    assert {table: rows(output, table) for table in TABLES} == before
    assert [len(files(output, table)) for table in TABLES] == [1, 1, 1, 1]
    assert small_files(ledger_of(output), 256 * MB) == []


def test_large_files_are_not_merged(output):
    size = min(path.stat().st_size for table in TABLES for path in files(output, table))
    assert small_files(ledger_of(output), 2 * size) == []


def test_utterances_are_sorted_across_files_so_that_queries_skip_row_groups(output, monkeypatch):
    monkeypatch.setattr(compaction, "SORTED_GROUP_ROWS", 4)
    do(output)
    (path,) = files(output, "utterances")
    table = pq.read_table(path).to_pylist()
    keys = [(row["score"], row["utterance_id"]) for row in table]
    assert keys == sorted(keys)
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [4, 4, 4, 3]
    place = pq.read_schema(path).get_field_index("score")
    ranges = [metadata.row_group(i).column(place).statistics for i in range(metadata.num_row_groups)]
    assert all(one.max <= after.min for one, after in itertools.pairwise(ranges))


def test_frames_keep_their_order_in_larger_row_groups(output, monkeypatch):
    expected = [row for path in files(output, "frames") for row in pq.read_table(path).to_pylist()]
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 2_000)
    do(output)
    (path,) = files(output, "frames")
    assert pq.read_table(path).to_pylist() == expected
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [2_044, 2_044, 1_022]
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_schema_and_metadata_are_kept_except_the_run_id(tmp_path):
    ledger = ledger_of(tmp_path / "out")
    for run, name in enumerate("ab"):
        run_id = f"2026010{run + 1}T000000Z-aaaaaa"
        metadata = {"audiosieve.run_id": run_id, "audiosieve.model_id": "m@1"}
        path = Path(f"{ledger.prefix('frames', run_id)}-x.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(one_frame(name).replace_schema_metadata(metadata), path)
        ledger.commit(run_id, {"job": "score"}, written(ledger, run_id))
    record = do(ledger.root)
    (path,) = files(Path(ledger.root), "frames")
    found = pq.read_schema(path)
    assert found.metadata == {b"audiosieve.run_id": record["run_id"].encode(), b"audiosieve.model_id": b"m@1"}
    assert found.equals(schemas.FRAMES)
    assert all(found.field(i).metadata == schemas.FRAMES.field(i).metadata for i in range(len(found)))


def test_files_of_different_models_are_not_merged(tmp_path):
    ledger = ledger_of(tmp_path / "out")
    for run, model in enumerate("abab" + "c"):
        run_id = f"2026010{run + 1}T000000Z-aaaaaa"
        path = Path(f"{ledger.prefix('frames', run_id)}-x.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(one_frame(str(run)).replace_schema_metadata({"audiosieve.model_id": model}), path)
        ledger.commit(run_id, {"job": "score"}, written(ledger, run_id))
    do(ledger.root)
    found = {
        pq.read_schema(path).metadata[b"audiosieve.model_id"]: pq.read_table(path)["utterance_id"].to_pylist()
        for path in files(Path(ledger.root), "frames")
    }
    assert found == {b"a": ["0", "2"], b"b": ["1", "3"], b"c": ["4"]}
    assert small_files(ledger, 256 * MB) == []


def test_only_the_last_file_is_smaller_than_requested(output, monkeypatch):
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 1)
    scores = [3 + 0.618 * frame % 1 for frame in range(4_000)]  # they take more space than a footer
    for run in range(5):
        write_output(output, [scored(f"{run}/long.flac", scores)], carry=["speaker"])
    before = rows(output, "frames")
    target = round(2.1 * max(path.stat().st_size for path in files(output, "frames")))
    do(output, target)
    _, *full = sorted(path.stat().st_size for path in files(output, "frames"))
    assert min(full) >= target
    assert rows(output, "frames") == before
    assert small_files(ledger_of(output), target) == []


def test_causes_of_frames_stay_dictionaries(tmp_path):
    for cause in ("hum", "noise"):
        diagnosis = diagnosis_of(4, spans={cause: [(1, 3)]})
        write_output(
            tmp_path / "out", [scored(cause, [2.0] * 4, diagnosis=diagnosis), scored(f"not {cause}", [2.0] * 4)]
        )
    before = rows(tmp_path / "out", "frames")
    do(tmp_path / "out")
    ledger = ledger_of(tmp_path / "out")
    run_id = Ledger.new_run_id()
    ledger.commit(run_id, ledger.records()[0], *rewrite_without(ledger, run_id, {"not hum", "not noise"}))
    (path,) = [tmp_path / "out" / name for name in open_results(str(tmp_path / "out")).files["frames"]]
    assert pq.read_table(path).schema.field("cause").type == schemas.FRAMES.field("cause").type
    after = rows(tmp_path / "out", "frames")
    assert (sum(after.values()), after - before) == (8, Counter())


def test_tables_without_rows_become_one_empty_file(tmp_path):
    ledger = ledger_of(tmp_path / "out")
    for run in range(2):
        run_id = f"2026010{run + 1}T000000Z-aaaaaa"
        path = Path(f"{ledger.prefix('rejects', run_id)}-empty.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(schemas.REJECTS.empty_table(), path)
        ledger.commit(run_id, {"job": "score"}, written(ledger, run_id))
    do(ledger.root)
    (path,) = files(Path(ledger.root), "rejects")
    assert pq.read_table(path).schema.equals(schemas.REJECTS)
    assert len(pq.read_table(path)) == 0


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
floats = st.floats(width=32, allow_nan=False)
utterances = st.lists(
    st.fixed_dictionaries(
        {
            "utterance_id": texts,
            "score": floats,
            "flags": st.lists(texts, max_size=2),
            "causes": st.lists(texts, max_size=2),
            "snr_db": st.none() | floats,
            "channel": st.none() | st.integers(0, 7),
        }
    ),
    max_size=9,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(utterances, min_size=2, max_size=4), file_bytes=st.sampled_from([30_000, 256 * MB]))
def test_rows_with_any_values_are_kept(tmp_path_factory, contents, file_bytes):
    ledger = ledger_of(tmp_path_factory.mktemp("any"))
    harmless = {
        field.name: [] if pa.types.is_list(field.type) else "x" if field.type == pa.string() else 0
        for field in schemas.UTTERANCES
    }
    for number, content in enumerate(contents):
        run_id = f"2026010{number + 1}T000000Z-aaaaaa"
        path = Path(f"{ledger.prefix('utterances', run_id)}-x.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([harmless | row for row in content], schemas.UTTERANCES), path)
        ledger.commit(run_id, {"job": "score"}, written(ledger, run_id))

    def all_rows() -> list[str]:
        found = pa.Table.from_batches(ledger.rows("utterances", schemas.UTTERANCES.names), schemas.UTTERANCES)
        return sorted(map(repr, found.to_pylist()))

    before = all_rows()
    if groups := small_files(ledger, file_bytes):
        compact(ledger, groups, file_bytes, {})
    assert all_rows() == before
    assert len(before) == sum(map(len, contents))


def test_a_kill_before_the_commit_leaves_only_debris(output):
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    ledger = ledger_of(output)
    for group in small_files(ledger, 256 * MB):
        merge(ledger, Ledger.new_run_id(), group, 256 * MB)
    assert rows(output, "utterances").total() == 15
    assert len(ledger.remove_debris()) == 4
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before


def test_a_kill_after_the_commit_leaves_the_old_files_as_debris(output):
    before = rows(output, "frames")
    old = {path: path.read_bytes() for path in files(output, "frames")}
    do(output)
    for path, content in old.items():
        path.write_bytes(content)
    assert rows(output, "frames") == before
    assert len(ledger_of(output).remove_debris()) == len(old)
    assert rows(output, "frames") == before


def test_a_run_committed_before_the_merge_is_not_lost(output):
    ledger = ledger_of(output)
    groups = small_files(ledger, 256 * MB)
    run_id = Ledger.new_run_id()
    ledger.commit(run_id, ledger.records()[-1], *rewrite_without(ledger, run_id, {"0/bad.flac"}))
    before = {table: rows(output, table) for table in TABLES}
    with pytest.raises(OutputError, match=r"cannot be read|meanwhile"):
        compact(ledger, groups, 256 * MB, {})
    assert {table: rows(output, table) for table in TABLES} == before
    assert ledger.remove_debris() == []


def test_a_run_committed_after_the_merge_is_not_lost(output, monkeypatch):
    ledger = ledger_of(output)
    groups = small_files(ledger, 256 * MB)
    states = []

    def merge_and_then(*args) -> list[str]:
        names = merge(*args)
        if args[2] == groups[-1]:
            run_id = Ledger.new_run_id()
            ledger.commit(run_id, ledger.records()[-1], *rewrite_without(ledger, run_id, {"0/bad.flac"}))
            states.append({table: rows(output, table) for table in TABLES})
        return names

    monkeypatch.setattr(compaction, "merge", merge_and_then)
    with pytest.raises(OutputError, match="another run wrote there meanwhile; nothing was changed"):
        compact(ledger, groups, 256 * MB, {})
    assert [{table: rows(output, table) for table in TABLES}] == states
    assert ledger.remove_debris() == []


def test_a_job_begun_meanwhile_is_not_disturbed(output):
    ledger = ledger_of(output)
    groups = small_files(ledger, 256 * MB)
    ledger.begin("20260101T000000Z-abcdef", {})
    with pytest.raises(OutputError, match="another run wrote there meanwhile; nothing was changed"):
        compact(ledger, groups, 256 * MB, {})
    assert {record["job"] for record in ledger.records()} == {"score"}
    assert [len(files(output, table)) for table in TABLES] == [5, 5, 5, 5]


def test_lost_rows_are_not_committed(output, monkeypatch):
    read = compaction.read_row_groups
    monkeypatch.setattr(compaction, "read_row_groups", lambda *args: list(read(*args))[1:])
    before = rows(output, "utterances")
    with pytest.raises(LostRowsError, match="12 of 15 rows of utterances were merged"):
        do(output)
    assert rows(output, "utterances") == before
    assert [len(files(output, table)) for table in TABLES] == [5, 5, 5, 5]


def test_a_damaged_file_is_named_and_nothing_changes(output):
    path = files(output, "frames")[2]
    content = path.read_bytes()
    path.write_bytes(content[:-8] + b"\0" * 8)
    with pytest.raises(OutputError, match=f"{path}: cannot be read as Parquet"):
        do(output)
    groups_before = [len(files(output, table)) for table in TABLES]
    path.write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :])
    with pytest.raises(OutputError, match=str(path)):
        do(output)
    assert [len(files(output, table)) for table in TABLES] == groups_before == [5, 5, 5, 5]


def test_a_missing_file_is_named(output):
    path = files(output, "frames")[2]
    path.unlink()
    with pytest.raises(OutputError, match=f"{path}: the file is missing"):
        do(output)


def test_an_output_in_a_bucket_is_compacted(output):
    before = {table: rows(output, table) for table in TABLES}
    do(bucket(output))
    assert {table: rows(output, table) for table in TABLES} == before
    assert [len(files(output, table)) for table in TABLES] == [1, 1, 1, 1]
    assert Job.COMPACT in {record["job"] for record in ledger_of(output).records()}


def test_records_are_not_read_again_for_each_table(output, monkeypatch):
    """An output may have thousands of records, each of which takes a request or two."""
    readings = []
    records = Ledger.records
    monkeypatch.setattr(Ledger, "records", lambda *args: readings.append(args) or records(*args))
    do(output)
    # Once to find the small files, and twice before the commit: for files that count and for pending runs.
    assert len(readings) == 3


def test_read_ahead_is_bounded(output, monkeypatch):
    fetched = []
    fetch = compaction.fetch
    monkeypatch.setattr(compaction, "fetch", lambda path: fetched.append(path) or fetch(path))
    (group,) = (group for group in small_files(ledger_of(output), 256 * MB) if group.table == "frames")
    monkeypatch.setattr(compaction, "READ_AHEAD", sum(group.sizes[:2]))
    tables = compaction.read_row_groups(ledger_of(output), group)
    next(tables)
    tables.close()  # waits for the requests in progress
    assert sorted(fetched) == [f"{output}/{name}" for name in group.names[:2]]


def test_a_table_larger_than_memory_is_sorted_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "MEMORY", "64MB")
    monkeypatch.setattr(compaction, "THREADS", 1)  # two threads would need more memory
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    schema = pa.schema([("score", pa.float64()), ("text", pa.string())])
    tables = (
        pa.table(
            {
                "score": [float((7_919 * i) % 100_003) for i in range(start, start + 10_000)],
                "text": [f"{i:0300d}" for i in range(start, start + 10_000)],
            },
            schema,
        )
        for start in range(0, 200_000, 10_000)
    )
    found = compaction.sort_tables(tables, schema, ("score", "text"))
    scores = next(found)["score"].to_pylist()
    assert any(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    for table in found:
        scores += table["score"].to_pylist()
    assert len(scores) == 200_000
    assert scores == sorted(scores)
    assert list(tmp_path.iterdir()) == []


def test_more_files_than_the_read_ahead_are_merged_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(compaction, "READERS", 3)
    monkeypatch.setattr(compaction, "READ_AHEAD", 20_000)
    for number in range(20):
        write_output(tmp_path / "out", [scored(f"{number:02d}", 1 + number / 10, duration_s=1.0)])
    do(tmp_path / "out")
    (path,) = files(tmp_path / "out", "utterances")
    assert pq.read_table(path)["utterance_id"].to_pylist() == [f"{number:02d}" for number in range(20)]
