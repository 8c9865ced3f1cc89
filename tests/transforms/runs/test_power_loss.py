"""Whatever a loss of power leaves of an output, it opens, and has the rows before or after a commit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.outputs import rejected, request, scored, write_output, written
from tests.support.storage.power_loss import Disk, Operation, State
from transforms import schemas
from transforms.elements import AudioRef, Recording
from transforms.output.compaction import compact, small_files
from transforms.output.ledger import Job, Ledger
from transforms.output.receipts import Receipt
from transforms.runs.commit import Commit
from transforms.runs.incremental import GoneRow, Outstanding
from transforms.runs.plan import plan_paths, planned, write_plan
from transforms.runs.prune import prune
from transforms.telemetry import Work

RUN1, RUN2 = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"
TABLES = tuple(schemas.SCORE_TABLES)
# Score by utterance after run 1, and after run 2.
Rows = dict[str, float]
FIRST = {"a": 2.0, "b": 2.0, "c": 2.0, "d": 0.0}
SECOND = {"a": 2.0, "b": 4.0, "c": 4.0, "d": 0.0}
# After the rows of deleted recordings are removed.
PRUNED = {"a": 2.0, "b": 4.0}


class History:
    """An output that was written while its disk was recorded.

    Attributes:
        disk: the recorded disk.
        steps: number of operations at the begin and at the end of each step, and the rows after it.
        pending: number of operations at the begin and at the end of the time when run 2 was pending.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.disk = Disk(root)
        self.steps: list[tuple[int, int, Rows]] = [(0, 0, {})]
        ledger = Ledger(str(root / "out"), TABLES)
        root.mkdir()

        def step(rows: Rows, work: Callable[[], object]) -> None:
            begin = len(self.disk.operations)
            work()
            self.steps.append((begin, len(self.disk.operations), rows))

        def score() -> None:
            ledger.check_writable()
            write_output(root / "out", [scored(name, 2.0) for name in "abc"], [rejected("d")], run_id=RUN1)

        def begin_second() -> None:
            refs = [AudioRef(name, f"/corpus/{name}", 1_000, "2000-2.000000") for name in "bc"]
            write_plan(ledger, RUN2, [tuple(Recording((ref,)) for ref in refs)])
            ledger.begin(RUN2, request(4))

        def commit_second() -> None:
            write_output(root / "out", [scored(name, 4.0) for name in "bc"], commit=False, run_id=RUN2)
            receipt = Receipt(tuple(f"{root}/out/{name}" for name in written(ledger, RUN2)), Work())
            list(Commit(ledger, RUN2, dict(schemas.SCORE_TABLES)).process(receipt))

        with self.disk.recording(monkeypatch):
            step(FIRST, score)
            step(FIRST, begin_second)
            begin = len(self.disk.operations)
            step(SECOND, commit_second)
            commits = [op.kind == "set" and op.path.endswith(f"{RUN2}.json") for op in self.disk.operations]
            self.pending = range(begin, commits.index(True))
            gone = Outstanding([], {}, [GoneRow(name, f"/corpus/{name}") for name in "cd"], known=2)
            step(PRUNED, lambda: prune(ledger, ledger.new_run_id(), gone, "/corpus"))
            step(PRUNED, lambda: compact(ledger, small_files(ledger, 1 << 20), 1 << 20, {}))
            step({}, lambda: ledger.clear(Job.SCORE))
            step(FIRST, score)

    def expected(self, moment: int) -> list[Rows]:
        """Returns the rows that an output may have after a loss of power."""
        last = max(i for i, (begin, _, _) in enumerate(self.steps) if begin <= moment)
        before, (_, end, after) = self.steps[max(0, last - 1)][2], self.steps[last]
        return [after] if moment >= end else [before, after]


