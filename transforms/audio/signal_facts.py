"""Signal facts: properties of an utterance that need no model, computed from measurements of its frames."""

from __future__ import annotations

import math

import numpy as np

from model.features import frame_power, gated_level, lower_percentile
from transforms.audio.bandwidth import bandwidth_of
from transforms.elements import FrameFacts, SignalFacts

# Lowest level in dBFS. The quantisation noise of 16 bits is near -101 dBFS, that of 24 bits near -149 dBFS.
FLOOR_DB = -200.0
# Distance below the gated level from which on a frame is digital silence, or as good as that.
DIGITAL_SILENCE_BELOW_DB = 100.0
SILENCE_BELOW_DB = 40.0


def decibels(ratio: float) -> float:
    """Returns 10 log10 of a power ratio, at least `FLOOR_DB`."""
    return max(FLOOR_DB, 10 * math.log10(ratio)) if ratio > 0 else FLOOR_DB


def frame_levels_db(samples: np.ndarray) -> np.ndarray:
    """Returns the level of each frame of samples [n] at 16 kHz in dBFS, at least `FLOOR_DB`: float64 [T]."""
    return 10 * np.log10(np.maximum(frame_power(samples), 10 ** (FLOOR_DB / 10)))


def dynamic_range_db(samples: np.ndarray) -> float:
    """Returns the 95th minus the 10th percentile of the frame levels in dB: the distance from pauses to speech.

    It decides whether speech can be a reference, because PESQ of a noisy recording against itself is perfect.

    Args:
        samples: mono samples at 16 kHz, at least one frame: float [n].
    """
    low, high = np.percentile(frame_levels_db(samples), [10, 95])
    return float(high - low)


def silence_ratio(power: np.ndarray) -> float:
    """Returns the share of frames more than 40 dB below the gated level of the recording.

    Args:
        power: mean square of each frame (`model.features.frame_power`): float64 [T].
    """
    return np.count_nonzero(power < gated_level(power) ** 2 * 10 ** (-SILENCE_BELOW_DB / 10)) / len(power)


def snr_estimate_db(power: np.ndarray) -> float | None:
    """Estimates the speech-to-noise ratio from the levels of the frames.

    The noise power is the 10th percentile of the frame powers, as in minimum statistics (Martin, IEEE Trans. Speech Audio
    Proc. 9(5), 2001, without its bias compensation). The speech power is the gated power minus the noise power. The estimate
    assumes pauses in the speech and a constant noise, and is meant for sorting.

    Args:
        power: mean square of each frame of the active part: float64 [T].

    Returns:
        Ratio in dB, -20 to 100; None if a tenth of the frames is digital silence, from which no noise can be estimated.
    """
    noise = lower_percentile(power, 10) if len(power) else 0.0
    level = gated_level(power) ** 2
    if noise <= max(level * 10 ** (-DIGITAL_SILENCE_BELOW_DB / 10), 10 ** (FLOOR_DB / 10)):
        return None
    return min(max(decibels(max(level - noise, 0.0) / noise), -20.0), 100.0)


def facts_of(frames: FrameFacts, *, dc_offset: float, hum_dbfs: float | None, clipped_per_frame: float) -> SignalFacts:
    """Computes the facts of an utterance, or of a part of one, from the measurements of its frames.

    Args:
        frames: measurements of the frames.
        dc_offset: mean of the samples of the recording, full scale 1.0.
        hum_dbfs: level of mains hum in the recording in dBFS; None without hum.
        clipped_per_frame: share of clipped samples in the recording, divided by its share of clipped frames.
    """
    activity, power = frames.activity, frames.power
    counted = power[activity.counted]
    rms_dbfs = decibels(float(counted.sum()) / len(counted))
    dropped = frames.dropout_s > 0
    clipped = np.count_nonzero(frames.clipped) / len(frames)
    return SignalFacts(
        peak_dbfs=float(frames.peak_dbfs.max()),
        rms_dbfs=rms_dbfs,
        clipped_ratio=min(1.0, clipped_per_frame * clipped),
        silence_ratio=silence_ratio(power),
        lead_silence_s=activity.lead_s,
        trail_silence_s=activity.trail_s,
        longest_gap_s=activity.longest_gap_s,
        active_s=activity.counted_s,
        dropouts=int(dropped[0]) + int(np.count_nonzero(dropped[1:] > dropped[:-1])),
        dropout_s=float(frames.dropout_s.sum(dtype=np.float64)),
        dc_offset=dc_offset,
        bandwidth_hz=bandwidth_of(frames.bandwidth_hz),
        noise_floor_snr_db=snr_estimate_db(counted),
        hum_db=None if hum_dbfs is None else hum_dbfs - rms_dbfs,
    )
