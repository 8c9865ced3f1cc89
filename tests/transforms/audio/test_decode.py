"""Every format that libsndfile reads becomes the same mono samples at 16 kHz; damaged recordings are faults."""

from __future__ import annotations

import gc
import io
import tracemalloc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from model.high_pass import without_dc
from tests.support.decoding import LOSSLESS, WRITABLE, decode_bytes, fault_of, noise, tone
from transforms.audio import decode as decode_module
from transforms.audio import span_reader
from transforms.audio.decode import BLOCK_S, BLOCK_SAMPLES, decode, decode_spans
from transforms.audio.span_reader import Decoded
from transforms.elements import MIX, Span
from transforms.errors import AudioFault, Reason

# Largest error of a tone: half a quantisation step, or the coding error of a lossy codec.
TOLERANCE = {"WAV/PCM_U8": 0.02, "OGG/VORBIS": 0.1, "OGG/OPUS": 0.1, "MP3/MPEG_LAYER_III": 0.1}


class TestSamples:
    @pytest.mark.parametrize(("coding", "rate"), WRITABLE)
    def test_a_tone_keeps_its_timing_and_level(self, encode, coding, rate):
        samples = tone(1.3, rate)
        decoded = decode_bytes(encode(samples, rate, coding))
        assert decoded.format == coding
        assert (decoded.sample_rate, decoded.channels) == (rate, 1)
        assert decoded.duration_s == pytest.approx(1.3)
        assert decoded.samples.dtype == np.float32
        assert abs(len(decoded.samples) - len(samples) * SAMPLE_RATE / rate) <= 1
        # Comparing samples finds a delay or a change of pitch. The ends ring.
        inner = slice(800, 20_000)
        error = np.abs(decoded.samples - without_dc(tone(1.4))[: len(decoded.samples)])[inner].max()
        assert error < TOLERANCE.get(coding, 1e-4)

    @pytest.mark.parametrize("coding", [*LOSSLESS, "OGG/VORBIS", "OGG/OPUS"])
    @pytest.mark.parametrize("channels", [2, 5])
    def test_the_mixdown_is_the_mean_of_all_channels(self, encode, coding, channels):
        levels = np.linspace(0.2, 1.0, channels)
        decoded = decode_bytes(encode(tone(0.5, 48_000)[:, None] * levels, 48_000, coding))
        assert decoded.channels == channels
        assert decoded.duration_s == pytest.approx(0.5)
        expected = without_dc(tone(0.5, amplitude=0.5 * levels.mean()))
        error = np.abs(decoded.samples - expected)[800:-800].max()
        assert error < TOLERANCE.get(coding, 1e-4)

    def test_stereo_mp3_is_mixed_to_the_mean(self, encode):
        decoded = decode_bytes(encode(tone(1.0, 44_100)[:, None] * [1.0, 0.5], 44_100, "MP3/MPEG_LAYER_III"))
        assert decoded.channels == 2
        assert np.abs(decoded.samples - tone(1.0, amplitude=0.375))[800:-800].max() < 0.1

    @pytest.mark.parametrize("coding", ["WAV/PCM_16", "FLAC/PCM_16", "AIFF/PCM_16", "WAV/FLOAT"])
    def test_lossless_samples_at_16_khz_are_unchanged(self, encode, coding):
        samples = np.round(noise(2_000) * 32_768) / 32_768
        expected = without_dc(samples.astype(np.float32))
        assert np.array_equal(decode_bytes(encode(samples, coding=coding)).samples, expected)

    def test_float_samples_beyond_full_scale_are_kept(self, encode):
        decoded = decode_bytes(encode(tone(0.2, amplitude=4.0), coding="WAV/FLOAT"))
        assert decoded.samples.max() == pytest.approx(4.0, abs=0.1)
        assert decoded.facts.peak_dbfs == pytest.approx(12.04, abs=0.06)

    @pytest.mark.parametrize("rate", [22_050, 24_000, 32_000, 96_000, 11_025])
    def test_resampling_does_not_alias_frequencies_above_8_khz(self, encode, rate):
        samples = tone(1.0, rate) + (tone(1.0, rate, hertz=0.45 * rate) if rate > 20_000 else 0)
        expected = without_dc(tone(1.0))
        error = np.abs(decode_bytes(encode(samples, rate, "WAV/FLOAT")).samples[800:-800] - expected[800:-800])
        assert error.max() < 1e-3


