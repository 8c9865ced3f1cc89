"""Recordings that FFmpeg reads have the length and the samples of the encoded signal; damaged ones are faults."""

from __future__ import annotations

import errno
import io
import os
import sys

import numpy as np
import pytest
import soundfile
from scipy.signal import correlate

from tests.support.decoding import as_wav, decode_bytes, fault_of, noise, read_samples, speech_like, tone
from tests.support.media import MEDIA, encode_media, encode_video, flac_of_bits
from transforms.audio.decode import decode, decode_spans
from transforms.decoders.containers import container_of
from transforms.decoders.media_sound import MAX_CHANNELS, MediaSound
from transforms.decoders.sound import open_sound
from transforms.elements import Span
from transforms.errors import AudioFault, Reason

RATES = [8_000, 16_000, 44_100, 48_000]
# Rates and channels that an encoder does not take.
LIMITS = {"amr": ([8_000], [1]), "webm": ([8_000, 16_000, 48_000], [1, 2]), "ac3": ([44_100, 48_000], [1, 2])}
CASES = [
    (kind, rate, channels)
    for kind in MEDIA
    for rate in LIMITS.get(kind, (RATES, []))[0]
    for channels in LIMITS.get(kind, ([], [1, 2]))[1]
]
# Delay and padding that the container does not state: most frames of the codec, and samples in a frame.
UNSTATED = {"aac": (3, 1_024), "ts": (3, 1_024), "wma": (1, 2_048), "amr": (2, 160), "ac3": (2, 1_536)}
LOSSLESS = ["alac", "mka", "oga", "wv", "tta"]


def rate_of(kind: str) -> int:
    return {"amr": 8_000, "ac3": 48_000}.get(kind, 16_000)


def encoded(kind: str, seconds: float = 2.0, **options) -> bytes:
    return encode_media(speech_like(seconds, rate_of(kind)), rate_of(kind), kind, **options)