def rows_of(ledger: Ledger) -> Rows:
    """Returns the score of each utterance, 0 for rejects; checks that nothing is missing or there twice."""
    rows: Rows = {}
    for table in TABLES:
        for path in ledger.committed(table):
            for row in pq.read_table(path).to_pylist():
                if table in ("utterances", "rejects"):
                    assert row["utterance_id"] not in rows, "twice"
                    rows[row["utterance_id"]] = row.get("score", 0.0)
    frames = [name for path in ledger.committed("frames") for name in pq.read_table(path)["utterance_id"].to_pylist()]
    assert {name: frames.count(name) for name in set(frames)} == {name: 249 for name, score in rows.items() if score}
    return rows


def fault(history: History, state: State, place: Path) -> str | None:
    """Returns what is wrong with an output after a loss of power."""
    shutil.rmtree(place, ignore_errors=True)
    state.build(place)
    ledger = Ledger(str(place / "out"), TABLES)
    try:
        for _ in range(2):
            rows = rows_of(ledger)
            if rows not in history.expected(state.moment):
                return f"rows {rows}"
            if state.moment in history.pending:
                refs = [
                    name for batch in planned(plan_paths(ledger, RUN2)) for name in batch["utterance_id"].to_pylist()
                ]
                if ledger.pending() != [RUN2] or refs != ["b", "c"]:
                    return f"pending {ledger.pending()}, plan {refs}"
            ledger.remove_debris()  # as the next command does
    except Exception as error:  # noqa: BLE001 -- any is a fault
        return repr(error)
    return "a torn record" if list(place.rglob("*.torn")) else None


def nothing(_: Operation) -> bool:
    """Forgets no sync."""
    return False


def faults(
    history: History, place: Path, forget: Callable[[Operation], bool] = nothing, most: int = 3
) -> tuple[list[str], int]:
    """Returns what is wrong with the outputs that a loss of power could leave, up to some faults, and the number of outputs."""
    found: list[str] = []
    seen = set()
    for state in history.disk.states(forget):
        in_time = (str(history.expected(state.moment)), state.moment in history.pending)
        key = (*in_time, *sorted((path, file, state.contents.get(file)) for path, file in state.names.items()))
        if key in seen:
            continue
        seen.add(key)
        if (wrong := fault(history, state, place)) is not None:
            operation = history.disk.operations[state.moment - 1] if state.moment else None
            found.append(f"after {state.moment} operations, the last of which was {operation}: {wrong}")
            if len(found) >= most:
                break
    return found, len(seen)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    with pytest.MonkeyPatch.context() as patch:
        return History(tmp_path_factory.mktemp("disk") / "root", patch)


def test_each_output_after_a_loss_of_power_opens_with_whole_commits(history: History, tmp_path: Path) -> None:
    found, outputs = faults(history, tmp_path / "x")
    assert found == []
    assert outputs > 300


SYNCS = {
    "files of tables": lambda op: op.kind == "sync file" and op.path.endswith(".parquet") and "_runs" not in op.path,
    "folders of tables": lambda op: op.kind == "sync folder" and op.path in {f"out/{table}" for table in TABLES},
    "the output": lambda op: op.kind == "sync folder" and op.path == "out",
    "the folder of the output": lambda op: op.kind == "sync folder" and op.path == "",
    "records": lambda op: op.kind == "sync file" and "_runs/.draft" in op.path,
    "the folder of records": lambda op: op.kind == "sync folder" and op.path == "out/_runs",
    "plans": lambda op: op.kind == "sync file" and "/plan-" in op.path,
    "the folder of a plan": lambda op: op.kind == "sync folder" and op.path.endswith(".pending"),
}


@pytest.mark.parametrize("syncs", SYNCS)
def test_without_a_sync_a_loss_of_power_would_be_noticed(history: History, tmp_path: Path, syncs: str) -> None:
    """The test above can fail: each kind of sync is needed."""
    assert any(SYNCS[syncs](op) for op in history.disk.operations)
    found, _ = faults(history, tmp_path / "x", forget=SYNCS[syncs], most=1)
    assert found
