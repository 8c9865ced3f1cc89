"""End of a run: compares its output with its input, and makes the complete output visible with a record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

import apache_beam as beam
import pyarrow as pa

from transforms import telemetry
from transforms.errors import OutputError
from transforms.output.ledger import Ledger
from transforms.output.receipts import Receipt
from transforms.output.reconcile import RunCounts, out_of_date, reconcile
from transforms.output.records import run_ids
from transforms.output.rewrite import rewrite_without
from transforms.runs.plan import count_planned, plan_paths, plan_prefix, planned


def commit(
    ledger: Ledger,
    run_id: str,
    request: Mapping[str, Any],
    receipt: Receipt,
    listed: Iterable[pa.RecordBatch],
    stale: Set[str],
    schemas: Mapping[str, pa.Schema],
    records: Sequence[dict[str, Any]] | None = None,
    check: Callable[[], None] = lambda: None,
) -> RunCounts:
    """Checks the output of a run and makes it visible.

    Args:
        ledger: ledger of the output.
        run_id: id of the run.
        request: part of the record that was known before the run. `started_s` is its start, in seconds since 1970, and
            `counts` has the numbers of listed and skipped utterances.
        receipt: files and work of the run.
        listed: input of the run, batches of `reconcile.LISTED`.
        stale: ids of the utterances whose rows of earlier runs are out of date.
        schemas: schemas of the tables, by name.
        records: records of the earlier runs; by default those of the output now.
        check: function that is called just before the record is written, and raises an error if the run must not count.

    Returns:
        Counts of the run's output.

    Raises:
        LostRowsError: the output does not match the input; nothing is committed.
    """
    files = [name for path in receipt.paths if (name := ledger.name_of(path)).partition("/")[0] in ledger.tables]
    counts = reconcile(ledger, files, listed)
    copies, replaced = rewrite_without(ledger, run_id, stale, records)
    files += copies
    files += ledger.write_missing(run_id, files, schemas)
    record = {
        **request,
        "counts": {**request["counts"], "scored": counts.scored, "rejected": counts.rejected.total()},
        "rejected": dict(counts.rejected.most_common()),
        "other_files": dict(counts.other_files.most_common()),
        "audio_s": round(counts.audio_s, 3),
        "scores": dict(sorted(counts.scores.items(), key=lambda item: float(item[0]))),
        "work": receipt.work.as_dict(),
        "timings": {"total_s": round(time.time() - request["started_s"], 3)},
    }
    if ledger.commit(run_id, record, files, replaced, check)["files"] == sorted(files):  # not another attempt's
        telemetry.log(logging.INFO, "run committed", run_id=run_id, output=ledger.root, **record["counts"])
    return counts


class Commit(beam.DoFn):
    """`Receipt` -> nothing. Commits a pending run where the pipeline runs, even if the launcher has exited.

    A runner may repeat this step, or run it twice at the same time. The first attempt that writes the record commits the run.
    Every other attempt finds the record, in whatever step it is, and succeeds.

    Args:
        ledger: ledger of the output.
        run_id: id of the pending run (`Ledger.begin`).
        schemas: schemas of the tables, by name.
    """

    def __init__(self, ledger: Ledger, run_id: str, schemas: Mapping[str, pa.Schema]) -> None:
        self.ledger = ledger
        self.run_id = run_id
        self.schemas = dict(schemas)

    def process(self, receipt: Receipt) -> Iterable[Any]:
        """Commits the run.

        Raises:
            OutputError: the run was abandoned, or another run was committed meanwhile.
            LostRowsError: the output does not match the input.
        """
        if self.ledger.is_committed(self.run_id):
            return ()
        try:
            self._commit(receipt)
        except Exception:
            # Another attempt deletes the plan and replaced files after its commit, so that this one may fail anywhere.
            if not self.ledger.is_committed(self.run_id):
                raise
        return ()

    def _commit(self, receipt: Receipt) -> None:
        ledger, run_id = self.ledger, self.run_id
        # A run's own files are never out of date, so its record, which may appear at any time, is left out.
        earlier = [record for record in ledger.records() if record["run_id"] != run_id]
        self._check_pending()
        request = ledger.request(run_id)
        launcher_listed = bool(request["counts"])
        if launcher_listed:
            plan = plan_paths(ledger, run_id)
        else:
            # The pipeline listed the corpus. Only the receipt tells its plan from the files of failed bundles.
            plan = [path for path in receipt.paths if path.startswith(plan_prefix(ledger, run_id))]
            inputs = count_planned(plan)
            request["wave"]["inputs"] = inputs
            request["counts"] = {"listed": inputs + receipt.work.skipped, "skipped": receipt.work.skipped}
        stale = out_of_date(ledger, planned(plan), earlier)

        def check() -> None:
            check_unchanged(ledger, run_id, {record["run_id"] for record in earlier})
            self._check_pending()

        commit(ledger, run_id, request, receipt, planned(plan), stale, self.schemas, earlier, check)

    def _check_pending(self) -> None:
        if not self.ledger.is_pending(self.run_id):
            raise OutputError(f"{self.ledger.root}: run {self.run_id} was abandoned; nothing of it is committed")


def check_unchanged(ledger: Ledger, run_id: str, known: Set[str]) -> None:
    """Checks that no other run was committed since the output was compared with the corpus.

    Args:
        ledger: ledger of the output.
        run_id: id of the run that is to be committed.
        known: ids of the runs that the comparison included.

    Raises:
        OutputError: another run was committed, or was deleted, so that rows could be in the output twice, or not at all.
    """
    changed = (run_ids(ledger.root) - {run_id}) ^ known
    if changed:
        raise OutputError(
            f"{ledger.root}: another process has changed the output (run {min(changed)}), so run {run_id} is not committed; "
            "run the same command again"
        )
