"""Finds speech in a clean recording by its energy: the truth for the training of a speech detector.

Only clean references are measured, whose pauses are at least 38 dB under their loud parts. No model is needed for them.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_closing, binary_dilation, binary_opening

from model.features import FRAME_LENGTH, FRAME_SHIFT, frame_power
from transforms.synthesis.degradations.base import SampleSpan, spans_where

# Percentile of the frame levels that stands for the level of loud vowels; a click is shorter than the rest.
LOUD_PERCENTILE, FLOOR_PERCENTILE = 95, 5
# A frame has speech if its level is this many dB over the floor. The limit stays between the other two, in dB under loud
# vowels, because soft fricatives are some 30 dB under them.
OVER_FLOOR_DB, DEEPEST_DB, SHALLOWEST_DB = 15.0, 38.0, 26.0
# Shorter runs are clicks, which touch up to three frames. Shorter gaps, such as the closure of a plosive, belong to the speech.
MIN_FRAMES, MAX_GAP_FRAMES = 4, 8
# Frames added before and after each run, because onsets and releases are soft.
HANGOVER_FRAMES = 1


def speech_spans(samples: np.ndarray) -> tuple[SampleSpan, ...]:
    """Returns the parts of a clean recording with speech: [start, end) in samples, ascending and disjoint.

    Args:
        samples: clean speech at 16 kHz, of any level: float [n].
    """
    if len(samples) < FRAME_LENGTH:
        return ((0, len(samples)),) if np.any(samples) else ()
    power = frame_power(samples)
    if not power.any():
        return ()
    active = _smooth(_is_loud(power))
    # Frame t stands for the samples from 256 t + 128 on, up to where the next frame begins to.
    mask = np.repeat(active, FRAME_SHIFT)
    margin = (FRAME_LENGTH - FRAME_SHIFT) // 2
    mask = np.pad(mask, (margin, max(0, len(samples) - margin - len(mask))), mode="edge")[: len(samples)]
    return spans_where(mask)


def speech_mask(spans: tuple[SampleSpan, ...], length: int) -> np.ndarray:
    """Returns whether each sample is in a span: bool [length]."""
    mask = np.zeros(length, bool)
    for start, end in spans:
        mask[start:end] = True
    return mask


def _is_loud(power: np.ndarray) -> np.ndarray:
    """Returns whether each frame is loud enough for speech, from its mean square: bool [T]."""
    levels = 10 * np.log10(np.maximum(power, power.max() * 1e-12))
    floor, loud = np.percentile(levels, [FLOOR_PERCENTILE, LOUD_PERCENTILE])
    return levels > np.clip(floor + OVER_FLOOR_DB, loud - DEEPEST_DB, loud - SHALLOWEST_DB)


def _smooth(active: np.ndarray) -> np.ndarray:
    """Closes gaps, removes clicks and adds the hangover: bool [T]."""
    padding = MAX_GAP_FRAMES + HANGOVER_FRAMES
    padded = np.pad(active, padding)
    closed = binary_closing(padded, np.ones(MAX_GAP_FRAMES + 1))
    speech = binary_opening(closed, np.ones(MIN_FRAMES))
    return binary_dilation(speech, np.ones(2 * HANGOVER_FRAMES + 1))[padding:-padding]


def speech_power(samples: np.ndarray, spans: tuple[SampleSpan, ...]) -> float:
    """Returns the mean square of samples [n] within the spans; 0 without spans."""
    mask = speech_mask(spans, len(samples))
    return float(np.mean(np.square(samples[mask], dtype=np.float64))) if mask.any() else 0.0
