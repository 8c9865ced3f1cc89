"""libsndfile and FFmpeg decode the same samples from the same file."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest

from tests.support.decoding import decode_bytes, noise, read_samples, speech_like
from tests.support.media import encode_media
from transforms.decoders.containers import container_of
from transforms.decoders.media_sound import MediaSound
from transforms.decoders.sound import open_sound


class TestBothDecoders:
    @pytest.mark.parametrize(
        "coding",
        [
            *("WAV/PCM_16", "WAV/PCM_U8", "WAV/PCM_24", "WAV/FLOAT", "WAV/ULAW", "WAV/IMA_ADPCM", "AIFF/PCM_16"),
            *("FLAC/PCM_16", "FLAC/PCM_24", "OGG/VORBIS", "OGG/OPUS"),
        ],
    )
    @pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_they_agree(self, encode, coding, rate, channels):
        if coding == "OGG/OPUS" and rate != 48_000:
            pytest.skip("FFmpeg decodes Opus at 48 kHz only")
        data = encode(speech_like(1.5, rate, channels), rate, coding)
        expected = open_sound(io.BytesIO(data)).read_block(10 * rate)
        container = container_of(io.BytesIO(data))
        samples = MediaSound(io.BytesIO(data), container).read_block(10 * rate)
        assert samples.shape == expected.shape
        assert np.abs(samples - expected).max() < 1e-4

    @pytest.mark.parametrize("codec", [{}, {"flags": "+qscale", "global_quality": "472"}], ids=["cbr", "vbr"])
    @pytest.mark.parametrize("header", ["0", "1"])
    @pytest.mark.parametrize("rate", [16_000, 44_100])
    def test_they_agree_on_mp3(self, codec, header, rate):
        options = {"write_xing": header, "id3v2_version": "0"}
        data = encode_media(speech_like(2.0, rate, 2), rate, ("mp3", "libmp3lame"), options, **codec)
        expected = open_sound(io.BytesIO(data)).read_block(10 * rate)
        with av.open(io.BytesIO(data)) as file:
            samples = np.concatenate([frame.to_ndarray().T for frame in file.decode(audio=0)])
        assert samples.shape == expected.shape
        assert np.abs(samples - expected).max() < 1e-4

    @pytest.mark.parametrize("rate", [8_000, 16_000, 24_000])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_opus_has_the_rate_of_its_source_in_every_container(self, encode, rate, channels):
        samples = speech_like(1.5, rate, channels)
        ogg, webm = encode(samples, rate, "OGG/OPUS"), encode_media(samples, rate, "webm")
        for data in (ogg, webm):
            decoded = decode_bytes(data)
            assert (decoded.sample_rate, decoded.duration_s) == (rate, 1.5)
            inner = slice(rate // 10, -rate // 10)
            apart = read_samples(data)[inner] - samples[inner]
            assert apart.std() < 0.5 * samples.std()

    def test_libsndfile_comes_first(self, encode):
        for coding in ("WAV/PCM_16", "FLAC/PCM_16", "OGG/VORBIS", "MP3/MPEG_LAYER_III"):
            assert not isinstance(open_sound(io.BytesIO(encode(noise(9_000), coding=coding))), MediaSound)