class TestBlocks:
    @pytest.mark.parametrize("coding", ["WAV/FLOAT", "FLAC/PCM_16", "OGG/VORBIS", "MP3/MPEG_LAYER_III"])
    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_reading_in_blocks_equals_reading_at_once(self, encode, monkeypatch, coding, rate, channels):
        # In an MP3 of a tone, frames share their bits: none can be decoded without those before it.
        data = encode(tone(3.7, rate)[:, None] * np.linspace(1.0, 0.5, channels), rate, coding)
        whole = decode_bytes(data)
        monkeypatch.setattr(decode_module, "BLOCK_S", 1)
        parts = decode_bytes(data)
        np.testing.assert_allclose(parts.samples, whole.samples, atol=1e-5)
        assert parts.duration_s == whole.duration_s
        for name in ("peak_dbfs", "rms_dbfs", "clipped_ratio", "dc_offset", "silence_ratio", "noise_floor_snr_db"):
            assert getattr(parts.facts, name) == pytest.approx(getattr(whole.facts, name), abs=1e-4), name

    @pytest.mark.parametrize("rate", [16_000, 44_100])
    def test_a_recording_that_ends_near_a_block_border_keeps_its_length(self, encode, monkeypatch, rate):
        monkeypatch.setattr(decode_module, "BLOCK_S", 1)
        for samples in (2 * rate - 1, 2 * rate, 2 * rate + 1):
            decoded = decode_bytes(encode(noise(samples), rate))
            assert decoded.duration_s == samples / rate
            assert abs(len(decoded.samples) - samples * SAMPLE_RATE / rate) <= 1

    def test_a_thousand_channels_are_read_in_blocks_of_bounded_size(self, encode, monkeypatch):
        lengths = []
        real = soundfile.SoundFile.read
        monkeypatch.setattr(soundfile.SoundFile, "read", lambda s, n, **how: lengths.append(n) or real(s, n, **how))
        samples = np.repeat(noise(20_000)[:, np.newaxis], 1000, axis=1).astype(np.float32)
        decoded = decode(io.BytesIO(encode(samples, 384_000)))
        assert decoded.channels == 1000
        assert max(lengths) * 1000 <= BLOCK_SAMPLES


