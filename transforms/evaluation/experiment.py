"""Clips of the experiment that `audiosieve reproduce` repeats.

Each utterance gives six clips with the same speech, noise and level: one at each of five SNRs, and a clean one.

The functions of `audiosieve synthesize` plan and make the clips, one utterance at a time. The command itself draws utterances
with replacement, but the experiment needs each utterance exactly once per SNR. One process is enough, because no clip needs a
PESQ label.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.evaluation.scored_clips import Clip, ScoredClips, choose_threshold
from model.labels import PSEUDO
from transforms.corpus.sources import absolute
from transforms.errors import AudioFault
from transforms.evaluation.experiment_splits import TEST
from transforms.evaluation.labelled_clips import read_clips, score_clips
from transforms.output.ledger import Job, Ledger
from transforms.schemas import CLIPS, SYNTHESIS_TABLES
from transforms.scoring.batching import BatchLimits
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.clip_plan import ClipPlan, plan_clip
from transforms.synthesis.clips import make_clip
from transforms.synthesis.materials import VAL, Catalog, Material

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

SNRS_DB = (-10.0, -5.0, 5.0, 10.0, 20.0)
PEAK_DBFS = (-18.0, 0.0)
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
        catalog = Catalog([utterance, *noise_of[utterance.split]])
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


def score_test_clips(folder: Path, scorer: Scorer) -> ScoredClips:
    """Scores the test clips of a set.

    Args:
        folder: folder of the set.
        scorer: model that was trained on the set.

    Returns:
        The scored test clips, with a threshold chosen on the validation clips.

    Raises:
        SourceError: the folder holds no finished set.
    """
    known = read_clips(str(folder))

    def score(clips: Sequence[Clip]) -> np.ndarray:
        scored, _ = score_clips(clips, [scorer], BatchLimits())
        return np.array([clip.score for clip in scored[0]])

    validation = [clip for clip in known if clip.split == VAL]
    threshold = choose_threshold(np.array([clip.clean for clip in validation]), score(validation))
    clips = [clip for clip in known if clip.split == TEST]
    return ScoredClips(
        clips=clips,
        score=score(clips),
        localised=[],
        label=np.array([clip.labels[PSEUDO.column] for clip in clips], float),
        label_scale=PSEUDO,
        scale=scorer.bundle.label_scale,
        threshold=threshold,
    )
