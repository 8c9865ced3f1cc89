"""Every input of a run must be in its output, once, scored or rejected."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.outputs import written
from tests.support.run_tables import RUN, commit, ref, row, write
from transforms.elements import ArchiveKind
from transforms.output import reconcile as reconcile_module
from transforms.output.ledger import Ledger
from transforms.output.reconcile import LostRowsError, RunCounts, listed_batches, reconcile

TABLES = ("utterances", "frames", "rejects")


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path / "out"), TABLES)


def test_scores_and_rejects_are_counted(ledger):
    write(
        ledger,
        [row("a"), row("x.tar/1", uri="/corpus/x.tar#1"), row("c#ch0", uri="/corpus/c")],
        [row("b"), row("c#ch1", uri="/corpus/c"), row("d", reason="corrupt")],
    )
    refs = [ref("a"), ref("b"), ref("c"), ref("d"), ref("x.tar", archive=ArchiveKind.TAR)]
    counts = reconcile(ledger, written(ledger, RUN), listed_batches(refs))
    assert (counts.scored, counts.rejected, counts.audio_s) == (3, {"silent": 2, "corrupt": 1}, 6.0)
    assert (counts.frames, counts.scores) == (9, {"3.2": 3})


def test_other_files_are_counted_among_the_rejects_and_apart(ledger):
    names = ("a.flac", "notes.txt", ".DS_Store", "b/cover.png", "row.txt")
    rejects = [row(name, uri=f"/corpus/{name}", reason="unsupported_format") for name in names]
    rejects[-1] |= {"stage": "list", "reason": "invalid_row"}
    write(ledger, [row("b")], rejects)
    refs = [ref(name) for name in ("b", *names)]
    counts = reconcile(ledger, written(ledger, RUN), listed_batches(refs))
    assert counts.rejected == {"unsupported_format": 4, "invalid_row": 1}
    assert counts.other_files == {"unsupported_format": 3}, "a row of a manifest stands for a recording"
    record = {"counts": {"scored": 1}, "rejected": counts.rejected, "audio_s": 2.0, "work": {"frames": 3}, "scores": {}}
    assert RunCounts.of_record(record).other_files == {}, "an older version wrote none"
    assert RunCounts.of_record({**record, "other_files": counts.other_files}).other_files == counts.other_files
    assert (counts + counts).other_files == {"unsupported_format": 6}


@pytest.mark.parametrize(
    ("scored", "rejected", "frames", "message"),
    [
        ([row("a")], [], None, "1 inputs without a row"),
        ([row("a"), row("b")], [row("b")], None, "1 duplicate ids"),
        ([row("a"), row("b"), row("z")], [], None, "1 rows without an input"),
        ([row("a"), row("b")], [], 5, "5 of 6 frames"),
    ],
)
def test_lost_and_duplicate_rows_are_errors(ledger, scored, rejected, frames, message):
    write(ledger, scored, rejected, frames=frames)
    with pytest.raises(LostRowsError, match=message):
        reconcile(ledger, written(ledger, RUN), listed_batches([ref("a"), ref("b")]))


def test_rows_are_compared_in_batches(ledger, monkeypatch):
    monkeypatch.setattr(reconcile_module, "BATCH_ROWS", 2)
    members = [row(f"x#1.tar/{i}", uri=f"/corpus/x#1.tar#{i}") for i in range(5)]
    write(ledger, [row(name) for name in "abcde"] + members)
    refs = [*(ref(name) for name in "abcde"), ref("x#1.tar", archive=ArchiveKind.TAR)]
    assert reconcile(ledger, written(ledger, RUN), listed_batches(refs)).scored == 10
    with pytest.raises(LostRowsError, match="7 inputs, 1 inputs without a row"):
        reconcile(ledger, written(ledger, RUN), listed_batches([*refs, ref("f")]))
    with pytest.raises(LostRowsError, match="5 rows without an input"):
        reconcile(ledger, written(ledger, RUN), listed_batches([*refs[:-1], ref("y.tar", archive=ArchiveKind.TAR)]))


def test_rows_of_other_runs_do_not_count(ledger):
    commit(ledger, [row("a")])
    write(ledger, [row("b")], run_id="20260102T000000Z-bbbbbb")
    assert reconcile(ledger, written(ledger, "20260102T000000Z-bbbbbb"), listed_batches([ref("b")])).scored == 1


@given(st.lists(st.floats(1.0, 4.6), min_size=1, max_size=50), st.floats(0.01, 1.0))
def test_a_quantile_of_the_scores_is_correct_within_a_tenth(scores, share):
    counts = RunCounts(scores=Counter(f"{math.floor(score * 10) / 10:.1f}" for score in scores))
    exact = sorted(scores)[math.ceil(share * len(scores) - 1e-9) - 1]
    assert counts.score_quantile(share) == pytest.approx(exact, abs=0.0501)


def test_counts_of_waves_add_up():
    one = RunCounts(3, Counter(silent=2, corrupt=1), 6.5, 90, Counter({"3.2": 2, "1.0": 1}))
    other = RunCounts(1, Counter(silent=1), 2.0, 30, Counter({"3.2": 1}))
    assert one + other == RunCounts(4, Counter(silent=3, corrupt=1), 8.5, 120, Counter({"3.2": 3, "1.0": 1}))
    assert one + RunCounts() == one


def test_without_scores_there_is_no_quantile():
    assert math.isnan(RunCounts().score_quantile(0.5))
