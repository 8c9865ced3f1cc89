"""Two attempts to commit one run, interleaved at each operation on files: the rows are complete, and each is there once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from requests.sessions import Session

from tests.support.command import audiosieve
from tests.support.outputs import rejected, request, scored, write_output, written
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.interleaving import Attempt, current_attempt, interleave
from transforms import schemas
from transforms.elements import AudioRef, Recording
from transforms.errors import OutputError
from transforms.output.ledger import Job, Ledger
from transforms.output.receipts import Receipt
from transforms.output.results import open_results
from transforms.runs.commit import Commit
from transforms.runs.plan import write_plan
from transforms.telemetry import Work

RUN1, RUN2 = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"
END = float("inf")
NAMES = [f"{i:02d}.flac" for i in range(15)]
# Recordings that have changed since run 1.
CHANGED = NAMES[5:]
TABLES = tuple(schemas.SCORE_TABLES)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with 15 recordings, and the files of a run on another machine that has scored ten of them again."""
    root = tmp_path_factory.mktemp("prepared")
    output = root / "out"
    write_output(output, [scored(name, 2.0) for name in NAMES[:-1]], [rejected(NAMES[-1])], run_id=RUN1)
    write_output(output, [scored(name, 4.0) for name in CHANGED], commit=False, run_id=RUN2)
    ledger = Ledger(str(output), TABLES)
    refs = [AudioRef(name, f"/corpus/{name}", 1_000, "2000-2.000000") for name in CHANGED]
    write_plan(ledger, RUN2, [tuple(Recording((ref,)) for ref in refs)])
    ledger.begin(RUN2, request(len(NAMES)))
    return root


def committer(ledger: Ledger, names: list[str]) -> Callable[[], Any]:
    """Returns the commit step of run 2."""
    receipt = Receipt(tuple(f"{ledger.root}/{name}" for name in names), Work())
    step = Commit(ledger, RUN2, dict(schemas.SCORE_TABLES))
    return lambda: list(step.process(receipt))


def check(root: str, exists: Callable[[str], bool]) -> None:
    """Checks that the output has both runs, each row once, and no file that is missing."""
    ledger = Ledger(root, TABLES)
    records = ledger.runs(Job.SCORE)
    assert [record["run_id"] for record in records] == [RUN1, RUN2]
    assert not ledger.pending()
    assert all(exists(name) for name in records[-1]["files"])
    with open_results(root).connect() as db:
        found = db.sql("SELECT utterance_id, score FROM utterances ORDER BY utterance_id").fetchall()
        frames = db.sql("SELECT utterance_id, count(*), count(DISTINCT frame) FROM frames GROUP BY ALL").fetchall()
        assert db.sql("SELECT count(*) FROM rejects").fetchall() == [(0,)]
    assert found == [(name, pytest.approx(4.0 if name in CHANGED else 2.0)) for name in NAMES]
    assert {name for name, *_ in frames} == set(NAMES)
    assert {(count, distinct) for _, count, distinct in frames} == {(249, 249)}


