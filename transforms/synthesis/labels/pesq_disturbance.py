"""Disturbance of each frame by the perceptual model of PESQ (ITU-T P.862), for signals that are aligned by construction.

The frames are those of the scorer, 32 ms every 16 ms. This is the perceptual model of the Recommendation with the input filter
of P.862.2. Its time alignment is omitted, because the signals have no unknown delay.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import scipy.fft
from scipy.signal import lfilter, sosfilt

from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE, frames, num_frames
from model.pooling import combined_disturbance, mos, pesq_norm

# Wide-band input filter of P.862.2: one second-order section at 16 kHz.
_INPUT_FILTER = np.array([[2.740826, -5.4816519, 2.740826, 1.0, -1.9444777, 0.94597794]])
_FADE = 15
# Level alignment of P.862: the power of signals in the band after scaling. The mean is taken over 320 ms more than the signal.
_TARGET_POWER, _LEVEL_BAND_HZ, _LEVEL_PADDING = 1e7, (325.0, 3375.0), 5120
# Scales of power density and loudness in P.862.
_POWER_SCALE, _LOUDNESS_SCALE = 6.910853e-6, 0.1866055
_ZWICKER_POWER = 0.23
_LARGEST_DISTURBANCE = 45.0

# The 49 bands of P.862 at 16 kHz: number of bins of 31.25 Hz, centre in Bark, width in Bark, correction of the power
# density, and threshold of hearing as a power.
_BANDS = np.array(
    [
        (1, 0.078672, 0.157344, 100.0, 51286152.0),
        (1, 0.316341, 0.317994, 99.999992, 2454709.5),
        (1, 0.636559, 0.322441, 100.0, 70794.59375),
        (1, 0.961246, 0.326934, 100.000008, 4897.788574),
        (1, 1.290450, 0.331474, 100.000008, 1174.897705),
        (1, 1.624217, 0.336061, 100.000015, 389.045166),
        (1, 1.962597, 0.340697, 99.999992, 104.712860),
        (1, 2.305636, 0.345381, 99.999969, 45.708820),
        (2, 2.653383, 0.350114, 50.000027, 17.782795),
        (1, 3.005889, 0.354897, 100.0, 9.772372),
        (1, 3.363201, 0.359729, 99.999969, 4.897789),
        (1, 3.725371, 0.364611, 100.000015, 3.090296),
        (1, 4.092449, 0.369544, 99.999947, 1.905461),
        (1, 4.464486, 0.374529, 100.000061, 1.258925),
        (2, 4.841533, 0.379565, 53.047077, 0.977237),
        (1, 5.223642, 0.384653, 110.000046, 0.724436),
        (1, 5.610866, 0.389794, 117.991989, 0.562341),
        (2, 6.003256, 0.394989, 65.0, 0.457088),
        (2, 6.400869, 0.400236, 68.760147, 0.389045),
        (2, 6.803755, 0.405538, 69.999931, 0.331131),
        (2, 7.211971, 0.410894, 71.428818, 0.295121),
        (2, 7.625571, 0.416306, 75.000038, 0.269153),
        (2, 8.044611, 0.421773, 76.843384, 0.257040),
        (2, 8.469146, 0.427297, 80.968781, 0.251189),
        (2, 8.899232, 0.432877, 88.646126, 0.251189),
        (3, 9.334927, 0.438514, 63.864388, 0.251189),
        (3, 9.776288, 0.444209, 68.155350, 0.251189),
        (3, 10.223374, 0.449962, 72.547775, 0.263027),
        (3, 10.676242, 0.455774, 75.584831, 0.288403),
        (4, 11.134952, 0.461645, 58.379192, 0.309030),
        (3, 11.599563, 0.467577, 80.950836, 0.338844),
        (4, 12.070135, 0.473569, 64.135651, 0.371535),
        (5, 12.546731, 0.479621, 54.384785, 0.398107),
        (4, 13.029408, 0.485736, 73.821884, 0.436516),
        (5, 13.518232, 0.491912, 64.437073, 0.467735),
        (6, 14.013264, 0.498151, 59.176456, 0.489779),
        (6, 14.514566, 0.504454, 65.521278, 0.501187),
        (7, 15.022202, 0.510819, 61.399822, 0.501187),
        (8, 15.536238, 0.517250, 58.144047, 0.512861),
        (9, 16.056736, 0.523745, 57.004543, 0.524807),
        (9, 16.583761, 0.530308, 64.126297, 0.524807),
        (12, 17.117382, 0.536934, 54.311001, 0.524807),
        (12, 17.657663, 0.543629, 61.114979, 0.512861),
        (15, 18.204674, 0.550390, 55.077751, 0.478630),
        (16, 18.758478, 0.557220, 56.849335, 0.426580),
        (18, 19.319147, 0.564119, 55.628868, 0.371535),
        (21, 19.886751, 0.571085, 53.137054, 0.363078),
        (25, 20.461355, 0.578125, 54.985844, 0.416869),
        (20, 21.043034, 0.585232, 79.546974, 0.537032),
    ]
)
_BINS, _CENTRE_BARK, _WIDTH_BARK, _CORRECTION, _THRESHOLD = _BANDS.T
_THRESHOLD_F32 = _THRESHOLD.astype(np.float32)
# The audible power and the disturbance exclude the lowest band.
_WIDTH = _WIDTH_BARK[1:].astype(np.float32)
_EXPONENT = (_ZWICKER_POWER * np.clip(6 / (_CENTRE_BARK + 2), 1, 2) ** 0.15).astype(np.float32)
_LOUDNESS_FACTOR = (_LOUDNESS_SCALE * (2 * _THRESHOLD) ** _EXPONENT).astype(np.float32)


@dataclasses.dataclass(frozen=True, slots=True)
class FrameDisturbances:
    """The disturbances of the frames of a degraded recording.

    Attributes:
        symmetric: symmetric disturbance of P.862: float32 [T], 0 to 45.
        asymmetric: asymmetric disturbance, in which additions count more than losses: float32 [T], 0 to 45.
    """

    symmetric: np.ndarray
    asymmetric: np.ndarray

    @property
    def score(self) -> float:
        """Wide-band MOS-LQO of the recording: the norms of P.862 over the frames, mapped as in P.862.2."""
        return float(mos(combined_disturbance(pesq_norm(self.symmetric), pesq_norm(self.asymmetric))))


def frame_disturbances(reference: np.ndarray, degraded: np.ndarray) -> FrameDisturbances:
    """Computes the disturbances of a degraded recording against its reference, aligned sample by sample.

    Args:
        reference: clean speech at 16 kHz, of any level: float [n], n >= 512.
        degraded: degraded speech at 16 kHz, of any level: float [n].

    Returns:
        Disturbances of the T = `num_frames(n)` frames. They are 0 if the reference is silent in the band in which P.862 sets
        the level (325 to 3375 Hz).
    """
    count = num_frames(len(reference))
    power_ref, power_deg = (_band_power(signal) for signal in (reference, degraded))  # [T + 1, 49]
    # Each band of the reference is scaled to the mean power of the degraded signal in that band, over the frames with speech.
    has_speech = _audible(power_ref, 100.0).sum(axis=1) >= 1e7
    mean_ref, mean_deg = (
        _audible(power, 100.0, first=0)[has_speech].sum(axis=0) / len(power) for power in (power_ref, power_deg)
    )
    power_ref *= np.clip((mean_deg + 1000) / (mean_ref + 1000), 0.01, 100.0)
    audible_ref, audible_deg = (_audible(power, 1.0).sum(axis=1) for power in (power_ref, power_deg))
    power_deg *= _local_gain(audible_ref, audible_deg)[:, np.newaxis]
    loud_ref, loud_deg = _loudness(power_ref), _loudness(power_deg)
    difference = loud_deg - loud_ref
    masked = 0.25 * np.minimum(loud_ref, loud_deg)
    difference = np.maximum(np.abs(difference) - masked, 0.0)[:, 1:] * _WIDTH
    ratio = ((power_deg[:, 1:] + 50) / (power_ref[:, 1:] + 50)) ** 1.2
    asymmetry = np.where(ratio < 3, 0, np.minimum(ratio, 12))
    symmetric = np.sqrt(_WIDTH.sum() * np.einsum("tb,tb->t", difference, difference))
    asymmetric = np.sum(difference * asymmetry, axis=1)
    loudness_weight = ((audible_ref + 1e5) / 1e7) ** 0.04
    return FrameDisturbances(
        *(
            np.minimum(values / loudness_weight, _LARGEST_DISTURBANCE).astype(np.float32)[:count]
            for values in (symmetric, asymmetric)
        )
    )


def _band_power(signal: np.ndarray) -> np.ndarray:
    """Returns the power in the 49 bands of each frame: float32 [T + 1, 49]. Half of the last frame is padding."""
    signal = _align_level(np.asarray(signal, np.float32)).astype(np.float64)
    signal[:_FADE] *= _fade()
    signal[-_FADE:] *= _fade()[::-1]
    filtered = sosfilt(_INPUT_FILTER, signal).astype(np.float32)
    filtered = np.concatenate([filtered, np.zeros(FRAME_SHIFT, np.float32)])
    spectrum = scipy.fft.rfft(frames(filtered) * _window(), axis=-1)[:, :-1]
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    power[:, 0] = 0.0  # the mean of a frame is inaudible
    edges = np.append(0, np.cumsum(_BINS[:-1])).astype(int)
    return np.add.reduceat(power, edges, axis=1) * (_CORRECTION * _POWER_SCALE).astype(np.float32)


def _align_level(signal: np.ndarray) -> np.ndarray:
    """Scales the signal to the power of P.862 in the telephone band; silence stays silent."""
    size = scipy.fft.next_fast_len(len(signal), real=True)
    spectrum = scipy.fft.rfft(signal, size)
    low, high = (round(edge * size / SAMPLE_RATE) for edge in _LEVEL_BAND_HZ)
    band = spectrum[low:high]
    power = 2 * float(np.vdot(band, band).real) / size / (len(signal) + _LEVEL_PADDING)
    return signal * math.sqrt(_TARGET_POWER / power) if power > 0 else np.zeros_like(signal)


def _audible(power: np.ndarray, factor: float, first: int = 1) -> np.ndarray:
    """Returns the powers above `factor` times the threshold of hearing, from the band `first` on; 0 elsewhere."""
    power = power[:, first:]
    return np.where(power > np.float32(factor) * _THRESHOLD_F32[first:], power, np.float32(0))


def _local_gain(audible_ref: np.ndarray, audible_deg: np.ndarray) -> np.ndarray:
    """Returns the gain that moves each frame [T] of the degraded signal towards the reference, smoothed in time."""
    gain = (audible_ref + 5e3) / (audible_deg + 5e3)
    smooth, _ = lfilter([0.8], [1.0, -0.2], gain, zi=0.2 * gain[:1])
    return np.clip(smooth, 3e-4, 5.0).astype(np.float32)


def _loudness(power: np.ndarray) -> np.ndarray:
    """Returns Zwicker's loudness density of powers [T, 49], in sone per Bark."""
    relative = np.maximum(power / _THRESHOLD_F32, 1.0)  # 1 at the threshold, which has loudness 0
    return _LOUDNESS_FACTOR * ((0.5 + 0.5 * relative) ** _EXPONENT - 1)


@functools.cache
def _window() -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME_LENGTH) / FRAME_LENGTH)).astype(np.float32)


@functools.cache
def _fade() -> np.ndarray:
    return np.arange(1, _FADE + 1) / (_FADE + 1)
