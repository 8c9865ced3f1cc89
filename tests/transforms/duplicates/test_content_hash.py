"""The hash of an utterance's samples: the same for lossless copies, however they are stored or read."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.media import encode_media
from tests.support.speech_like import in_16_bits, in_blocks, speech_like
from transforms.audio.decode import decode, decode_spans
from transforms.duplicates.content_hash import ContentHash
from transforms.elements import WHOLE, Span

RATE = 16_000
# Adding zero makes the zeros of rounding positive.
SPEECH = in_16_bits(speech_like(1.0, seed=3)) + np.float32(0)


def file_of(samples: np.ndarray, rate: int = RATE, **kind: str) -> io.BytesIO:
    """Writes samples of 16 bits. libsndfile scales floats by 32,767, but shifts integers exactly."""
    file = io.BytesIO()
    is_float = kind.get("subtype") in ("FLOAT", "DOUBLE")
    soundfile.write(file, samples if is_float else (samples * 32_768).astype(np.int16), rate, **kind)
    return io.BytesIO(file.getvalue())


def hash_of(file: io.BytesIO, span: Span = WHOLE, channels: str = "auto") -> str | None:
    return decode(file, span, channels).measured.content_hash


def blocks_hash(blocks: list[np.ndarray], rate: int = RATE) -> str | None:
    content = ContentHash(rate)
    for block in blocks:
        content.add(block)
    return content.hexdigest()


LOSSLESS = [
    {"format": "WAV", "subtype": "PCM_16"},
    {"format": "FLAC", "subtype": "PCM_16"},
    {"format": "FLAC", "subtype": "PCM_24"},
    {"format": "WAV", "subtype": "PCM_32"},
    {"format": "WAV", "subtype": "FLOAT"},
    {"format": "AIFF", "subtype": "PCM_16"},
    {"format": "CAF", "subtype": "DOUBLE"},
]


@pytest.mark.parametrize("kind", LOSSLESS, ids=lambda kind: "-".join(kind.values()))
def test_lossless_copies_have_the_hash_of_the_samples(kind):
    expected = xxhash.xxh3_128_hexdigest(b"16000 1\n" + SPEECH.astype("<f4").tobytes())
    assert hash_of(file_of(SPEECH, **kind)) == expected


def test_ffmpeg_and_libsndfile_give_the_same_hash():
    assert hash_of(io.BytesIO(encode_media(SPEECH, RATE, "mka"))) == hash_of(file_of(SPEECH, format="WAV"))


@settings(max_examples=25)
@given(st.lists(st.integers(0, 400), max_size=6), st.integers(1, 3))
def test_blocks_do_not_matter(cuts, channels):
    samples = np.random.default_rng(0).normal(0, 0.1, (400, channels)).astype(np.float32)
    assert blocks_hash(in_blocks(samples, cuts)) == blocks_hash([samples])
    assert blocks_hash([np.asfortranarray(samples)]) == blocks_hash([samples])


@settings(max_examples=25)
@given(st.integers(0, 399), st.sampled_from([-1, 1]))
def test_one_step_of_16_bits_in_one_sample_changes_the_hash(position, step):
    samples = np.zeros((400, 1), np.float32)
    other = samples.copy()
    other[position] += step / 32_768
    assert blocks_hash([samples]) != blocks_hash([other])


def test_negative_zero_is_zero():
    zeros = np.zeros((10, 1), np.float32)
    assert blocks_hash([-zeros]) == blocks_hash([zeros])


def test_rate_length_and_channels_count():
    stereo = np.stack([SPEECH, SPEECH], axis=1)
    hashes = [
        hash_of(file_of(samples, rate, format="WAV"))
        for samples, rate in ((SPEECH, RATE), (SPEECH, 22_050), (SPEECH[:-1], RATE), (stereo, RATE))
    ]
    assert len(set(hashes)) == 4


def test_a_span_and_a_channel_have_the_hash_of_their_own_samples():
    half = len(SPEECH) // 2
    expected = hash_of(file_of(SPEECH[:half], format="WAV"))
    assert hash_of(file_of(SPEECH, format="FLAC"), Span(0.0, half / RATE)) == expected
    stereo = file_of(np.stack([SPEECH, SPEECH[::-1]], axis=1), format="FLAC")
    results = [result.measured.content_hash for _, _, result in decode_spans(stereo, channels="each")]
    assert results == [hash_of(file_of(samples, format="WAV")) for samples in (SPEECH, SPEECH[::-1])]


def test_without_samples_there_is_no_hash():
    assert ContentHash(RATE).hexdigest() is None
