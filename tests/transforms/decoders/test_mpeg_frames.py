"""MP3 is read to its last frame, whether or not a header states its length."""

from __future__ import annotations

import io

import numpy as np
import pytest

from model.features import SAMPLE_RATE
from tests.support.decoding import as_wav, decode_bytes, fault_of, noise, tone
from tests.support.media import encode_media
from transforms.audio.decode import decode, decode_spans
from transforms.audio.span_reader import Decoded
from transforms.decoders.mpeg_frames import FrameHeader, MpegFrames
from transforms.elements import Span
from transforms.errors import AudioFault, Reason

MP3 = ("mp3", "libmp3lame")
MP2 = ("mp2", "mp2")
RATES = [8_000, 16_000, 22_050, 44_100, 48_000]
VBR = {"flags": "+qscale", "global_quality": str(4 * 118)}


def mp3(seconds: float, rate: int = SAMPLE_RATE, channels: int = 1, *, header: bool = False, **codec: str) -> bytes:
    """Encodes noise that fades, so that a variable bit rate varies."""
    samples = (
        noise(round(seconds * rate), channels, seed=rate) * np.linspace(1, 0.01, round(seconds * rate))[:, np.newaxis]
    )
    options = {"write_xing": str(int(header)), "id3v2_version": "0"}
    return encode_media(samples, rate, MP3, options, 0 if codec else 64_000, **codec)


def num_samples(data: bytes) -> int:
    """Counts the samples of all frames of an MP3 that starts with a frame and holds nothing else."""
    at = total = 0
    while header := FrameHeader.parse(data, at):
        at, total = at + header.length, total + header.samples
    assert at == len(data)
    return total


def id3v2(size: int) -> bytes:
    return b"ID3\x03\0\0\0\0" + bytes([size >> 7, size & 127]) + bytes(size)


class TestLength:
    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("channels", [1, 2])
    @pytest.mark.parametrize("codec", [{}, VBR], ids=["cbr", "vbr"])
    def test_without_a_header_all_frames_are_decoded(self, rate, channels, codec, capfd):
        data = mp3(6.3, rate, channels, **codec)
        decoded = decode_bytes(data)
        assert decoded.format == "MP3/MPEG_LAYER_III"
        assert round(decoded.duration_s * rate) == num_samples(data)
        assert 0 <= num_samples(data) - 6.3 * rate < 4 * 1152
        assert not capfd.readouterr().err

    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("codec", [{}, VBR], ids=["cbr", "vbr"])
    def test_with_a_header_delay_and_padding_are_left_out(self, rate, codec):
        assert decode_bytes(mp3(3.21, rate, header=True, **codec)).duration_s * rate == pytest.approx(
            round(3.21 * rate)
        )

    def test_the_samples_are_those_of_the_same_file_with_a_header(self):
        # The first samples of the longer one would move the start of the high-pass.
        expected = decode(io.BytesIO(mp3(3.0, header=True)), keep_dc=True).samples
        samples = decode(io.BytesIO(mp3(3.0)), keep_dc=True).samples
        delay = 1_105  # of LAME
        np.testing.assert_allclose(samples[delay + 1152 : delay + 40_000], expected[1152:40_000], atol=1e-4)

    @pytest.mark.parametrize("rate", [16_000, 44_100])
    def test_layer_2_is_read_to_its_end(self, rate):
        data = encode_media(noise(3 * rate), rate, MP2, bit_rate=64_000)
        assert round(decode_bytes(data).duration_s * rate) == num_samples(data)

    @pytest.mark.parametrize("header", [True, False])
    def test_mp3_in_wav_is_read_to_its_end(self, header):
        options = {"write_xing": str(int(header))}
        data = encode_media(noise(6 * 44_100), 44_100, ("wav", "libmp3lame"), options, 64_000)
        decoded = decode_bytes(data)
        assert decoded.format == "WAV/MPEG_LAYER_III"
        assert decoded.duration_s == pytest.approx(6.0, abs=0.1)

    def test_frames_of_no_stated_bit_rate_are_complete(self):
        data = bytearray(mp3(6.3))
        whole = num_samples(bytes(data))
        at = 0
        while header := FrameHeader.parse(data, at):
            data[at + 2] &= 0x0F
            at += header.length
        assert round(decode_bytes(bytes(data)).duration_s * SAMPLE_RATE) == whole

    def test_blocks_join_without_a_gap(self, monkeypatch):
        data = mp3(5.0, 44_100, 2)
        whole = decode_bytes(data)
        monkeypatch.setattr("transforms.audio.decode.BLOCK_S", 1)
        np.testing.assert_allclose(decode_bytes(data).samples, whole.samples, atol=1e-5)

    def test_a_header_that_states_another_number_of_frames_is_not_trusted(self):
        data = bytearray(mp3(3.0, header=True))
        at = data.index(b"Info") + 8
        assert data[at - 4 : at] == b"\0\0\0\x0f"
        data[at - 1] = 0x0E  # no number of frames
        assert decode_bytes(bytes(data)).duration_s >= 3.0

    def test_recordings_in_a_row_are_all_read(self):
        first, second = mp3(2.0, header=True), mp3(3.0, header=True)
        assert decode_bytes(first + second).duration_s == pytest.approx(5.0, abs=0.3)
        assert decode_bytes(first + id3v2(300) + second).duration_s == pytest.approx(5.0, abs=0.3)


