"""Judges enhanced speech, and compares arms with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from model.evaluation.bootstrap import Estimate
from model.features import SAMPLE_RATE
from tests.benchmarks.downstream.mixing import SILENT, NoisyClip
from tests.benchmarks.downstream.selection import overall

PESQ, SI_SDR, OVRL = "PESQ", "SI-SDR", "DNSMOS"
MEASURES = (PESQ, SI_SDR, OVRL)
RESAMPLES = 2000


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Returns the scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019, arXiv:1811.02508).

    Args:
        reference: clean samples [n], not silent.
        estimate: samples to judge [n].
    """
    reference, estimate = (np.asarray(samples, np.float64) for samples in (reference, estimate))
    reference, estimate = reference - reference.mean(), estimate - estimate.mean()
    target = reference * (estimate @ reference / (reference @ reference))
    distortion = estimate - target
    return float(10 * np.log10(max(target @ target, SILENT) / max(distortion @ distortion, SILENT)))


def judge(
    clips: Sequence[NoisyClip], rated: int, process: Callable[[np.ndarray], np.ndarray]
) -> dict[str, list[float | None]]:
    """Returns each measure of each test clip.

    Args:
        clips: test clips.
        rated: number of the first clips that DNSMOS rates; the others have None.
        process: what is done to the noisy samples.
    """
    import pesq

    values: dict[str, list[float | None]] = {name: [] for name in MEASURES}
    for number, clip in enumerate(clips):
        enhanced = process(clip.noisy)
        values[PESQ].append(float(pesq.pesq(SAMPLE_RATE, clip.clean, enhanced, "wb")))
        values[SI_SDR].append(si_sdr(clip.clean, enhanced))
        values[OVRL].append(overall(enhanced) if number < rated else None)
    return values


def paired_difference(
    values: np.ndarray, baseline: np.ndarray, speakers: Sequence[str], resamples: int = RESAMPLES
) -> Estimate:
    """Returns the mean difference of two arms over seeds and test clips, with resamples of seeds and of speakers.

    Args:
        values: measure of one arm [S, N], seeds by clips.
        baseline: the same of the other arm, with the same seeds and clips.
        speakers: speaker of each clip [N]; all clips of a speaker are resampled together.
        resamples: number of resamples.
    """
    difference = values - baseline
    seeds = len(difference)
    names, speaker = np.unique(np.asarray(speakers), return_inverse=True)
    rng = np.random.default_rng(0)
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    by_clip = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)[:, speaker]
    total = np.einsum("rs,sn,rn->r", by_seed, difference, by_clip, optimize=True)
    return Estimate(float(difference.mean()), total / (seeds * by_clip.sum(axis=1)))
