"""The features of a recording. Synthesis, training, scoring and the service use the same function."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import as_strided

SAMPLE_RATE = 16_000
FRAME_LENGTH = 512
FRAME_SHIFT = 256
NUM_BINS = FRAME_LENGTH // 2 + 1
# Two minutes. Longer recordings are processed in parts to bound the memory.
WHOLE_FRAMES = 7_500
# An RMS below this (-240 dBFS) counts as silence, because float32 cannot represent the scaled signal.
SILENCE = 1e-12


class Frames(Protocol):
    """A spectrogram [T, 257] that can be sliced: an array, or an object that computes each slice."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


class FeatureError(ValueError):
    """Samples have no features (too few, not finite, or silent), or a feature config is not valid."""


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """The parameters of a spectrogram. The bundle stores them and their hash, and loading a bundle compares them.

    The frame grid (512 samples every 256 at 16 kHz) is fixed, so that a frame number means the same time for every model.

    Attributes:
        window: periodic analysis window, "hann" or "hamming".
        compression: "magnitude" for |X|, or "log" for ln(|X| + floor), which also represents sounds far below the speech.
        level: "gated" to divide the recording by its gated RMS (`gated_level`), so that a gain does not change the score;
            "none" to keep the level.
        floor: magnitude that is added before the logarithm, over 0; by default 60 dB below gated speech.
    """

    window: Literal["hann", "hamming"] = "hann"
    compression: Literal["magnitude", "log"] = "log"
    level: Literal["gated", "none"] = "gated"
    floor: float = 1e-3

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureConfig:
        """Rebuilds a config from `as_dict`.

        Raises:
            FeatureError: a field is unknown or missing, or the frame grid differs from this version's.
        """
        if not isinstance(values, dict):
            raise FeatureError(f"the feature config is {values!r}; must be a mapping of fields")
        fields = dict(values)
        grid = {name: fields.pop(name, None) for name in _GRID}
        if grid != _GRID:
            raise FeatureError(f"the feature config has the frame grid {grid}; this version has {_GRID}")
        known = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != known:
            raise FeatureError(f"the feature config has the fields {sorted(fields)}; this version has {sorted(known)}")
        for name, choices in CHOICES.items():
            if fields[name] not in choices:
                raise FeatureError(
                    f"the feature config has {name} {fields[name]!r}; this version has {', '.join(choices)}"
                )
        return cls(**fields)

    def as_dict(self) -> dict[str, Any]:
        """Returns all parameters, including the fixed frame grid."""
        return {**_GRID, **dataclasses.asdict(self)}

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 over the canonical JSON of the config."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


CHOICES = {"window": ("hann", "hamming"), "compression": ("log", "magnitude"), "level": ("gated", "none")}
_GRID = {"sample_rate": SAMPLE_RATE, "frame_length": FRAME_LENGTH, "frame_shift": FRAME_SHIFT}
# Frames of one FFT call. The arrays between samples and features stay in the cache.
_CACHED_FRAMES = 128
_ROTATION = np.exp(2j * np.pi * np.arange(FRAME_SHIFT) / FRAME_SHIFT)


