"""New, changed and finished utterances are told apart by id, URI and version."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.outputs import written
from transforms.elements import ArchiveKind, AudioRef
from transforms.errors import OutputError
from transforms.output import reconcile as reconcile_module
from transforms.output.ledger import Ledger
from transforms.output.reconcile import LostRowsError, RunCounts, listed_batches, reconcile
from transforms.runs.incremental import outstanding

RUN = "20260101T000000Z-aaaaaa"
TABLES = ("utterances", "frames", "rejects")


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path / "out"), TABLES)


def ref(name: str, version: str = "1", **changes) -> AudioRef:
    return AudioRef(name, f"/corpus/{name}", 10, version, **changes)


def row(name: str, version: str = "1", uri: str | None = None, **more) -> dict:
    return {"utterance_id": name, "uri": uri or f"/corpus/{name}", "source_version": version, **more}


def write(ledger: Ledger, scored=(), rejected=(), run_id: str = RUN, frames: int | None = None) -> None:
    utterances = [{"duration_s": 2.0, "num_frames": 3, "score": 3.25, **item} for item in scored]
    tables = {
        "utterances": utterances,
        "rejects": [{"reason": "silent", **item} for item in rejected],
        "frames": [{"frame": i} for i in range(3 * len(utterances) if frames is None else frames)],
    }
    for table, rows in tables.items():
        if rows:
            path = Path(f"{ledger.prefix(table, run_id)}-00000-of-00001.parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows), path)


def committed(ledger: Ledger, scored=(), rejected=()) -> None:
    write(ledger, scored, rejected)
    ledger.commit(RUN, {"job": "score"}, written(ledger, RUN))


def names(refs) -> list[str]:
    return [item.utterance_id for item in refs]


class TestOutstanding:
    def test_without_an_earlier_run_everything_is_outstanding(self, ledger):
        left = outstanding([ref("b"), ref("a")], ledger)
        assert (names(left.refs), left.stale, left.gone) == (["b", "a"], {}, 0)

    def test_scores_and_lasting_rejects_of_the_present_version_are_done(self, ledger):
        committed(ledger, [row("a"), row("b", "0")], [row("c"), row("d", "0"), row("e", reason="unreadable")])
        left = outstanding([ref(name) for name in "abcdef"], ledger)
        assert names(left.refs) == ["b", "d", "e", "f"]
        assert left.stale == {"b": ["b"], "d": ["d"], "e": ["e"]}

    def test_rows_of_deleted_recordings_are_counted(self, ledger):
        committed(ledger, [row("a"), row("b")], [row("c")])
        assert outstanding([ref("b")], ledger).gone == 2

    def test_an_id_of_another_recording_is_an_error(self, ledger):
        committed(ledger, [row("a", uri="/other/a")])
        with pytest.raises(OutputError, match="two corpora do not mix"):
            outstanding([ref("a")], ledger)

    def test_channels_belong_to_their_recording(self, ledger):
        rows = [row(f"{name}#ch{i}", uri=f"/corpus/{name}") for name in "ab" for i in range(2)]
        committed(ledger, rows)
        left = outstanding([ref("a"), ref("b", "2")], ledger)
        assert names(left.refs) == ["b"]
        assert left.stale == {"b": ["b#ch0", "b#ch1"]}

    def test_an_archive_is_done_as_a_whole_or_not_at_all(self, ledger):
        rows = [row(f"{name}/{i}", uri=f"/corpus/{name}#{i}#{i}") for name in ("x.tar", "y.tar") for i in range(3)]
        committed(ledger, rows, [row("y.tar/9", uri="/corpus/y.tar#9", reason="unreadable")])
        left = outstanding(
            [
                ref("x.tar", archive=ArchiveKind.TAR),
                ref("y.tar", archive=ArchiveKind.TAR),
                ref("z.tar", archive=ArchiveKind.TAR),
            ],
            ledger,
        )
        assert names(left.refs) == ["y.tar", "z.tar"]
        assert left.stale == {"y.tar": ["y.tar/0", "y.tar/1", "y.tar/2", "y.tar/9"]}


class TestReconcile:
    def test_scores_and_rejects_are_counted(self, ledger):
        write(
            ledger,
            [row("a"), row("x.tar/1", uri="/corpus/x.tar#1"), row("c#ch0", uri="/corpus/c")],
            [row("b"), row("c#ch1", uri="/corpus/c"), row("d", reason="corrupt")],
        )
        refs = [ref("a"), ref("b"), ref("c"), ref("d"), ref("x.tar", archive=ArchiveKind.TAR)]
        account = reconcile(ledger, written(ledger, RUN), listed_batches(refs))
        assert (account.scored, account.rejected, account.audio_s) == (3, {"silent": 2, "corrupt": 1}, 6.0)
        assert (account.frames, account.scores) == (9, {"3.2": 3})

    @pytest.mark.parametrize(
        ("scored", "rejected", "frames", "said"),
        [
            ([row("a")], [], None, "1 inputs without a row"),
            ([row("a"), row("b")], [row("b")], None, "1 duplicate ids"),
            ([row("a"), row("b"), row("z")], [], None, "1 rows without an input"),
            ([row("a"), row("b")], [], 5, "5 of 6 frames"),
        ],
    )
    def test_lost_and_duplicate_rows_are_errors(self, ledger, scored, rejected, frames, said):
        write(ledger, scored, rejected, frames=frames)
        with pytest.raises(LostRowsError, match=said):
            reconcile(ledger, written(ledger, RUN), listed_batches([ref("a"), ref("b")]))

    def test_rows_are_compared_in_batches(self, ledger, monkeypatch):
        monkeypatch.setattr(reconcile_module, "_BATCH", 2)
        members = [row(f"x#1.tar/{i}", uri=f"/corpus/x#1.tar#{i}") for i in range(5)]
        write(ledger, [row(name) for name in "abcde"] + members)
        refs = [*(ref(name) for name in "abcde"), ref("x#1.tar", archive=ArchiveKind.TAR)]
        assert reconcile(ledger, written(ledger, RUN), listed_batches(refs)).scored == 10
        with pytest.raises(LostRowsError, match="of 7 inputs there are 1 inputs without a row"):
            reconcile(ledger, written(ledger, RUN), listed_batches([*refs, ref("f")]))
        with pytest.raises(LostRowsError, match="5 rows without an input"):
            reconcile(ledger, written(ledger, RUN), listed_batches([*refs[:-1], ref("y.tar", archive=ArchiveKind.TAR)]))

    def test_rows_of_other_runs_do_not_count(self, ledger):
        committed(ledger, [row("a")])
        write(ledger, [row("b")], run_id="20260102T000000Z-bbbbbb")
        assert reconcile(ledger, written(ledger, "20260102T000000Z-bbbbbb"), listed_batches([ref("b")])).scored == 1


@given(st.lists(st.floats(1.0, 4.6), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_a_quantile_of_the_scores_is_correct_within_a_tenth(scores, share):
    account = RunCounts(scores=Counter(f"{math.floor(score * 10) / 10:.1f}" for score in scores))
    exact = sorted(scores)[math.ceil(share * len(scores) - 1e-9) - 1]
    assert account.score_quantile(share) == pytest.approx(exact, abs=0.0501)


def test_counts_of_waves_add_up():
    one = RunCounts(3, Counter(silent=2, corrupt=1), 6.5, 90, Counter({"3.2": 2, "1.0": 1}))
    other = RunCounts(1, Counter(silent=1), 2.0, 30, Counter({"3.2": 1}))
    assert one + other == RunCounts(4, Counter(silent=3, corrupt=1), 8.5, 120, Counter({"3.2": 3, "1.0": 1}))
    assert one + RunCounts() == one


def test_without_scores_there_is_no_quantile():
    assert math.isnan(RunCounts().score_quantile(0.5))