class TestSamples:
    @pytest.mark.parametrize(("kind", "rate", "channels"), CASES)
    def test_the_length_is_exact_and_the_samples_are_in_time(self, kind, rate, channels):
        samples = speech_like(1.37, rate, channels)
        sound = open_sound(io.BytesIO(encode_media(samples, rate, kind)))
        assert f"{sound.format}/{sound.subtype}" == MEDIA[kind][2]
        assert sound.channels == channels
        decoded = sound.read_block(10 * sound.samplerate)
        assert sound.truncation(len(decoded)) is None
        frames, frame = UNSTATED.get(kind, (0, 0))
        assert abs(len(decoded) * rate / sound.samplerate - len(samples)) <= frames * frame
        if sound.samplerate == rate:
            length = min(len(decoded), len(samples))
            apart = correlate(decoded[:length, 0], samples[:length, 0])
            delay = int(np.argmax(apart)) - (length - 1)
            assert abs(delay) <= frames * frame
            if kind not in UNSTATED:
                assert delay == 0
        if kind in LOSSLESS:
            assert np.abs(decoded - samples).max() <= 2**-15

    @pytest.mark.parametrize("samples", [16_000, 20_001, 33_333, 44_101])
    @pytest.mark.parametrize("kind", ["m4a", "mp4", "webm"])
    def test_delay_and_padding_of_any_length_are_left_out(self, kind, samples):
        rate = 48_000 if kind == "webm" else 44_100
        sound = open_sound(io.BytesIO(encode_media(noise(samples), rate, kind)))
        assert len(sound.read_block(200_000)) == samples

    @pytest.mark.parametrize(
        "options",
        [
            {"movflags": "faststart"},
            {"movflags": "frag_keyframe+empty_moov+default_base_moof+delay_moov", "frag_duration": "300000"},
        ],
        ids=["start", "fragments"],
    )
    @pytest.mark.parametrize("kind", ["m4a", "alac"])
    def test_all_layouts_of_mp4_have_the_same_samples(self, kind, options):
        expected = decode_bytes(encoded(kind))
        decoded = decode_bytes(encoded(kind, options=options))
        assert np.array_equal(decoded.samples, expected.samples)

    @pytest.mark.parametrize("kind", MEDIA)
    def test_a_stream_may_start_late(self, kind):
        frames, frame = UNSTATED.get(kind, (2, 1_024))
        expected = pytest.approx(2.0, abs=(frames + 1) * frame / rate_of(kind))
        assert decode_bytes(encoded(kind, start_s=3.0)).duration_s == expected

    @pytest.mark.parametrize("kind", ["webm", "mka"])
    def test_a_live_stream_without_a_length_is_complete(self, kind):
        data = encoded(kind, options={"live": "1"})
        assert decode_bytes(data).duration_s == pytest.approx(2.0)

    @pytest.mark.parametrize("bits", [12, 20])
    def test_flac_with_unusual_bits_is_decoded_without_loss(self, bits):
        samples = np.random.default_rng(0).integers(-(1 << bits - 2), 1 << bits - 2, 9_000)
        data = flac_of_bits(samples, 16_000, bits)
        assert decode_bytes(data).format == f"FLAC/PCM_{bits}"
        assert np.array_equal(read_samples(data)[:, 0], (samples / (1 << bits - 1)).astype(np.float32))

    @pytest.mark.parametrize("channels", [6, 8])
    def test_many_channels_are_read(self, channels):
        samples = noise(9_000, channels)
        assert np.abs(read_samples(encode_media(samples, 48_000, "mka")) - samples).max() <= 2**-15

    @pytest.mark.parametrize("kind", ["m4a", "webm"])
    def test_planes_of_eight_channels_are_read(self, kind):
        levels = np.linspace(0.2, 1.0, 8)
        samples = read_samples(encode_media(tone(0.5, 48_000)[:, np.newaxis] * levels, 48_000, kind))
        ratio = samples.std(axis=0) / (levels * tone(0.5).std())
        assert np.delete(ratio, 3) == pytest.approx(np.ones(7), abs=0.05)  # the fourth is for low tones

    def test_blocks_join_without_a_gap(self, monkeypatch):
        for kind in MEDIA:
            data = encoded(kind)
            whole = decode_bytes(data)
            monkeypatch.setattr("transforms.audio.decode.BLOCK_S", 1)
            np.testing.assert_allclose(decode_bytes(data).samples, whole.samples, atol=1e-5)
            monkeypatch.undo()

    @pytest.mark.parametrize("container", ["mpegts", "mpeg", "matroska", "avi"])
    def test_mp2_is_read(self, container):
        decoded = decode_bytes(encode_media(speech_like(2.0, 48_000), 48_000, (container, "mp2")))
        assert decoded.duration_s == pytest.approx(2.0, abs=0.1)

    @pytest.mark.parametrize("rate", [8_000, 16_000])
    def test_alac_in_caf_is_complete(self, rate):
        assert decode_bytes(encode_media(noise(20_001), rate, ("caf", "alac"))).duration_s == 20_001 / rate

    def test_wavpack_in_matroska_is_complete(self):
        data = encode_media(noise(50_001), 16_000, ("matroska", "wavpack"), sample_format="s16p")
        assert decode_bytes(data).duration_s == 50_001 / 16_000

    def test_wma_from_a_pipe_states_no_length(self):
        data = bytearray(encoded("wma", 9.0))
        at = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
        data[at + 56 : at + 80] = bytes(24)  # number of packets, and durations
        data[at + 88] |= 1
        assert decode_bytes(bytes(data)).duration_s == pytest.approx(9.0, abs=0.13)

    def test_a_tag_before_aac_is_skipped(self):
        data = encoded("aac")
        assert np.array_equal(
            decode_bytes(b"ID3\x03\0\0\0\0\x10\x00" + bytes(2_048) + data).samples, decode_bytes(data).samples
        )


