"""A run on another runner commits itself once, as a whole or not at all."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.outputs import written
from transforms.elements import AudioRef, Recording
from transforms.errors import OutputError
from transforms.output.ledger import Job, Ledger
from transforms.output.receipts import Receipt
from transforms.output.reconcile import LostRowsError
from transforms.runs.commit import Commit
from transforms.runs.plan import write_plan
from transforms.telemetry import Work

RUN1, RUN2 = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"
STRING, DOUBLE, FLOAT = pa.string(), pa.float64(), pa.float32()
ROW = [("utterance_id", STRING), ("uri", STRING), ("source_version", STRING)]
SCHEMAS = {
    "utterances": pa.schema([*ROW, ("duration_s", DOUBLE), ("num_frames", pa.int32()), ("score", FLOAT)]),
    "frames": pa.schema([("utterance_id", STRING), ("score", FLOAT)]),
    "rejects": pa.schema([*ROW, ("reason", STRING)]),
}


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path / "out"), tuple(SCHEMAS))


def write(ledger: Ledger, run_id: str, table: str, rows: list[dict], name: str = "0") -> str:
    path = Path(f"{ledger.prefix(table, run_id)}-{name}.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMAS[table]), path)
    return str(path)


def scored(ledger: Ledger, run_id: str, names: str, name: str = "0") -> list[str]:
    """Writes the files of a bundle that scored some utterances of two frames each; returns their paths."""
    rows = [
        {
            "utterance_id": x,
            "uri": f"/corpus/{x}",
            "source_version": "1",
            "duration_s": 1.0,
            "num_frames": 2,
            "score": 3.0,
        }
        for x in names
    ]
    frames = [{"utterance_id": x, "score": 3.0} for x in names for _ in range(2)]
    return [write(ledger, run_id, "utterances", rows, name), write(ledger, run_id, "frames", frames, name)]


def begin(ledger: Ledger, run_id: str, names: str, **asked) -> None:
    ledger.begin(
        run_id,
        {
            "job": "score",
            "started_s": time.time(),
            "wave": {"number": 1, "of": 1},
            "counts": {"listed": len(names), "skipped": 0},
            **asked,
        },
    )
    refs = [AudioRef(x, f"/corpus/{x}", 1, "1") for x in names]
    write_plan(ledger, run_id, [tuple(Recording((ref,)) for ref in refs)])


def commit(ledger: Ledger, run_id: str, paths: list[str], work: Work = Work()) -> None:  # noqa: B008
    assert list(Commit(ledger, run_id, SCHEMAS).process(Receipt(tuple(paths), work))) == []


def ids(ledger: Ledger, table: str = "utterances") -> list[str]:
    return sorted(x for batch in ledger.rows(table, ["utterance_id"]) for x in batch["utterance_id"].to_pylist())


def files(ledger: Ledger) -> set[str]:
    root = Path(ledger.root)
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_only_files_of_bundles_that_count_are_committed(ledger):
    begin(ledger, RUN1, "ab")
    scored(ledger, RUN1, "ab", "of_an_attempt_that_failed")
    commit(ledger, RUN1, scored(ledger, RUN1, "ab", "good"), Work(batches=1, utterances=2))
    assert ids(ledger) == ["a", "b"]
    (record,) = ledger.runs(Job.SCORE)
    assert record["counts"] == {"listed": 2, "skipped": 0, "scored": 2, "rejected": 0}
    assert (record["audio_s"], record["scores"], record["work"]["batch_size"]) == (2.0, {"3.0": 2}, 2.0)
    ledger.remove_debris()
    assert files(ledger) == {f"_runs/{RUN1}.json", *record["files"]}


def test_each_table_has_a_file(ledger):
    begin(ledger, RUN1, "a")
    commit(ledger, RUN1, scored(ledger, RUN1, "a"))
    (name,) = ledger.committed("rejects")
    assert pq.read_table(Path(ledger.root, name)).equals(SCHEMAS["rejects"].empty_table())
    begin(ledger, RUN2, "b")
    commit(ledger, RUN2, scored(ledger, RUN2, "b"))
    assert len(ledger.committed("rejects")) == 1


def test_a_repeated_commit_changes_nothing(ledger):
    begin(ledger, RUN1, "ab")
    paths = scored(ledger, RUN1, "ab")
    commit(ledger, RUN1, paths)
    before = files(ledger)
    commit(ledger, RUN1, paths)
    commit(ledger, RUN1, scored(ledger, RUN1, "ab", "again"))
    assert files(ledger) >= before
    assert ids(ledger) == ["a", "b"]


@pytest.mark.parametrize("names", ["a", "abc", "aab"], ids=["lost", "strange", "twice"])
def test_a_run_with_lost_rows_stays_pending(ledger, names):
    begin(ledger, RUN1, "ab")
    with pytest.raises(LostRowsError):
        commit(ledger, RUN1, scored(ledger, RUN1, names))
    assert ledger.records() == []
    assert ledger.pending() == [RUN1]


def test_an_abandoned_run_is_not_committed(ledger):
    begin(ledger, RUN1, "a")
    ledger.abandon(RUN1)
    with pytest.raises(OutputError, match="was abandoned"):
        commit(ledger, RUN1, scored(ledger, RUN1, "a"))
    assert ledger.records() == []


def test_new_rows_replace_those_of_earlier_runs(ledger):
    begin(ledger, RUN1, "abc")
    commit(
        ledger,
        RUN1,
        [
            *scored(ledger, RUN1, "ab"),
            write(
                ledger,
                RUN1,
                "rejects",
                [{"utterance_id": "c", "uri": "/corpus/c", "source_version": "1", "reason": "unreadable"}],
            ),
        ],
    )
    begin(ledger, RUN2, "bc")
    commit(ledger, RUN2, scored(ledger, RUN2, "bc"))
    assert ids(ledger) == ["a", "b", "c"]
    assert ids(ledger, "rejects") == []
    assert ids(ledger, "frames") == sorted("abc" * 2)


def test_the_plan_of_a_pipeline_that_listed_the_corpus_counts(ledger):
    begin(ledger, RUN1, "stale", counts={})
    (plan,) = write_plan(ledger, RUN1, [(Recording((AudioRef("a", "/corpus/a", 1, "1"),)),)])
    commit(ledger, RUN1, [*scored(ledger, RUN1, "a"), plan], Work(skipped=5))
    (record,) = ledger.records()
    assert record["counts"] == {"listed": 6, "skipped": 5, "scored": 1, "rejected": 0}
    assert record["wave"]["inputs"] == 1


def test_a_job_without_work_is_recorded(ledger):
    ledger.begin(RUN1, {"job": "score", "started_s": time.time(), "wave": {}, "counts": {}})
    commit(ledger, RUN1, [], Work(skipped=3))
    (record,) = ledger.records()
    assert record["counts"] == {"listed": 3, "skipped": 3, "scored": 0, "rejected": 0}


class TestPending:
    def test_files_of_a_pending_run_are_not_debris(self, ledger):
        begin(ledger, RUN1, "a")
        scored(ledger, RUN1, "a")
        scored(ledger, RUN2, "a")
        before = files(ledger)
        ledger.remove_debris()
        assert files(ledger) == {name for name in before if RUN2 not in name}
        ledger.abandon(RUN1)
        assert ledger.pending() == []
        ledger.remove_debris()
        assert files(ledger) == set()

    def test_a_crash_after_the_commit_leaves_no_pending_run(self, ledger):
        begin(ledger, RUN1, "a")
        request = ledger.request(RUN1)
        paths = scored(ledger, RUN1, "a")
        commit(ledger, RUN1, paths)
        ledger.begin(RUN1, request)
        assert ledger.pending() == []
        ledger.remove_debris()
        assert not any(".pending" in name for name in files(ledger))
        assert ids(ledger) == ["a"]

    def test_clear_deletes_pending_runs(self, ledger):
        begin(ledger, RUN1, "a")
        scored(ledger, RUN1, "a")
        ledger.clear(Job.SCORE)
        assert files(ledger) == set()


def test_the_helper_of_these_tests_finds_all_files_of_a_run(ledger):
    assert [Path(ledger.root, name).as_posix() for name in written(ledger, RUN1)] == []
    assert len(scored(ledger, RUN1, "a")) == len(written(ledger, RUN1)) == 2