def num_frames(num_samples: int) -> int:
    """Returns the number of whole frames in `num_samples`: T = 1 + (n - 512) // 256, and 0 below 512 samples."""
    return max(0, 1 + (num_samples - FRAME_LENGTH) // FRAME_SHIFT)


def frame_start_s(frame: int | np.ndarray) -> Any:
    """Returns the start of frames, in seconds from the start of the utterance.

    Args:
        frame: index of a frame, or indices of any shape.
    """
    return frame * (FRAME_SHIFT / SAMPLE_RATE)


def frames(samples: np.ndarray) -> np.ndarray:
    """Returns the frames of samples [n] as a read-only view [T, 512], without copying samples."""
    (step,) = samples.strides
    shape = (num_frames(len(samples)), FRAME_LENGTH)
    return as_strided(samples, shape, (step * FRAME_SHIFT, step), writeable=False)


def fold(samples: np.ndarray, position: int = 0) -> np.ndarray:
    """Returns the power of samples by their position within a frame shift: float64 [256].

    Args:
        samples: a part of a recording: float [n].
        position: number of the first sample in the recording.
    """
    before = position % FRAME_SHIFT
    first = min(-position % FRAME_SHIFT, len(samples))
    last = first + (len(samples) - first) // FRAME_SHIFT * FRAME_SHIFT
    with np.errstate(over="ignore"):  # `grid_offset` returns 0 for an infinite power
        shifts = samples[first:last].reshape(-1, FRAME_SHIFT)
        folded = np.einsum("ij,ij->j", shifts, shifts).astype(np.float64)
        folded[before : before + first] += np.square(samples[:first])
        folded[: len(samples) - last] += np.square(samples[last:])
    return folded


def grid_offset(folded: np.ndarray) -> int:
    """Returns the offset of the frames of a recording in samples, -128 to 127.

    Scores of a network depend on where the frames lie on the speech (by up to 0.3 on short clips), and silence before the
    speech moves it. So features and levels are computed on frames that start up to 8 ms earlier or later. The phase of the
    recording's power at the frame rate sets the offset. It moves with the speech. Silence, a gain and faint noise do not
    change it.

    Args:
        folded: power of the whole recording by position within a frame shift (`fold`): float [256].
    """
    if not np.isfinite(folded).all():
        return 0
    phase = float(np.angle(np.sum(folded * _ROTATION)))
    offset = round(phase / (2 * np.pi) * FRAME_SHIFT)
    return (offset + FRAME_SHIFT // 2) % FRAME_SHIFT - FRAME_SHIFT // 2


def shifted(samples: np.ndarray, offset: int) -> np.ndarray:
    """Returns samples [n] whose frames start `offset` samples later than before, with zeros where there is no sample."""
    if offset >= 0:
        return np.pad(samples[offset:], (0, offset))
    return np.pad(samples[:offset], (-offset, 0))


def frame_power(samples: np.ndarray) -> np.ndarray:
    """Returns the mean square of each frame of samples [n]: float64 [T]."""
    whole = len(samples) // FRAME_SHIFT * FRAME_SHIFT
    shifts = samples[:whole].reshape(-1, FRAME_SHIFT)
    energy = np.einsum("sn,sn->s", shifts, shifts, dtype=np.float64)
    return np.asarray(energy[:-1] + energy[1:]) / FRAME_LENGTH  # a frame is two shifts


def lower_percentile(values: np.ndarray, percent: float) -> float:
    """Returns the largest value with at most `percent` of the values below it. Much faster than `np.percentile`.

    Args:
        values: at least one value: float [n].
        percent: 0 to 100.
    """
    index = int((len(values) - 1) * percent / 100)
    return float(np.partition(values, index)[index])


def percentiles(values: np.ndarray, percents: Sequence[float]) -> list[float]:
    """Returns percentiles with linear interpolation, as `np.percentile` does, in a fifth of its time for a short recording.

    Args:
        values: at least one value: float [n].
        percents: 0 to 100 each.
    """
    ordered = np.sort(values)
    results = []
    for percent in percents:
        position = (len(ordered) - 1) * percent / 100
        below = int(position)
        low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
        results.append(low + (high - low) * (position - below))
    return results


def gated_level(power: np.ndarray) -> float:
    """Returns the level of the active part of a recording: the RMS over frames at most 10 dB below the mean power.

    This is the relative gate of ITU-R BS.1770-5 (annex 1) on this frame grid, without K-weighting. Pauses and padding hardly
    change the level.

    Args:
        power: mean square of each frame (`frame_power`): float64 [T].

    Returns:
        RMS on the scale of the samples; 0.0 for silence.
    """
    # A sum over a length takes half the time of `mean`.
    mean = float(power.sum()) / max(len(power), 1)
    if mean <= 0.0:
        return 0.0
    active = power[power >= 0.1 * mean]
    return math.sqrt(float(active.sum()) / len(active))


def level_of(power: np.ndarray, config: FeatureConfig) -> float:
    """Returns the level by which a recording is divided.

    Args:
        power: mean square of each frame (`frame_power`): float64 [T], T >= 1.
        config: feature config; its `level` selects the method.

    Returns:
        Level on the scale of the samples, above 0; 1.0 for "none".

    Raises:
        FeatureError: the level is "gated", and the recording is silent.
    """
    if config.level != "gated":
        return 1.0
    level = gated_level(power)
    if level < SILENCE:
        raise FeatureError("all samples are zero or almost zero")
    return level


def spectrogram(samples: np.ndarray, config: FeatureConfig, level: float | None = None) -> np.ndarray:
    """Computes the spectrogram of a recording, or of a part of it.

    Args:
        samples: mono samples at 16 kHz, full scale 1.0: float [n].
        config: parameters of the spectrogram.
        level: level of the whole recording (`level_of`); computed from `samples` by default.

    Returns:
        Spectrogram: float32 [T, 257], T = `num_frames(n)`. Frame t covers samples [256t, 256t + 512). White noise of RMS 1
        has an expected squared magnitude of 1 in every bin.

    Raises:
        FeatureError: the shape is not [n], there are fewer than 512 samples, a sample is not finite, or the level is "gated"
            and the recording is silent.
    """
    if samples.ndim != 1:
        raise FeatureError(f"the samples have the shape {samples.shape}; must be mono, [n]")
    if len(samples) < FRAME_LENGTH:
        raise FeatureError(f"{len(samples)} samples at {SAMPLE_RATE} Hz are less than one frame of {FRAME_LENGTH}")
    samples = np.ascontiguousarray(samples, np.float32)
    if not np.isfinite(samples).all():
        raise FeatureError("a sample is NaN or infinite")
    if level is None:
        level = level_of(frame_power(samples), config)
    # Dividing the short window is cheaper than dividing all samples.
    window = analysis_window(config.window) / np.float32(level)
    in_frames = frames(samples)
    features = np.empty((len(in_frames), NUM_BINS), np.float32)
    for first in range(0, len(in_frames), _CACHED_FRAMES):
        part = features[first : first + _CACHED_FRAMES]
        np.abs(scipy.fft.rfft(in_frames[first : first + _CACHED_FRAMES] * window, axis=-1), out=part)
        if config.compression == "log":
            part += np.float32(config.floor)
            np.log(part, out=part)
    return features


@functools.cache
def analysis_window(name: str) -> np.ndarray:
    """Returns a periodic window with energy 1: float32 [512]."""
    alpha = {"hann": 0.5, "hamming": 0.54}[name]
    window = alpha - (1 - alpha) * np.cos(2 * np.pi * np.arange(FRAME_LENGTH) / FRAME_LENGTH)
    return (window / np.sqrt(np.sum(window**2))).astype(np.float32)
