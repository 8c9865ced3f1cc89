"""Clips of the experiment that `audiosieve reproduce` repeats.

Each utterance gives six clips with the same speech, noise and level: one at each of five SNRs, and a clean one.

The functions of `audiosieve synthesize` plan and make the clips, one utterance at a time. The command itself draws utterances
with replacement, but the experiment needs each utterance exactly once per SNR. One process is enough, because no clip needs a
PESQ label.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.features import FRAME_LENGTH, FRAME_SHIFT
from model.labels import PSEUDO
from model.local_files import atomic_path
from transforms.corpus.sources import absolute
from transforms.errors import AudioFault
from transforms.evaluation.experiment_splits import SHARED, TEST
from transforms.output.ledger import Job, Ledger
from transforms.schemas import CLIPS, SYNTHESIS_TABLES
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.clip_plan import ClipPlan, plan_clip
from transforms.synthesis.clips import make_clip
from transforms.synthesis.materials import Catalog, Material

SNRS_DB = (-10.0, -5.0, 5.0, 10.0, 20.0)
PEAK_DBFS = (-18.0, 0.0)
# The clip of Figure 4 of the paper: frames with noise, from the first to the one after the last, and the SNR there in dB.
EXAMPLE_FRAMES = (37, 88)
EXAMPLE_SNR_DB = 15.0
# Largest number of noise draws for one utterance. A noise that is silent in the drawn part is drawn again.
DRAWS = 20


class UnmixableError(ValueError):
    """An utterance cannot be mixed with any of the drawn noises."""


def clip_conditions(seed: int, max_duration_s: float) -> dict[float | None, ClipOptions]:
    """Returns the options for the clips of an utterance. The draws are equal at each SNR; one noise covers the clip.

    Args:
        seed: seed of the repeat.
        max_duration_s: longest part of an utterance that is taken, in seconds.

    Returns:
        Options by SNR in dB; None stands for the clean clip, which comes first.
    """
    return {
        snr_db: ClipOptions(
            seed=seed,
            snr_db=((snr_db or 0.0, snr_db or 0.0),),
            clean_ratio=1.0 if snr_db is None else 0.0,
            duration_s=(max_duration_s, max_duration_s),
            peak_dbfs=PEAK_DBFS,
            labels=(PSEUDO,),
        )
        for snr_db in (None, *SNRS_DB)
    }


def plan_utterance(
    number: int, draw: int, catalog: Catalog, conditions: Mapping[float | None, ClipOptions]
) -> list[ClipPlan]:
    """Plans the clips of an utterance.

    Args:
        number: number of the utterance; the ids of its clips contain it.
        draw: number that determines, with the seed, the noise, the level and the parts of both recordings.
        catalog: the utterance and the noise of its split.
        conditions: options by SNR, from `clip_conditions`.

    Returns:
        One plan per condition, in the order of the conditions.

    Raises:
        AudioFault: the split of the utterance has no noise.
    """
    plans = []
    for snr_db, options in conditions.items():
        plan = plan_clip(draw, catalog, options)
        condition = "clean" if snr_db is None else f"{snr_db:g}dB"
        plans.append(dataclasses.replace(plan, clip_id=f"{plan.seed}-{number:08d}-{condition}"))
    return plans


def make_clips(
    speech: Sequence[Material], noise: Iterable[Material], seed: int, max_duration_s: float
) -> Iterator[dict[str, Any]]:
    """Makes the clips of a repeat: each utterance clean and at each SNR.

    Args:
        speech: measured speech of all splits.
        noise: measured noise of all splits.
        seed: seed of the repeat.
        max_duration_s: longest part of an utterance that is taken, in seconds.

    Yields:
        Rows of the set (`schemas.CLIPS`); the rows of an utterance are neighbours.

    Raises:
        UnmixableError: none of the noises drawn for an utterance can be mixed with it.
    """
    conditions = clip_conditions(seed, max_duration_s)
    noise_of: dict[str, list[Material]] = defaultdict(list)
    for item in noise:
        noise_of[item.split].append(item)
    for number, utterance in enumerate(speech):
        catalog = _catalog(utterance, noise_of)
        for attempt in range(DRAWS):
            try:
                plans = plan_utterance(number, number + attempt * len(speech), catalog, conditions)
                rows = [make_clip(plan, options) for plan, options in zip(plans, conditions.values(), strict=True)]
            except AudioFault as fault:
                problem = fault
                continue
            yield from rows
            break
        else:
            raise UnmixableError(
                f"{utterance.ref.uri}: cannot be mixed with {DRAWS} drawn noises; the last one: {problem}"
            )


def _catalog(utterance: Material, noise_of: Mapping[str, Sequence[Material]]) -> Catalog:
    """Returns an utterance with the noise of its split and the shared noise."""
    split = utterance.split
    noise = [dataclasses.replace(item, split=split) for item in (*noise_of.get(split, ()), *noise_of.get(SHARED, ()))]
    return Catalog([utterance, *noise])


def make_example(
    speech: Sequence[Material], noise: Sequence[Material], seed: int, max_duration_s: float
) -> dict[str, Any]:
    """Makes a clip with noise in a part of it, as in Figure 4 of the paper: frames 37 to 87 at an SNR of 15 dB.

    It takes the first test utterance that is long enough and can be mixed with the drawn noise. If none is long enough, the
    noise covers the middle third of another one.

    Args:
        speech: measured speech of all splits.
        noise: measured noise of all splits.
        seed: seed of the repeat.
        max_duration_s: longest part of an utterance that is taken, in seconds.

    Returns:
        A row of a set (`schemas.CLIPS`) with its reference.

    Raises:
        UnmixableError: no test utterance can be mixed with the drawn noise.
    """
    options = dataclasses.replace(
        clip_conditions(seed, max_duration_s)[SNRS_DB[0]],
        snr_db=((EXAMPLE_SNR_DB, EXAMPLE_SNR_DB),),
        keep_reference=True,
    )
    noise_of: dict[str, list[Material]] = defaultdict(list)
    for item in noise:
        noise_of[item.split].append(item)
    shortest = EXAMPLE_FRAMES[1] * FRAME_SHIFT + FRAME_LENGTH
    utterances = sorted((item for item in speech if item.split == TEST), key=lambda item: item.num_samples < shortest)
    for number, utterance in enumerate(utterances):
        with contextlib.suppress(AudioFault):
            plan = plan_clip(number, _catalog(utterance, noise_of), options)
            assert plan.noise is not None  # the share of clips without noise is 0
            third = plan.length // FRAME_SHIFT // 3
            first, end = EXAMPLE_FRAMES if plan.length >= shortest else (third, 2 * third)
            sound = dataclasses.replace(plan.noise, start=first * FRAME_SHIFT, length=(end - first) * FRAME_SHIFT)
            return make_clip(dataclasses.replace(plan, clip_id=f"{seed}-example", noise=sound), options)
    raise UnmixableError("none of the test utterances can be mixed with the noise that was drawn for the example")


def write_example(file: Path, row: Mapping[str, Any]) -> None:
    """Writes an example (`make_example`) to a Parquet file."""
    with atomic_path(file) as draft:
        pq.write_table(pa.Table.from_pylist([dict(row)], CLIPS), draft, compression="zstd")


def set_ledger(folder: Path) -> Ledger:
    """Returns the ledger of the set in a folder."""
    return Ledger(absolute(str(folder)), tuple(SYNTHESIS_TABLES))


def write_set(folder: Path, clips: Iterable[dict[str, Any]], clips_per_row_group: int) -> dict[str, Any]:
    """Writes a set in the format of `audiosieve synthesize`, and commits it after the last clip.

    Args:
        folder: folder of the set.
        clips: rows of the set.
        clips_per_row_group: number of clips in a row group, and in memory at a time.

    Returns:
        Number of "clips" by split, and number of "noises".

    Raises:
        OutputError: the folder cannot be written.
    """
    ledger = set_ledger(folder)
    ledger.check_writable()
    (folder / "clips").mkdir(exist_ok=True)
    run_id = Ledger.new_run_id()
    counts: Counter[str] = Counter()
    noises: set[str] = set()
    remaining = iter(clips)
    path = f"{ledger.prefix('clips', run_id)}-all.parquet"
    with pq.ParquetWriter(path, CLIPS, compression="zstd") as out:
        while rows := list(islice(remaining, clips_per_row_group)):
            out.write_table(pa.Table.from_pylist(rows, CLIPS))
            counts.update(row["split"] for row in rows)
            noises |= {noise for row in rows for noise in row["noise_ids"]}
    ledger.commit(run_id, {"job": Job.REPRODUCE, "counts": {"clips": counts.total()}}, [ledger.name_of(path)])
    return {"clips": dict(counts), "noises": len(noises)}
