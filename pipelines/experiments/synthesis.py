"""Beam pipeline of `audiosieve synthesize`, from clean speech, noise and faults to a labelled training set in Parquet."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import apache_beam as beam

from pipelines.common.wording import most_first
from transforms.elements import REJECTS, printable
from transforms.output.ledger import Job, Ledger, count_rows
from transforms.output.parquet_sink import WriteTable
from transforms.output.receipts import GatherReceipt, Receipt
from transforms.schemas import CLIPS, SYNTHESIS_TABLES
from transforms.schemas import REJECTS as REJECTS_SCHEMA
from transforms.scoring.rows import reject_row
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.clips import MakeClip
from transforms.synthesis.materials import SPEECH, Catalog, Material, MeasureMaterial

# Row groups of about 25 MB: `train` reads and shuffles one at a time.
CLIPS_PER_ROW_GROUP = 256


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """Inputs of a synthesis.

    Attributes:
        materials: speech, noise, music, room responses and recordings, not yet measured.
        min_dynamic_range_db: smallest dynamic range of usable speech, in dB.
        clips: number of clips to make.
        options: options of the clips.
        ledger: ledger of the output.
        run_id: id of this run.
    """

    materials: list[Material]
    min_dynamic_range_db: float
    clips: int
    options: ClipOptions
    ledger: Ledger
    run_id: str


def build(root: beam.Pipeline, synthesis: Synthesis) -> None:
    """Adds the steps: measure the material, make each clip from its number and the usable material, write."""
    measured = (
        root
        | "Material" >> beam.Create(synthesis.materials)
        | "SpreadMaterial" >> beam.Reshuffle()
        | "Measure"
        >> beam.ParDo(MeasureMaterial(synthesis.min_dynamic_range_db)).with_outputs(REJECTS, main="measured")
    )
    catalog = measured.measured | "Gather" >> beam.combiners.ToList() | "Catalog" >> beam.Map(Catalog)
    made = (
        root
        | "Numbers" >> beam.Create(range(synthesis.clips))
        | "SpreadNumbers" >> beam.Reshuffle()
        | "MakeClip"
        >> beam.ParDo(MakeClip(synthesis.options), beam.pvalue.AsSingleton(catalog)).with_outputs(REJECTS, main="clips")
    )
    clips = made.clips | "WriteClips" >> WriteTable(
        synthesis.ledger.prefix("clips", synthesis.run_id), CLIPS, rows=CLIPS_PER_ROW_GROUP
    )
    rejects = (
        (measured[REJECTS], made[REJECTS])
        | "AllRejects" >> beam.Flatten()
        | "RejectRow" >> beam.Map(reject_row)
        | "WriteRejects" >> WriteTable(synthesis.ledger.prefix("rejects", synthesis.run_id), REJECTS_SCHEMA)
    )
    (
        (clips, rejects)
        | "Written" >> beam.Flatten()
        | "Receipt" >> GatherReceipt()
        | "LeaveReceipt" >> beam.Map(Receipt.write, synthesis.ledger.receipt(synthesis.run_id))
    )


def commit(
    synthesis: Synthesis, options: Mapping[str, Any], seconds: float, check: Callable[[], None]
) -> dict[str, Any]:
    """Checks that every clip was written or rejected, and commits the set.

    Args:
        synthesis: inputs of the synthesis.
        options: options of the command, for the record.
        seconds: time of the run so far.
        check: function that is called just before the record is written, and raises an error if it must not be.

    Returns:
        The record of the run.

    Raises:
        RuntimeError: a clip was lost, which is a bug.
    """
    ledger = synthesis.ledger
    receipt = Receipt.read(ledger.receipt(synthesis.run_id))
    files = [ledger.name_of(path) for path in receipt.paths]
    files += ledger.write_missing(synthesis.run_id, files, SYNTHESIS_TABLES)
    counts = {table: count_rows(ledger, table, files) for table in ledger.tables}
    missing = synthesis.clips - counts["clips"]
    if not 0 <= missing <= counts["rejects"]:
        raise RuntimeError(f"{synthesis.clips} clips were requested, but {counts} were written; nothing is committed")
    references, rejected = _count_rejects(synthesis, files)
    record = {
        "job": Job.SYNTHESIZE,
        "options": dict(options),
        "counts": {"asked": synthesis.clips, **counts},
        "references": references,
        "clips_rejected": rejected,
        "timings": {"total_s": round(seconds, 3)},
        "versions": {"audiosieve": version("audiosieve"), "apache-beam": beam.__version__},
    }
    return ledger.commit(synthesis.run_id, record, files, check=check)


def _count_rejects(synthesis: Synthesis, files: Sequence[str]) -> tuple[dict[str, Any], dict[str, int]]:
    """Returns the number of listed references with the rejects by reason, and the rejected clips by reason."""
    speech, other_material = (
        {
            (printable(item.ref.uri), item.ref.utterance_id)
            for item in synthesis.materials
            if (item.kind == SPEECH) == is_speech
        }
        for is_speech in (True, False)
    )
    references, clips = Counter[str](), Counter[str]()
    names = [name for name in files if name.startswith("rejects/")]
    # A recording may be rejected twice, as a reference and as a recording with its flaws.
    rejects = {
        (row["uri"], row["utterance_id"], row["reason"])
        for batch in synthesis.ledger.rows("rejects", ["uri", "utterance_id", "reason"], names)
        for row in batch.to_pylist()
    }
    for *key, reason in rejects:
        if tuple(key) in speech:
            references[reason] += 1
        elif tuple(key) not in other_material:
            clips[reason] += 1
    return {"listed": len(speech), "refused": dict(most_first(references))}, dict(most_first(clips))