class TestStreams:
    @pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "avi", "mov", "3gp"])
    def test_the_sound_of_a_video_is_decoded(self, container):
        decoded = decode_bytes(encode_video(tone(1.5), 16_000, container))
        assert decoded.duration_s == pytest.approx(1.5, abs=0.13)
        assert decoded.facts.peak_dbfs == pytest.approx(-6.0, abs=0.5)

    @pytest.mark.parametrize("container", ["mp4", "matroska"])
    @pytest.mark.parametrize("default", [0, 1])
    def test_the_default_stream_is_chosen(self, container, default):
        decoded = decode_bytes(encode_video(tone(1.5), 16_000, container, default=default, tracks=2))
        assert decoded.facts.peak_dbfs == pytest.approx(-6.0, abs=0.5)

    def test_a_video_without_sound_is_unsupported(self):
        fault = fault_of(encode_video(tone(1.5), 16_000, "mp4", tracks=0))
        assert (fault.reason, fault.detail) == (
            Reason.UNSUPPORTED_FORMAT,
            "it is MP4 (M4A, AAC, ALAC) without an audio stream",
        )

    @pytest.mark.parametrize("rates", [(16_000, 44_100), (44_100, 16_000)])
    def test_a_new_rate_within_the_stream_is_resampled(self, rates):
        decoded = decode_bytes(b"".join(encode_media(tone(1.0, rate), rate, "aac") for rate in rates))
        assert decoded.sample_rate == rates[0]
        assert decoded.duration_s == pytest.approx(2.0, abs=0.2)
        late = np.abs(np.fft.rfft(decoded.samples[-9_000:-1_000]))
        assert np.argmax(late) * 2 == 440

    @pytest.mark.parametrize("channels", [(1, 2), (2, 1), (6, 2), (2, 6)])
    def test_other_channels_within_the_stream_are_mixed(self, channels):
        parts = [encode_media(np.repeat(tone(1.0, 48_000)[:, None], n, axis=1), 48_000, "ac3") for n in channels]
        decoded = decode_bytes(b"".join(parts))
        assert decoded.channels == channels[0]
        assert decoded.duration_s == pytest.approx(2.0, abs=0.1)

    @pytest.mark.parametrize("coding", ["OGG/VORBIS", "OGG/OPUS"])
    def test_streams_in_a_row_are_all_read(self, encode, coding):
        first, second = encode(tone(1.0, 48_000), 48_000, coding), encode(tone(2.0, 48_000), 48_000, coding)
        assert decode_bytes(first + second).duration_s == pytest.approx(3.0, abs=0.01)

    @pytest.mark.parametrize("coding", ["OGG/VORBIS", "OGG/OPUS"])
    def test_copies_of_a_stream_in_a_row_are_all_read(self, encode, coding):
        data = encode(tone(1.0, 48_000), 48_000, coding)
        assert decode_bytes(data + data + data).duration_s == pytest.approx(3.0, abs=0.1)

    def test_streams_of_vorbis_with_unlike_rates_are_not_cut(self, encode):
        data = encode(tone(1.0, 48_000), 48_000, "OGG/VORBIS") + encode(tone(1.0), coding="OGG/VORBIS")
        assert fault_of(data).reason in {Reason.CORRUPT, Reason.TRUNCATED}


