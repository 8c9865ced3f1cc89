"""The one definition of the features: the same function serves synthesis, training, scoring and serving."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from typing import Any, Literal, Protocol

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

SAMPLE_RATE = 16_000
FRAME_LENGTH = 512
FRAME_SHIFT = 256
NUM_BINS = FRAME_LENGTH // 2 + 1
# Two minutes: what is longer is worked through in parts, so that memory does not grow with it.
WHOLE_FRAMES = 7_500
# An RMS under this (-240 dBFS) is that of no signal, and no float32 could scale it up.
SILENCE = 1e-12


class Frames(Protocol):
    """A spectrogram [T, 257] of which parts can be had: an array, or what computes the parts that are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> np.ndarray: ...


class FeatureError(ValueError):
    """Samples that cannot be turned into features: too few of them, not finite, or without any signal."""


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """What a spectrogram is made of. Saved in the bundle, hashed, and compared when a bundle is loaded.

    The frame grid (512 samples every 256 at 16 kHz) is the project's own and no option: frame numbers in the
    output mean the same time for every model.

    Attributes:
        window: analysis window, periodic: "hann" or "hamming".
        compression: "magnitude" keeps |X|; "log" is ln(|X| + floor), which shows what lies far under the speech.
        level: "gated" divides the recording by its gated RMS (`gated_level`) first, so that a gain changes no
            score; "none" leaves the samples as they are.
        floor: added to the magnitude before the logarithm; -60 dB under the level of the speech for "gated".
    """

    window: Literal["hann", "hamming"] = "hann"
    compression: Literal["magnitude", "log"] = "log"
    level: Literal["gated", "none"] = "gated"
    floor: float = 1e-3

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureConfig:
        """Rebuilds a config from `as_dict`.

        Raises:
            FeatureError: a field is unknown or missing, or the frame grid is not this version's.
        """
        if not isinstance(values, dict):
            raise FeatureError(f"a feature config is a set of named values, not {values!r}")
        fields = dict(values)
        grid = {name: fields.pop(name, None) for name in _GRID}
        if grid != _GRID:
            raise FeatureError(f"the features were made on the frame grid {grid}, this version works on {_GRID}")
        known = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != known:
            raise FeatureError(f"feature config has the fields {sorted(fields)}, this version knows {sorted(known)}")
        for name, choices in CHOICES.items():
            if fields[name] not in choices:
                raise FeatureError(
                    f"feature config has {name} {fields[name]!r}, this version knows {', '.join(choices)}"
                )
        return cls(**fields)

    def as_dict(self) -> dict[str, Any]:
        """All that decides a spectrogram, the fixed frame grid included."""
        return {**_GRID, **dataclasses.asdict(self)}

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the config's canonical JSON."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


CHOICES = {"window": ("hann", "hamming"), "compression": ("log", "magnitude"), "level": ("gated", "none")}
_GRID = {"sample_rate": SAMPLE_RATE, "frame_length": FRAME_LENGTH, "frame_shift": FRAME_SHIFT}


def num_frames(num_samples: int) -> int:
    """Frames that fit wholly into `num_samples`: T = 1 + (n - 512) // 256, and 0 under 512 samples."""
    return max(0, 1 + (num_samples - FRAME_LENGTH) // FRAME_SHIFT)


def frame_start_s(frame: int | np.ndarray) -> Any:
    """Start of a frame, in seconds from the start of the utterance."""
    return frame * (FRAME_SHIFT / SAMPLE_RATE)


def frames(samples: np.ndarray) -> np.ndarray:
    """The frames of `samples` [n] as a read-only view [T, 512]; no sample is copied."""
    if len(samples) < FRAME_LENGTH:
        return np.empty((0, FRAME_LENGTH), samples.dtype)
    return sliding_window_view(samples, FRAME_LENGTH)[::FRAME_SHIFT]


def frame_power(samples: np.ndarray) -> np.ndarray:
    """Mean square of each frame: float64 [T] for samples [n]."""
    view = frames(samples)
    return np.einsum("tn,tn->t", view, view, dtype=np.float64) / FRAME_LENGTH


def gated_level(power: np.ndarray) -> float:
    """Level of what is active in a recording: the RMS over the frames less than 10 dB under the mean of all.

    This is the relative gate of ITU-R BS.1770-5 (annex 1) on our frame grid and without its K-weighting, so that
    pauses and padding hardly move the level.

    Args:
        power: mean square of each frame [T], as `frame_power` gives it.

    Returns:
        RMS on the samples' own scale; 0.0 for silence.
    """
    mean = power.mean() if len(power) else 0.0
    if mean <= 0.0:
        return 0.0
    return float(np.sqrt(power[power >= 0.1 * mean].mean()))


def level_of(power: np.ndarray, config: FeatureConfig) -> float:
    """The level by which a recording is divided.

    Args:
        power: mean square of each of its frames [T], T >= 1, as `frame_power` gives it.
        config: says which level.

    Returns:
        On the samples' own scale, over 0.

    Raises:
        FeatureError: the level is to be "gated", and the recording is digital silence.
    """
    if config.level != "gated":
        return 1.0
    level = gated_level(power)
    if level < SILENCE:
        raise FeatureError("all samples are zero, or as good as")
    return level


def spectrogram(samples: np.ndarray, config: FeatureConfig, level: float | None = None) -> np.ndarray:
    """Short-time spectrum of a recording, or of a part of it.

    Args:
        samples: float [n], mono, 16 kHz, full scale 1.0.
        config: what to compute.
        level: of the whole recording (`level_of`); computed where left out.

    Returns:
        float32 [T, 257], T = `num_frames(n)`; frame t covers samples [256t, 256t + 512). Magnitudes are relative to
        white noise of RMS 1, whose expected squared magnitude is 1 in every bin.

    Raises:
        FeatureError: under 512 samples, a sample that is not finite, or (with level "gated") digital silence.
    """
    if samples.ndim != 1:
        raise FeatureError(f"expected mono samples of shape [n], got {samples.shape}")
    if len(samples) < FRAME_LENGTH:
        raise FeatureError(f"{len(samples)} samples at {SAMPLE_RATE} Hz are less than one frame of {FRAME_LENGTH}")
    samples = np.ascontiguousarray(samples, np.float32)
    if not np.isfinite(samples).all():
        raise FeatureError("the samples are not all finite")
    if level is None:
        level = level_of(frame_power(samples), config)
    # One small factor on the window replaces two passes over the samples.
    window = analysis_window(config.window) / np.float32(level)
    magnitude = np.abs(scipy.fft.rfft(frames(samples) * window, axis=-1))
    if config.compression == "magnitude":
        return magnitude
    magnitude += np.float32(config.floor)
    return np.log(magnitude, out=magnitude)


@functools.cache
def analysis_window(name: str) -> np.ndarray:
    """A periodic window of 512 whose energy is 1: float32 [512]."""
    alpha = {"hann": 0.5, "hamming": 0.54}[name]
    window = alpha - (1 - alpha) * np.cos(2 * np.pi * np.arange(FRAME_LENGTH) / FRAME_LENGTH)
    return (window / np.sqrt(np.sum(window**2))).astype(np.float32)