class TestDamage:
    @pytest.mark.parametrize("keep", [0.05, 0.3, 0.5, 0.7, 0.95, 0.999])
    def test_a_truncated_flac_file_is_detected(self, encode, keep):
        data = encode(noise(40_000), coding="FLAC/PCM_16")
        assert fault_of(data[: round(len(data) * keep)]).reason in {Reason.TRUNCATED, Reason.CORRUPT}

    def test_an_mp3_file_shorter_than_its_header_states_is_truncated(self, encode):
        data = encode(noise(20_000), coding="MP3/MPEG_LAYER_III")
        assert fault_of(data[: len(data) // 2]).reason == Reason.TRUNCATED

    def test_a_damaged_flac_frame_is_corrupt(self, encode):
        data = bytearray(encode(noise(40_000), coding="FLAC/PCM_16"))
        data[len(data) // 2 : len(data) // 2 + 8] = bytes(8)
        assert fault_of(bytes(data)).reason == Reason.CORRUPT


@given(
    coding=st.sampled_from(
        ["WAV/PCM_16", "WAV/FLOAT", "FLAC/PCM_16", "OGG/VORBIS", "MP3/MPEG_LAYER_III", "AIFF/PCM_16"]
    ),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    keep=st.floats(0.3, 1.0),
)
def test_a_damaged_file_is_decoded_or_raises_a_fault(encode, coding, changes, keep):
    data = bytearray(encode(noise(4_000, 2), coding=coding))
    for position, value in changes:
        # Keep the header: a sampling rate of 1 Hz is legal, and slow.
        data[64 + int(position * (len(data) - 65))] = value
    try:
        decoded = decode_bytes(bytes(data[: round(len(data) * keep)]))
    except AudioFault:
        return
    assert np.isfinite(decoded.samples).all()
    assert len(decoded.samples) >= 512


class TestSpansBehindASeek:
    """Spans that start more than `MIN_SEEK_S` after the position in the file."""

    FIRST, FAR = Span(0.5, 1.5), Span(20.0, 21.0)

    def results(self, data: bytes, *spans: Span) -> list[Decoded | AudioFault]:
        results = {index: result for index, _, result in decode_spans(io.BytesIO(data), spans)}
        return [results[index] for index in range(len(spans))]

    @pytest.mark.parametrize(
        "coding",
        ["FLAC/PCM_16", "WAV/PCM_16", "WAV/GSM610", "WAV/IMA_ADPCM", "AU/G721_32", "OGG/VORBIS", "AIFF/PCM_16"],
    )
    def test_a_far_span_equals_the_same_part_of_the_whole_recording(self, encode, coding):
        rate = 8_000 if "GSM" in coding else SAMPLE_RATE
        data = encode(noise(24 * rate), rate, coding)
        (far,) = self.results(data, self.FAR)
        assert isinstance(far, Decoded)
        whole = decode_bytes(data).samples[20 * SAMPLE_RATE : 21 * SAMPLE_RATE]
        # The high-pass settles within the first samples of a span.
        atol = 2e-3 if rate != SAMPLE_RATE else 1e-4
        np.testing.assert_allclose(far.samples[4_000:-1_000], whole[4_000:-1_000], atol=atol)

    @pytest.mark.parametrize("keep", [0.5, 0.8])
    def test_a_span_behind_the_truncation_is_a_fault_and_others_are_decoded(self, encode, keep):
        data = encode(noise(80 * SAMPLE_RATE), coding="FLAC/PCM_16")
        first, far = self.results(data[: round(len(data) * keep)], self.FIRST, Span(70.0, 71.0))
        assert isinstance(first, Decoded)
        assert isinstance(far, AudioFault)

    def test_damage_within_one_span_does_not_affect_earlier_spans(self, encode):
        data = bytearray(encode(noise(80 * SAMPLE_RATE), coding="FLAC/PCM_16"))
        middle = len(data) // 2
        data[middle : middle + 20_000] = bytes(20_000)
        first, hit, far = self.results(bytes(data), self.FIRST, Span(39.0, 41.0), Span(70.0, 71.0))
        assert isinstance(first, Decoded)
        assert isinstance(hit, AudioFault)
        assert isinstance(far, AudioFault)  # libsndfile reads no further

    def test_yielded_spans_are_freed(self, encode):
        data = encode(noise(120 * SAMPLE_RATE), coding="WAV/PCM_16")
        spans = [Span(i, i + 1.0) for i in range(120)]
        alive: weakref.WeakSet = weakref.WeakSet()
        most = 0
        for _, _, decoded in decode_spans(io.BytesIO(data), spans):
            assert isinstance(decoded, Decoded)
            alive.add(decoded.waveform)
            del decoded
            gc.collect()
            most = max(most, len(alive))
        assert most <= BLOCK_S + 1  # the spans of one block

    def test_each_span_may_select_its_own_channels(self, encode):
        data = encode(np.stack([noise(40_000), tone(2.5)], axis=1))
        decoded = decode_spans(io.BytesIO(data), [Span(0, 1), Span(0, 1), Span(1, 2)], ["mix", "1", "each"])
        assert {(index, channel) for index, channel, _ in decoded} == {(0, None), (1, 1), (2, 0), (2, 1)}


class TestManySpans:
    @settings(max_examples=15)
    @given(
        rate=st.sampled_from([8_000, SAMPLE_RATE, 22_050]),
        block_s=st.integers(1, 3),
        cuts=st.lists(st.tuples(st.floats(0, 5.5), st.floats(0.1, 4.0)), min_size=1, max_size=6),
    )
    def test_a_span_equals_the_same_samples_in_a_file_of_their_own(self, encode, rate, block_s, cuts):
        samples = noise(6 * rate, 2)
        spans = [Span(start_s, min(start_s + length_s, 6.0)) for start_s, length_s in cuts]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decode_module, "BLOCK_S", block_s)
            results = dict(enumerate(spans))
            for index, _, decoded in decode_spans(io.BytesIO(encode(samples, rate)), spans, MIX):
                assert isinstance(decoded, Decoded)
                span = results.pop(index)
                part = samples[round(span.start_s * rate) : round(span.end_s * rate)]
                alone = decode(io.BytesIO(encode(part, rate)), channels=MIX)
                np.testing.assert_allclose(decoded.samples, alone.samples, atol=1e-5)
                assert decoded.facts.bandwidth_hz == alone.facts.bandwidth_hz
        assert not results

    def test_only_open_spans_have_a_resampler(self, encode, monkeypatch):
        monkeypatch.setattr(decode_module, "BLOCK_S", 1)
        alive: weakref.WeakSet = weakref.WeakSet()

        class Counted:
            def __init__(self, *arguments: object, **named: object) -> None:
                self._stream = soxr.ResampleStream(*arguments, **named)
                self.resample_chunk = self._stream.resample_chunk
                alive.add(self)

        monkeypatch.setattr(span_reader, "soxr", SimpleNamespace(ResampleStream=Counted))
        data = encode(noise(10 * 8_000), 8_000)
        most = 0
        for _, _, decoded in decode_spans(io.BytesIO(data), [Span(i / 4, (i + 1) / 4) for i in range(40)]):
            assert isinstance(decoded, Decoded)
            most = max(most, len(alive))
        assert 0 < most <= 7  # the spans of one block

    def test_spans_take_little_memory_before_they_begin(self, encode):
        data = encode(noise(2 * 44_100, 2), 44_100)
        spans = [Span(10 + i, 11 + i) for i in range(5_000)]
        tracemalloc.start()
        try:
            results = [result for _, _, result in decode_spans(io.BytesIO(data), [Span(0, 2), *spans])]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert sum(isinstance(result, AudioFault) for result in results) == len(spans)
        assert peak < 40e6