class TestDamage:
    @pytest.mark.parametrize("kind", [kind for kind in MEDIA if kind not in ("ac3", "ts")])
    @pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
    def test_a_truncated_file_is_a_fault(self, kind, keep):
        data = encoded(kind, 5.0)
        end = round(len(data) * keep)
        end += kind == "amr" and (end - 6) % 13 == 0  # else it would end after a frame
        fault = fault_of(data[:end])
        if kind == "wv" or (kind, keep) == ("tta", 0.3):
            assert fault.reason in {Reason.TRUNCATED, Reason.CORRUPT}  # no frame is complete
        else:
            assert fault.reason == Reason.TRUNCATED

    @pytest.mark.parametrize("kind", ["m4a", "alac", "wma", "webm", "mka", "oga", "aac", "amr"])
    def test_one_missing_byte_is_detected(self, kind):
        assert fault_of(encoded(kind)[:-1]).reason == Reason.TRUNCATED

    @pytest.mark.parametrize("kind", ["webm", "mka"])
    @pytest.mark.parametrize("missing", [1, 100, 3_000])
    def test_a_live_stream_that_ends_within_a_block_is_truncated(self, kind, missing):
        data = encoded(kind, options={"live": "1"})
        fault = fault_of(data[:-missing])
        assert (fault.reason, fault.detail) == (Reason.TRUNCATED, "the file ends within a block")

    @pytest.mark.parametrize("size", [0, -1])
    def test_caf_of_unknown_length_is_read_to_its_end(self, encode, size):
        data = bytearray(encode(noise(16_001), coding="CAF/PCM_16"))
        at = data.index(b"data") + 4
        data[at : at + 8] = size.to_bytes(8, "big", signed=True)
        assert decode_bytes(bytes(data)).duration_s == 16_001 / 16_000

    @pytest.mark.parametrize("kind", ["alac", "aac", "mka", "webm"])
    def test_zeros_within_the_file_are_detected(self, kind):
        data = encoded(kind, 5.0)
        middle = len(data) // 2
        fault = fault_of(data[:middle] + bytes(600) + data[middle + 600 :])
        assert fault.reason in {Reason.CORRUPT, Reason.TRUNCATED}

    @pytest.mark.parametrize("kind", ["m4a", "alac", "aac", "wma", "webm", "mka", "oga", "wv", "tta", "ts"])
    def test_a_tag_at_the_end_is_ignored(self, kind):
        data = encoded(kind)
        assert np.array_equal(decode_bytes(data + b"TAG" + bytes(125)).samples, decode_bytes(data).samples)

    @pytest.mark.parametrize(
        "head", [b"\0\0\0\x1cftypM4A \0\0\x02\0", b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01", b"wvpk", b"#!AMR\n"]
    )
    def test_a_head_without_a_recording_is_a_fault(self, head):
        fault = fault_of(head + bytes(range(256)) * 20)
        assert fault.reason in {Reason.CORRUPT, Reason.UNSUPPORTED_FORMAT, Reason.TRUNCATED}

    def test_metadata_that_are_no_text_are_ignored(self):
        data = encoded("mka")
        at = data.index(b"Lavf")
        assert decode_bytes(data[:at] + b"\xff\xfe\xfd\xfc" + data[at + 4 :]).duration_s == pytest.approx(2.0)

    def test_ffmpeg_prints_nothing(self, capfd):
        for kind in MEDIA:
            data = bytearray(encoded(kind))
            data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
            for content in (bytes(data), bytes(data[: len(data) // 3])):
                list_results(content)
        captured = capfd.readouterr()
        assert (captured.out, captured.err) == ("", "")

    def test_playlists_open_no_other_file(self, tmp_path):
        (tmp_path / "a.wav").write_bytes(encoded("wv"))
        for text in (f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/a.wav\n", f"ffconcat version 1.0\nfile {tmp_path}/a.wav\n"):
            assert fault_of(text.encode() * 50).reason == Reason.UNSUPPORTED_FORMAT


def list_results(data: bytes) -> list:
    try:
        return list(decode_spans(io.BytesIO(data)))
    except AudioFault as fault:
        return [fault]


class TestLimits:
    def test_a_recording_longer_than_the_limit_is_too_long(self):
        with pytest.raises(AudioFault) as caught:
            decode(io.BytesIO(encoded("m4a", 3.0)), max_s=2.5)
        assert caught.value.reason == Reason.TOO_LONG

    def test_a_rate_beyond_the_limits_is_unsupported(self):
        data = bytearray(encoded("tta"))
        data[10:14] = (1_000_000).to_bytes(4, "little")
        assert fault_of(bytes(data)).reason in {Reason.UNSUPPORTED_RATE, Reason.CORRUPT}

    def test_hundreds_of_channels_are_unsupported(self):
        samples = np.repeat(noise(2_000)[:, np.newaxis], 8, axis=1)
        data = bytearray(encode_media(samples, 16_000, ("wav", "pcm_s16le")))
        data[22:24] = (MAX_CHANNELS + 1).to_bytes(2, "little")
        container = container_of(io.BytesIO(bytes(data)))
        with pytest.raises(AudioFault, match=f"has {MAX_CHANNELS + 1} channels"):
            MediaSound(io.BytesIO(bytes(data)), container)


class TestSpans:
    @pytest.mark.parametrize("kind", MEDIA)
    def test_a_late_span_is_the_same_part_of_the_whole(self, kind):
        data = encoded(kind, 14.0)
        spans = [Span(1, 2), Span(11.0, 13.0), Span(30, 31)]
        early, late, outside = (result for _, _, result in decode_spans(io.BytesIO(data), spans))
        expected = [result for _, _, result in decode_spans(io.BytesIO(as_wav(data)), spans)]
        assert np.array_equal(early.samples, expected[0].samples)
        assert np.array_equal(late.samples, expected[1].samples)
        assert (outside.reason, outside.detail) == (Reason.OUTSIDE, expected[2].detail)


class FailsAt(io.BytesIO):
    """A file whose bytes from `at` on cannot be read."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data)
        self.at = at

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() + (size or 0) > self.at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


@pytest.mark.parametrize("share", [0.2, 0.6])
@pytest.mark.parametrize("kind", ["m4a", "alac", "aac", "wma", "webm", "mka", "oga", "wv", "amr"])
def test_a_read_error_is_raised_and_not_taken_for_the_end(kind, share, capfd):
    data = encoded(kind, 40.0)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        list(decode_spans(FailsAt(data, round(len(data) * share))))
    assert not capfd.readouterr().err


@pytest.mark.parametrize("kind", MEDIA)
def test_without_the_extra_the_fault_names_it(kind, monkeypatch):
    data = encoded(kind)
    monkeypatch.setitem(sys.modules, "av", None)
    fault = fault_of(data)
    assert fault.reason == Reason.UNSUPPORTED_FORMAT
    assert "pip install 'audiosieve[media]'" in fault.detail


def test_without_the_extra_chains_and_unusual_flac_name_it(encode, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    chain = encode(tone(1.0), coding="OGG/VORBIS") + encode(tone(1.0), coding="OGG/OPUS")
    for data in (chain, flac_of_bits(np.arange(9_000), 16_000, 20)):
        assert "pip install 'audiosieve[media]'" in fault_of(data).detail


class TestIntegers:
    @pytest.mark.parametrize(("kind", "bits"), [("alac", 16), ("oga", 16), ("tta", 16), ("m4a", None), ("webm", None)])
    def test_samples_are_read_as_integers_without_loss(self, kind, bits):
        data = encoded(kind)
        sound = open_sound(io.BytesIO(data))
        assert sound.bits == bits
        if bits:
            samples = sound.read_block(100_000, "int16")
            floats = open_sound(io.BytesIO(data)).read_block(100_000)
            assert samples.dtype == np.int16
            assert np.array_equal(samples / 2**15, floats)
            assert np.array_equal(
                open_sound(io.BytesIO(data)).read_block(100_000, "int32"), samples.astype(np.int32) << 16
            )

    @pytest.mark.parametrize("bits", [12, 20])
    def test_flac_with_unusual_bits_states_them(self, bits):
        sound = open_sound(io.BytesIO(flac_of_bits(np.arange(-999, 999), 16_000, bits)))
        assert sound.bits == bits

    def test_alac_of_24_bits_states_them(self):
        data = encode_media(noise(9_000), 16_000, "alac", sample_format="s32p")
        assert open_sound(io.BytesIO(data)).bits == 24


def test_a_file_name_does_not_matter(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(encoded("m4a"))
    with path.open("rb") as file:
        assert decode(file).format == "MP4/AAC"
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.info(path)