class TestOtherBytes:
    @pytest.mark.parametrize(
        "tail",
        [
            b"TAG" + b"x" * 125,
            b"APETAGEX" + bytes(24) + b"x" * 3_000 + b"APETAGEX" + bytes(24),
            np.random.default_rng(0).bytes(500),
            np.random.default_rng(1).bytes(50_000),
            bytes(3_000_000),
            b"\xff",
        ],
        ids=["id3v1", "ape", "junk", "much junk", "zeros", "byte"],
    )
    @pytest.mark.parametrize("codec", [{}, VBR], ids=["cbr", "vbr"])
    def test_bytes_after_the_last_frame_are_ignored(self, tail, codec, capfd):
        data = mp3(2.0, **codec)
        assert np.array_equal(decode_bytes(data + tail).samples, decode_bytes(data).samples)
        assert not capfd.readouterr().err

    @pytest.mark.parametrize("head", [id3v2(5_000), id3v2(200) + id3v2(300), bytes(2_000)], ids=["tag", "two", "zeros"])
    def test_bytes_before_the_first_frame_are_ignored(self, head):
        data = mp3(2.0)
        assert np.array_equal(decode_bytes(head + data).samples, decode_bytes(data).samples)

    def test_a_recording_may_start_within_a_frame(self):
        data = mp3(3.0)
        assert decode_bytes(data[1_000:]).duration_s == pytest.approx(3.0, abs=0.25)

    def test_a_few_damaged_bytes_are_skipped(self):
        data = bytearray(mp3(3.0))
        header = FrameHeader.parse(data)
        data[10 * header.length] = 0  # the first byte of a frame
        assert decode_bytes(bytes(data)).duration_s == pytest.approx(3.0, abs=0.15)

    def test_many_damaged_bytes_are_corrupt(self):
        data = mp3(3.0)
        fault = fault_of(data[:8_000] + bytes(3_000) + data[11_000:])
        assert fault.reason == Reason.CORRUPT
        assert "are no MPEG audio" in fault.detail

    def test_another_sampling_rate_is_corrupt(self):
        fault = fault_of(mp3(1.0, 16_000) + mp3(1.0, 22_050))
        assert fault.reason == Reason.CORRUPT
        assert "from 16000 Hz to 22050 Hz" in fault.detail


class TestTruncation:
    @pytest.mark.parametrize("missing", [1, 20, 100])
    def test_an_end_within_a_frame_is_truncated(self, missing):
        data = mp3(2.0)
        length = FrameHeader.parse(data).length
        fault = fault_of(data[:-missing])
        assert fault.reason == Reason.TRUNCATED
        assert fault.detail == f"the last frame has {length} bytes, of which the file holds {length - missing}"

    def test_an_end_between_frames_is_complete(self):
        data = mp3(2.0)
        rest = data[: -5 * FrameHeader.parse(data).length]
        assert round(decode_bytes(rest).duration_s * SAMPLE_RATE) == num_samples(rest)

    def test_fewer_frames_than_the_header_states_are_truncated(self):
        data = mp3(2.0, header=True)
        assert fault_of(data[: len(data) // 2]).reason == Reason.TRUNCATED

    def test_spans_before_the_truncated_frame_are_decoded(self):
        data = mp3(60.0)[:-10]
        results = [result for _, _, result in decode_spans(io.BytesIO(data), [Span(1, 2), Span(58, None)])]
        assert isinstance(results[0], Decoded)
        assert isinstance(results[1], AudioFault)


class TestSpans:
    @pytest.mark.parametrize("codec", [{}, VBR], ids=["cbr", "vbr"])
    def test_a_span_late_in_the_file_is_the_same_part_of_the_whole(self, codec):
        data = mp3(40.0, **codec)
        span = Span(30.0, 39.5)
        far = decode(io.BytesIO(data), span).samples
        assert len(far) == 9.5 * SAMPLE_RATE
        assert np.array_equal(far, decode(io.BytesIO(as_wav(data)), span).samples)

    def test_a_span_after_the_end_states_the_real_length(self):
        with pytest.raises(AudioFault, match=r"not within the recording of 5\.\d\d s") as caught:
            decode(io.BytesIO(mp3(5.0, **VBR)), Span(20.0, 21.0))
        assert caught.value.reason == Reason.OUTSIDE


class TestFile:
    def test_reading_after_a_seek_returns_the_same_bytes(self):
        data = mp3(20.0)
        assert len(data) > 100_000
        file = MpegFrames(io.BytesIO(id3v2(1_000) + data + bytes(1_000)))
        for place, size in ((0, 10), (90_000, 5_000), (3, 70_000), (50, 7), (len(data) - 5, 100)):
            file.seek(place)
            assert file.read(size) == data[place : place + size]

    @pytest.mark.parametrize("layer", ["II", "III"])
    def test_headers_of_all_encodings_lead_to_the_next_frame(self, layer):
        for rate in (16_000, 22_050, 24_000, 32_000, 44_100, 48_000):
            for bits in (32_000, 64_000, 128_000, 160_000):
                if layer == "II" and rate >= 32_000 and bits == 32_000:
                    continue
                coding = (MP2, {}) if layer == "II" else (MP3, {"write_xing": "0", "id3v2_version": "0"})
                data = encode_media(tone(0.5, rate), rate, coding[0], coding[1], bits)
                assert num_samples(data) >= 0.5 * rate

    def test_text_and_noise_are_no_mpeg_audio(self):
        for data in (b"no sound " * 20_000, np.random.default_rng(0).bytes(200_000), b"\xff\xfb" * 50_000):
            assert not MpegFrames(io.BytesIO(data)).is_audio()
