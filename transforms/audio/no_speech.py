"""Decides from frame levels and the mean spectrum alone that a recording has no speech: silence, tones, hum, noise, clicks."""

from __future__ import annotations

import numpy as np

from model.features import percentiles

# Speech, even in a louder noise, moves the level of the frames by more: 99th to 10th percentile.
STEADY_DB = 2.2
# Frames over which the level is averaged first, because that of a noise scatters.
AVERAGED_FRAMES = 4
# Frames without digital silence that the test of steadiness needs, and frames that the test of lines needs: 1 s.
MIN_STEADY_FRAMES, MIN_LINES_FRAMES = 40, 60
# Share of the power in a few lines of the spectrum that only tones have. A single vowel comes close to it.
LINES_SHARE = 0.9935
MAX_LINES, LINE_BINS = 4, 2
# Squared peak over power of a frame with a click: 15 dB, more than the pulses of a voice.
CLICK_CREST = 10**1.5
# Share of the power in frames with clicks, and longest run of such frames. Each sample is in two frames.
CLICKS_SHARE, MAX_CLICK_FRAMES = 0.9, 4
# A drift of the offset, rumble or hum is sound under 78 Hz. Where it exceeds the other sound by `DRIFT_DB`, it hides whether
# that is steady; where it exceeds it by `ONLY_DRIFT_DB`, there is no other sound.
DRIFT_DB, ONLY_DRIFT_DB = 10.0, 30.0
# Different peaks of a recording of which only the last bit moves.
MAX_COARSE_PEAKS = 3


def is_without_speech(power: np.ndarray, peak: np.ndarray, spectrum: np.ndarray, window_power: np.ndarray) -> bool:
    """Returns whether the facts prove that there is no speech. False does not prove speech: music needs a network.

    Args:
        power: mean square of each frame of 32 ms, without DC: float64 [T].
        peak: largest absolute sample of each frame, without DC: float [T].
        spectrum: mean power of the bins of 31.25 Hz over the recording (`BandwidthMeter.spectrum`): float64 [bins].
        window_power: mean square of windows of 32 ms over 78 Hz (`BandwidthMeter.window_power`): float64 [w].
    """
    if frames_without_speech(power, peak) or has_only_drift(power, window_power):
        return True
    return len(power) >= MIN_LINES_FRAMES and has_few_lines(spectrum)


def frames_without_speech(power: np.ndarray, peak: np.ndarray) -> bool:
    """Returns whether the levels of frames alone prove that there is no speech.

    Args:
        power: mean square of each frame: float64 [T].
        peak: largest absolute sample of each frame: float [T].
    """
    return is_silent(power, peak) or is_steady(power) or has_only_clicks(power, peak)


def has_only_drift(power: np.ndarray, window_power: np.ndarray) -> bool:
    """Returns whether nearly all sound lies below speech, and the rest is steady or next to nothing.

    Args:
        power: mean square of each frame: float64 [T].
        window_power: mean square of windows over 78 Hz: float64 [w].
    """
    if not len(window_power) or not len(power):
        return False
    above, total = float(window_power.mean()), float(power.mean())
    if above < total * 10 ** (-ONLY_DRIFT_DB / 10):
        return True
    return above < total * 10 ** (-DRIFT_DB / 10) and is_steady(window_power)


def is_silent(power: np.ndarray, peak: np.ndarray) -> bool:
    """Returns whether all frames are digital silence, or only the last bit moves.

    Args:
        power: mean square of each frame: float64 [T].
        peak: largest absolute sample of each frame: float [T].
    """
    used = peak[power > 0]
    if len(used) == 0:
        return True
    if len(used) < MIN_STEADY_FRAMES or len(set(used[:MIN_STEADY_FRAMES].tolist())) > MAX_COARSE_PEAKS:
        return False
    return len(np.unique(used)) <= MAX_COARSE_PEAKS


def is_steady(power: np.ndarray) -> bool:
    """Returns whether the level hardly moves, as in a tone, hum or a steady noise.

    Args:
        power: mean square of each frame: float64 [T].
    """
    used = power[power > 1e-9 * power.max(initial=0.0)]
    if len(used) < MIN_STEADY_FRAMES:
        return False
    averaged = np.convolve(used, np.full(AVERAGED_FRAMES, 1 / AVERAGED_FRAMES), "valid")
    low, high = percentiles(averaged, [10, 99])
    return bool(high < low * 10 ** (STEADY_DB / 10))


def has_few_lines(spectrum: np.ndarray) -> bool:
    """Returns whether nearly all power is in a few narrow lines, as in steady or pulsed tones.

    Args:
        spectrum: mean power of the bins: float64 [bins].
    """
    rest = np.array(spectrum, np.float64)
    total = rest.sum()
    for _ in range(MAX_LINES):
        line = int(np.argmax(rest))
        rest[max(line - LINE_BINS, 0) : line + LINE_BINS + 1] = 0.0
    return bool(total > 0 and rest.sum() < (1 - LINES_SHARE) * total)


def has_only_clicks(power: np.ndarray, peak: np.ndarray) -> bool:
    """Returns whether nearly all power is in isolated clicks.

    Args:
        power: mean square of each frame: float64 [T].
        peak: largest absolute sample of each frame: float [T].
    """
    click = np.square(peak, dtype=np.float64) > CLICK_CREST * power
    if not click.any() or power[click].sum() < CLICKS_SHARE * power.sum():
        return False
    edges = np.flatnonzero(np.diff(np.r_[False, click & (power > 1e-3 * power.max()), False]))
    return int(np.diff(edges)[::2].max(initial=0)) <= MAX_CLICK_FRAMES
