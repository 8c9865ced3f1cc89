"""The default model on the sample recordings, which are synthetic speech outside its training set."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import soxr

from model.anomalies import find_anomalies
from model.bundle import DEFAULT
from model.features import SAMPLE_RATE, spectrogram
from model.inference.scorer import Scorer
from tests.support.paths import SAMPLES

# Position of the burst of noise, from `make_samples.py`.
BURST_S = (2.1125, 3.1125)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(DEFAULT)


def read(name: str) -> np.ndarray:
    samples, rate = soundfile.read(SAMPLES / name, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE)


def frames(scorer: Scorer, samples: np.ndarray) -> np.ndarray:
    return scorer.score([spectrogram(samples, scorer.bundle.features)])[0].score


def score(scorer: Scorer, samples: np.ndarray) -> float:
    return scorer.pool(frames(scorer, samples))


def test_more_noise_lowers_the_score(scorer: Scorer) -> None:
    scores = [score(scorer, read(f"{name}.flac")) for name in ("noise_00db", "noise_10db", "noise_20db", "clean")]
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > 2


@pytest.mark.parametrize("gain_db", [-20, -10, 6])
def test_a_gain_does_not_change_the_score(scorer: Scorer, gain_db: float) -> None:
    for name in ("clean", "noise_10db"):
        samples = read(f"{name}.flac")
        assert score(scorer, samples * 10 ** (gain_db / 20)) == pytest.approx(score(scorer, samples), abs=0.02)


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_silence_around_speech_hardly_lowers_the_score(scorer: Scorer, seconds: float) -> None:
    samples = read("clean.flac")
    silence = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    padded = np.concatenate([silence, samples, silence])
    assert score(scorer, padded) > score(scorer, samples) - 0.3


def test_a_burst_of_noise_is_an_anomaly_and_a_clean_recording_has_none(scorer: Scorer) -> None:
    span = scorer.bundle.label_scale.span
    (anomaly,) = find_anomalies(frames(scorer, read("burst.flac")), span)
    overlap = min(anomaly.end_s, BURST_S[1]) - max(anomaly.start_s, BURST_S[0])
    union = max(anomaly.end_s, BURST_S[1]) - min(anomaly.start_s, BURST_S[0])
    assert overlap / union > 0.6
    assert find_anomalies(frames(scorer, read("clean.flac")), span) == []
