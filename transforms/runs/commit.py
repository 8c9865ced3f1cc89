"""The end of a run: what it wrote is compared with what went in, and becomes visible as a whole, with a record that says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Set
from typing import Any

import apache_beam as beam
import pyarrow as pa

from transforms import telemetry
from transforms.errors import OutputError
from transforms.output.ledger import Ledger
from transforms.output.receipts import Receipt
from transforms.output.reconcile import RunCounts, out_of_date, reconcile
from transforms.runs.plan import count_planned, plan_paths, plan_prefix, planned


def commit(
    ledger: Ledger,
    run_id: str,
    asked: Mapping[str, Any],
    receipt: Receipt,
    listed: Iterable[pa.RecordBatch],
    stale: Set[str],
    schemas: Mapping[str, pa.Schema],
) -> RunCounts:
    """Checks what a run wrote and makes it visible.

    Args:
        ledger: where it wrote.
        run_id: of the run.
        asked: what its record says beside what came of it; `started_s` of it is when it began, in seconds since 1970, and
            `counts` what is known before.
        receipt: what it wrote.
        listed: what went in, as `reconcile` takes it.
        stale: ids of the utterances whose rows of earlier runs are out of date.
        schemas: of the tables.

    Returns:
        What came out.

    Raises:
        LostRowsError: not all came out that went in, or more; nothing is committed.
    """
    files = [name for path in receipt.paths if (name := ledger.name_of(path)).partition("/")[0] in ledger.tables]
    account = reconcile(ledger, files, listed)
    copies, replaced = ledger.rewrite_without(run_id, stale)
    files += copies
    files += ledger.write_missing(run_id, files, schemas)
    started_s = asked["started_s"]
    record = {
        **asked,
        "counts": {**asked["counts"], "scored": account.scored, "rejected": account.rejected.total()},
        "rejected": dict(account.rejected.most_common()),
        "audio_s": round(account.audio_s, 3),
        "scores": dict(sorted(account.scores.items(), key=lambda item: float(item[0]))),
        "work": receipt.work.as_dict(),
        "timings": {"total_s": round(time.time() - started_s, 3)},
    }
    ledger.commit(run_id, record, files, replaced)
    telemetry.log(logging.INFO, "run committed", run_id=run_id, output=ledger.root, **record["counts"])
    return account


class Commit(beam.DoFn):
    """`Receipt` -> nothing: commits a pending run where the pipeline runs, be whoever started it still there or not.

    Done again, it does nothing: the record is there.

    Args:
        ledger: where the run wrote.
        run_id: of the run, which was begun (`Ledger.begin`).
        schemas: of its tables.
    """

    def __init__(self, ledger: Ledger, run_id: str, schemas: Mapping[str, pa.Schema]) -> None:
        self.ledger = ledger
        self.run_id = run_id
        self.schemas = dict(schemas)

    def process(self, receipt: Receipt) -> Iterable[Any]:
        """Commits the run."""
        ledger, run_id = self.ledger, self.run_id
        if run_id in {record["run_id"] for record in ledger.records()}:
            return ()
        if run_id not in ledger.pending():
            raise OutputError(f"run {run_id} was given up in {ledger.root}: nothing of it is committed")
        asked = ledger.asked(run_id)
        prefix = plan_prefix(ledger, run_id)
        if asked["counts"]:
            plan = plan_paths(ledger, run_id)
        else:  # the pipeline itself listed the corpus, and alone knows how much it is
            plan = [path for path in receipt.paths if path.startswith(prefix)]
            inputs = count_planned(plan)
            asked["wave"]["inputs"] = inputs
            asked["counts"] = {"listed": inputs + receipt.work.skipped, "skipped": receipt.work.skipped}
        stale = out_of_date(ledger, planned(plan))
        commit(ledger, run_id, asked, receipt, planned(plan), stale, self.schemas)
        return ()
