"""What several test modules of `transforms` need: speech-like sounds, files, records, a small model."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

from model.features import NUM_BINS, SAMPLE_RATE, FeatureConfig
from tests.support.outputs import GOOD, speech_frames
from transforms.elements import AudioRef, FeaturizedUtterance, SignalFacts, Utterance


@pytest.fixture(scope="session")
def make_speech() -> Callable[..., np.ndarray]:
    """Makes what PESQ and our facts take for clean speech: voiced syllables with formants, and pauses between them."""

    def speech(seconds: float = 3.0, seed: int = 0, floor_db: float = -75.0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        n = round(seconds * SAMPLE_RATE)
        time = np.arange(n) / SAMPLE_RATE
        pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time + seed)
        pulses = (np.diff(np.floor(np.cumsum(pitch) / SAMPLE_RATE), prepend=0) > 0).astype(float)
        voice = np.zeros(n)
        for formant in (600, 1_500, 2_600, 3_600, 5_500):
            pole = 0.97 * np.exp(2j * np.pi * formant * rng.uniform(0.9, 1.1) / SAMPLE_RATE)
            voice += lfilter([1.0], [1.0, -2 * pole.real, abs(pole) ** 2], pulses + 0.02 * rng.normal(size=n))
        syllable = np.clip(np.sin(2 * np.pi * 1.7 * time + seed), 0, 1) ** 0.5
        word = np.sin(2 * np.pi * 0.4 * time + 0.5) > -0.3
        voice *= syllable * word
        floor = rng.normal(size=n) * 10 ** (floor_db / 20)
        return (0.5 * voice / np.abs(voice).max() + floor).astype(np.float32)

    return speech


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encodes samples [n] or [n, channels] with libsndfile."""

    def encoded(samples: np.ndarray, rate: int = SAMPLE_RATE, coding: str = "WAV/PCM_16") -> bytes:
        buffer = io.BytesIO()
        container, subtype = coding.split("/")
        soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
        return buffer.getvalue()

    return encoded


@pytest.fixture(scope="session")
def make_ref() -> Callable[..., AudioRef]:
    """Makes a reference to a file that may be there or not."""

    def ref(utterance_id: str = "a.wav", uri: str | Path | None = None, **columns: str) -> AudioRef:
        return AudioRef(utterance_id, str(uri or f"/corpus/{utterance_id}"), 1_000, "1000-1.000000", columns)

    return ref


@pytest.fixture(scope="session")
def make_utterance(make_ref: Callable[..., AudioRef]) -> Callable[..., Utterance]:
    """Makes a decoded utterance without a doubt on it; keywords replace what it is or its facts."""

    def utterance(
        utterance_id: str = "a.wav", duration_s: float = 2.0, num_frames: int = 124, **facts: Any
    ) -> Utterance:
        known = {name: getattr(GOOD, name) for name in SignalFacts.__slots__}
        return Utterance(
            ref=make_ref(utterance_id),
            duration_s=duration_s,
            sample_rate=SAMPLE_RATE,
            channels=1,
            channel=None,
            format="WAV/PCM_16",
            facts=SignalFacts(**{**known, **facts}),
            frame_facts=speech_frames(num_frames),
        )

    return utterance


@pytest.fixture(scope="session")
def make_featurized(make_utterance: Callable[..., Utterance]) -> Callable[..., FeaturizedUtterance]:
    """Makes an utterance with a random spectrogram of so many frames."""

    def featurized(utterance_id: str, num_frames: int, seed: int = 0) -> FeaturizedUtterance:
        spectrogram = np.random.default_rng(seed).normal(size=(num_frames, NUM_BINS)).astype(np.float32)
        return FeaturizedUtterance(make_utterance(utterance_id, num_frames=num_frames), spectrogram)

    return featurized


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle with random weights."""
    from model.runtime import start_tensorflow

    start_tensorflow(1)
    import keras

    from model.bundle import WEIGHTS, write_card
    from model.labels import PESQ_WB
    from model.networks.architectures import quality_net

    path = tmp_path_factory.mktemp("bundle")
    keras.utils.set_random_seed(0)
    network = quality_net()
    network.get_layer("frame_score").bias.assign([2.8])  # the middle of the scale, so that no score lies at its ends
    network.save_weights(path / WEIGHTS)
    write_card(
        path,
        name="random",
        network="quality_net",
        features=FeatureConfig(),
        label_scale=PESQ_WB,
        metrics={},
        training={},
    )
    return path