class Trial:
    """Two attempts on a fresh copy of the prepared output, on a disk."""

    def __init__(self, prepared: Path, root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(prepared, root)
        self.output = root / "out"
        self.ledger = Ledger(str(self.output), TABLES)
        names = written(self.ledger, RUN2)
        self.one, self.other = (Attempt(committer(self.ledger, names), str(root)) for _ in range(2))

    def run(self, first: float, then: float) -> None:
        interleave(self.one, self.other, first, then)
        place = f"{first} operations of one and {then} of the other"
        assert (self.one.error, self.other.error) == (None, None), place
        try:
            check(str(self.output), lambda name: (self.output / name).is_file())
        except Exception as error:
            raise AssertionError(place) from error
        # The next command finds nothing to delete but the copies of the slower attempt, and everything stays as it is.
        self.ledger.remove_debris()
        check(str(self.output), lambda name: (self.output / name).is_file())
        named = {name for record in self.ledger.records() for name in record["files"] if (self.output / name).exists()}
        assert {path.relative_to(self.output).as_posix() for path in self.output.glob("*/*.parquet")} == named


def operations(prepared: Path, root: Path) -> list[str]:
    """Returns the operations of an undisturbed attempt."""
    trial = Trial(prepared, root)
    trial.one.advance(END)
    return trial.one.operations


def test_another_attempt_runs_completely_at_each_step(prepared: Path, tmp_path: Path) -> None:
    steps = operations(prepared, tmp_path / "x")
    assert len(steps) > 30
    for step in range(len(steps) + 1):
        Trial(prepared, tmp_path / "x").run(step, END)
    audiosieve("query", tmp_path / "x/out")


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_another_attempt_runs_partly_at_each_step(prepared: Path, tmp_path: Path) -> None:
    """All pairs with `AUDIOSIEVE_PAIRS=1`; otherwise one in 29, the same ones each time."""
    steps = len(operations(prepared, tmp_path / "x"))
    stride = int(os.environ.get("AUDIOSIEVE_PAIRS", "29"))
    pairs = [(first, then) for first in range(steps + 1) for then in range(1, steps + 1)]
    for first, then in pairs[::stride]:
        Trial(prepared, tmp_path / "x").run(first, then)


def test_an_attempt_that_comes_after_a_later_run_changes_nothing(prepared: Path, tmp_path: Path) -> None:
    """A machine that slept commits run 2 when run 3 has replaced its rows."""
    for step in range(0, 40, 3):
        trial = Trial(prepared, tmp_path / "x")
        trial.one.advance(step)
        trial.other.advance(END)
        trial.ledger.remove_debris()
        write_output(trial.output, [scored("new.flac", 3.0)])
        trial.one.advance(END)
        assert trial.one.error is None
        with open_results(str(trial.output)).connect() as db:
            assert db.sql("SELECT count(*), count(DISTINCT utterance_id) FROM utterances").fetchall() == [(16, 16)]


@pytest.mark.parametrize("by", ["abandon", "clear"])
def test_an_attempt_whose_run_was_given_up_commits_nothing(prepared: Path, tmp_path: Path, by: str) -> None:
    steps = operations(prepared, tmp_path / "x")
    last = next(i for i, step in enumerate(steps) if step.startswith("open /out/_runs/.draft"))  # after the last check
    for step in [*range(0, last - 4, 4), last - 3]:
        trial = Trial(prepared, tmp_path / "x")
        trial.one.advance(step)
        if by == "abandon":
            trial.ledger.abandon(RUN2)
        else:
            trial.ledger.clear(Job.SCORE)
        trial.one.advance(END)
        assert isinstance(trial.one.error, OutputError | OSError), step
        assert RUN2 not in {record["run_id"] for record in trial.ledger.records()}


@pytest.fixture
def requests_are_operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes attempts stop before each request to a bucket."""
    send = Session.send

    def stop_and_send(self: Session, prepared_request: Any, **options: Any) -> Any:
        if (attempt := current_attempt()) is not None:
            attempt.wait_for_turn(f"{prepared_request.method} {prepared_request.path_url}")
        return send(self, prepared_request, **options)

    monkeypatch.setattr(Session, "send", stop_and_send)
    return None


@pytest.mark.slow
@pytest.mark.usefixtures("requests_are_operations")
@pytest.mark.timeout(1_800)
def test_attempts_in_a_bucket(prepared: Path, bucket: Bucket) -> None:
    local = Ledger(str(prepared / "out"), TABLES)
    names = written(local, RUN2)

    def attempts(folder: str) -> tuple[Attempt, Attempt]:
        ledger = Ledger(bucket.upload(prepared / "out", folder), TABLES)
        return tuple(Attempt(committer(ledger, names), "no file") for _ in range(2))  # type: ignore[return-value]

    alone, _ = attempts("alone")
    alone.advance(END)
    assert alone.error is None
    steps = len(alone.operations)
    record = next(
        i for i, step in enumerate(alone.operations) if step.startswith("POST") and "GenerationMatch=0" in step
    )
    pairs = [(step, END) for step in range(0, steps, 6)]
    pairs += [(first, then) for first in range(record, record + 3) for then in range(record, record + 3)]
    for number, (first, then) in enumerate(pairs):
        one, other = attempts(f"{number}")
        interleave(one, other, first, then)
        assert (one.error, other.error) == (None, None), (first, then)
        there = set(bucket.names(f"{number}/"))
        check(bucket / f"{number}", lambda name, number=number, there=there: f"{number}/{name}" in there)  # type: ignore[misc]
