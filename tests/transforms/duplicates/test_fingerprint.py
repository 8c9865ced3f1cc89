"""Fingerprints of copies and of other recordings, compared in the way of the filter."""

from __future__ import annotations

import io

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from model.features import FeatureConfig
from tests.support.media import encode_media
from tests.support.speech_like import speech_like
from transforms.audio.decode import decode
from transforms.duplicates.fingerprint import FRAME_BITS, LONGEST_FRAMES, fingerprint, middle
from transforms.duplicates.groups import find_duplicates
from transforms.elements import AudioRef, Utterance
from transforms.scoring.featurize import featurize

RATE = 16_000
CONFIG = FeatureConfig()
REF = AudioRef("u", "/u", 1, "1")


def wav(samples: np.ndarray, rate: int = RATE, **kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file, samples, rate, **(kind or {"subtype": "PCM_16"}), **({} if "format" in kind else {"format": "WAV"})
    )
    return file.getvalue()


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    return soxr.resample(samples, RATE, rate)


COPIES = {
    "mp3": lambda x: encode_media(x, RATE, ("mp3", "libmp3lame"), bit_rate=64_000),
    "mp3 at 44.1 kHz": lambda x: encode_media(resampled(x, 44_100), 44_100, ("mp3", "libmp3lame"), bit_rate=64_000),
    "opus": lambda x: encode_media(resampled(x, 48_000), 48_000, ("ogg", "libopus"), bit_rate=32_000),
    "vorbis": lambda x: wav(x, format="OGG", subtype="VORBIS"),
    "aac": lambda x: encode_media(x, RATE, "m4a"),
    "16 bits": wav,
    "quieter by 30 dB": lambda x: wav(x * 0.03),
    "inverted": lambda x: wav(-x),
    "at 8 kHz": lambda x: wav(resampled(x, 8_000), 8_000),
    "at 44.1 kHz": lambda x: wav(resampled(x, 44_100), 44_100),
    "in stereo": lambda x: wav(np.stack([x, x], axis=1)),
    "without its start": lambda x: wav(x[RATE // 2 :]),
    "without its end": lambda x: wav(x[: -RATE // 2]),
    "without both": lambda x: wav(x[RATE // 2 : -RATE // 2]),
    "without its start, quieter, as mp3": lambda x: encode_media(
        0.2 * x[RATE // 2 + 137 :], RATE, ("mp3", "libmp3lame"), bit_rate=64_000
    ),
    "with silence before": lambda x: wav(np.concatenate([np.zeros(RATE // 2, np.float32), x])),
}


def utterance(data: bytes, config: FeatureConfig = CONFIG) -> Utterance:
    return featurize(decode(io.BytesIO(data)), REF, config).utterance


def same(*utterances: Utterance) -> dict[str, str]:
    """What find_duplicates says about utterances, the best first: number of the one to keep by number of the dropped one."""
    connection = duckdb.connect()
    table = pa.table(
        {
            "utterance_id": [str(number) for number in range(len(utterances))],
            "score": [4.0 - number / 1_000 for number in range(len(utterances))],
            "duration_s": [item.duration_s for item in utterances],
            "content_hash": [item.content_hash for item in utterances],
            "fingerprint": pa.array([item.fingerprint for item in utterances], pa.list_(pa.int64())),
        }
    )
    connection.register("scored", table)
    find_duplicates(connection, "SELECT * FROM scored")
    return dict(connection.execute("SELECT utterance_id, duplicate_of FROM duplicates ORDER BY ALL").fetchall())


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_the_same_recording(kind):
    speech = speech_like(5.0, seed=1)
    assert same(utterance(wav(speech, subtype="FLOAT")), utterance(COPIES[kind](speech))) == {"1": "0"}


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 1_000),
    st.floats(3.0, 12.0),
    st.floats(-35, 0),
    st.integers(0, RATE // 2),
    st.integers(0, RATE // 2),
    st.sampled_from([8_000, 11_025, 16_000, 22_050, 48_000]),
)
def test_any_cut_gain_and_rate_give_the_same_recording(seed, seconds, gain_db, before, after, rate):
    speech = speech_like(seconds, seed=seed)
    changed = 10 ** (gain_db / 20) * speech[before : len(speech) - after]
    data = wav(soxr.resample(changed, RATE, rate), rate)
    assert same(utterance(wav(speech)), utterance(data)) == {"1": "0"}


def test_other_sentences_of_the_same_voice_are_other_recordings():
    """200 utterances of one length, 19,900 pairs."""
    voice = speech_like(800.0, seed=5)
    items = [utterance(wav(part)) for part in np.split(voice, 200)]
    assert all(item.fingerprint for item in items)
    assert same(*items) == {}


def test_parts_that_overlap_by_half_are_other_recordings():
    speech = speech_like(9.0, seed=6)
    assert same(utterance(wav(speech[: 6 * RATE])), utterance(wav(speech[3 * RATE :]))) == {}


def test_a_recording_inside_a_longer_one_is_another():
    speech = speech_like(8.0, seed=7)
    assert same(utterance(wav(speech)), utterance(wav(speech[: 6 * RATE]))) == {}


@pytest.mark.parametrize("seconds", [0.1, 0.4])
def test_too_little_sound_has_no_fingerprint(seconds):
    assert utterance(wav(speech_like(seconds, seed=8))).fingerprint is None


def test_a_steady_tone_and_silence_have_no_fingerprint():
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(4 * RATE) / RATE)).astype(np.float32)
    assert utterance(wav(tone, subtype="FLOAT")).fingerprint is None
    assert fingerprint(np.zeros((100, 257), np.float32), FeatureConfig(compression="magnitude")) is None


def test_the_size_is_limited():
    speech = speech_like(30.0, seed=9)
    assert 8 * len(utterance(wav(speech[: 5 * RATE])).fingerprint) <= 64 * 5
    assert 8 * len(utterance(wav(speech)).fingerprint) <= 64 * 20


@pytest.mark.parametrize("changes", [{"compression": "magnitude"}, {"level": "none"}, {"window": "hamming"}])
def test_the_features_of_the_model_hardly_matter(changes):
    data = wav(speech_like(5.0, seed=10))
    assert same(utterance(data), utterance(data, FeatureConfig(**changes))) == {"1": "0"}


def test_a_long_recording_is_compared_in_its_middle():
    """Recordings of over two minutes have no spectrogram in memory."""
    speech = speech_like(125.0, seed=11)
    original = utterance(wav(speech))
    frames = [landmark & (1 << FRAME_BITS) - 1 for landmark in original.fingerprint]
    part = middle(len(original.frame_facts))
    assert part.start <= min(frames) < max(frames) < part.stop == part.start + LONGEST_FRAMES
    copy = utterance(encode_media(speech[RATE // 2 :], RATE, ("mp3", "libmp3lame"), bit_rate=64_000))
    assert same(original, copy) == {"1": "0"}
    other = np.concatenate([speech[: 50 * RATE], speech_like(25.0, seed=12), speech[75 * RATE :]])
    assert same(original, utterance(wav(other))) == {}
