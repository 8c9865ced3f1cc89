"""Order of scores along a ladder: the same clips at rising SNRs should have rising scores."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.evaluation.bootstrap import Resamples
from model.evaluation.metrics import weighted_mean
from model.evaluation.scored_clips import CLEAN, STEP_DB, Clip, EvaluationError, ScoredClips


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a ladder: the same clip at one SNR and at the next higher one.

    Attributes:
        low_db: lower SNR in dB.
        high_db: higher SNR in dB; infinity for the clean clip.
        low: index of the clip at the lower SNR.
        high: index of the clip at the higher SNR.
    """

    low_db: float
    high_db: float
    low: int
    high: int


def ladder_steps(clips: Sequence[Clip]) -> list[Step]:
    """Pairs clips that have the same id and speech, and neighbouring SNRs.

    Args:
        clips: clips of several sets with the same seed and material and one SNR per set. A clean clip has the highest SNR.

    Returns:
        Steps between neighbouring SNRs, for each clip that is present at both.

    Raises:
        EvaluationError: there is no such pair.
    """
    # Clips with faults but no noise are not on the ladder.
    rung = {n: math.inf if clip.clean else clip.snr_db for n, clip in enumerate(clips)}
    rungs = sorted({snr_db for snr_db in rung.values() if snr_db is not None})
    indices: dict[tuple[str, str], dict[float, int]] = defaultdict(dict)
    for n, clip in enumerate(clips):
        if (snr_db := rung[n]) is not None:
            indices[clip.clip_id, clip.speech_id][snr_db] = n
    steps = [
        Step(low_db, high_db, index[low_db], index[high_db])
        for low_db, high_db in itertools.pairwise(rungs)
        for index in indices.values()
        if low_db in index and high_db in index
    ]
    if not steps:
        raise EvaluationError(
            "a ladder needs the same clips at several SNRs: synthesize sets with the same --seed and a different --snr each"
        )
    return steps


def measure_ladder(scored: ScoredClips, resamples: Resamples) -> dict[str, Any]:
    """Measures how often the score of a clip rises with its SNR.

    Args:
        scored: scored clips of a ladder.
        resamples: resamples of the clips.

    Returns:
        "rungs" with the mean score at each SNR, "steps" with the share of rising scores, and, over all steps of 5 dB,
        "steps_of_5db" and "rose_5db".
    """
    steps = ladder_steps(scored.clips)
    steps_between: dict[tuple[float, float], list[Step]] = defaultdict(list)
    clips_at: dict[float, set[int]] = defaultdict(set)
    for step in steps:
        steps_between[step.low_db, step.high_db].append(step)
        clips_at[step.low_db].add(step.low)
        clips_at[step.high_db].add(step.high)
    measured: dict[str, Any] = {
        "rungs": [
            {"snr": _rung_name(snr_db), "clips": len(items), "score_mean": float(scored.score[sorted(items)].mean())}
            for snr_db, items in sorted(clips_at.items())
        ],
        "steps": [
            {
                "from": _rung_name(low),
                "to": _rung_name(high),
                "clips": len(between),
                **_rise_share(scored, between, resamples),
            }
            for (low, high), between in sorted(steps_between.items())
        ],
    }
    of_5db = [step for step in steps if math.isclose(step.high_db - step.low_db, STEP_DB, abs_tol=1e-6)]
    if of_5db:
        measured |= {"steps_of_5db": len(of_5db), "rose_5db": _rise_share(scored, of_5db, resamples)["rose"]}
    return measured


def _rise_share(scored: ScoredClips, steps: Sequence[Step], resamples: Resamples) -> dict[str, Any]:
    """Returns the share of steps on which the score rises."""
    rises = np.array([scored.score[step.high] > scored.score[step.low] for step in steps])
    items = np.array([step.low for step in steps])
    return resamples.estimate(lambda weight: {"rose": weighted_mean(rises, weight)}, items)


def _rung_name(snr_db: float) -> str:
    return CLEAN if math.isinf(snr_db) else f"{snr_db:g} dB"
