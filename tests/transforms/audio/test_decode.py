"""Whatever libsndfile reads becomes the same mono 16 kHz samples; whatever it cannot read is a fault."""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import os
import pickle
import struct
import wave
import weakref

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from transforms.audio import decode as decode_module
from transforms.audio.decode import BLOCK_S, BLOCK_SAMPLES, Decoded, decode, decode_spans, read_audio
from transforms.elements import Span
from transforms.errors import AudioFault, Reason, Stage

LOSSLESS = ["WAV/PCM_U8", "WAV/PCM_16", "WAV/PCM_24", "WAV/PCM_32", "WAV/FLOAT", "FLAC/PCM_16", "AIFF/PCM_16"]
LOSSY = ["OGG/VORBIS", "OGG/OPUS", "MP3/MPEG_LAYER_III"]
RATES = [8_000, 16_000, 44_100, 48_000]
WRITABLE = [(coding, rate) for coding in LOSSLESS + LOSSY for rate in RATES if (coding, rate) != ("OGG/OPUS", 44_100)]
# Half a step of the coding; what a lossy coder does to a tone.
TOLERANCE = {"WAV/PCM_U8": 0.02, "OGG/VORBIS": 0.1, "OGG/OPUS": 0.1, "MP3/MPEG_LAYER_III": 0.1}


def tone(seconds: float, rate: int = SAMPLE_RATE, hertz: float = 440.0, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, shape).clip(-1, 1)


def decoded(data: bytes) -> Decoded:
    return decode(io.BytesIO(data))


def fault(data: bytes) -> AudioFault:
    with pytest.raises(AudioFault) as caught:
        decoded(data)
    assert caught.value.stage == Stage.DECODE
    assert caught.value.detail
    return caught.value


class TestSound:
    @pytest.mark.parametrize(("coding", "rate"), WRITABLE)
    def test_a_tone_stays_the_same_tone_in_time_and_level(self, encode, coding, rate):
        samples = tone(1.3, rate)
        found = decoded(encode(samples, rate, coding))
        assert found.format == coding
        assert (found.sample_rate, found.channels) == (rate, 1)
        assert found.duration_s == pytest.approx(1.3)
        assert found.samples.dtype == np.float32
        assert abs(len(found.samples) - len(samples) * SAMPLE_RATE / rate) <= 1
        # Sample by sample, so neither delayed nor of another pitch. Ends ring.
        inner = slice(800, 20_000)
        error = np.abs(found.samples - tone(1.4)[: len(found.samples)])[inner].max()
        assert error < TOLERANCE.get(coding, 1e-4)

    @pytest.mark.parametrize("coding", [*LOSSLESS, "OGG/VORBIS", "OGG/OPUS"])
    @pytest.mark.parametrize("channels", [2, 5])
    def test_the_mixdown_is_the_mean_of_all_channels(self, encode, coding, channels):
        levels = np.linspace(0.2, 1.0, channels)
        found = decoded(encode(tone(0.5, 48_000)[:, None] * levels, 48_000, coding))
        assert found.channels == channels
        assert found.duration_s == pytest.approx(0.5)
        expected = tone(0.5, amplitude=0.5 * levels.mean())
        error = np.abs(found.samples - expected)[800:-800].max()
        assert error < TOLERANCE.get(coding, 1e-4)

    def test_mp3_in_stereo(self, encode):
        found = decoded(encode(tone(1.0, 44_100)[:, None] * [1.0, 0.5], 44_100, "MP3/MPEG_LAYER_III"))
        assert found.channels == 2
        assert np.abs(found.samples - tone(1.0, amplitude=0.375))[800:-800].max() < 0.1

    @pytest.mark.parametrize("coding", ["WAV/PCM_16", "FLAC/PCM_16", "AIFF/PCM_16", "WAV/FLOAT"])
    def test_lossless_16_khz_samples_are_not_touched(self, encode, coding):
        samples = np.round(noise(2_000) * 32_768) / 32_768
        assert np.array_equal(decoded(encode(samples, coding=coding)).samples, samples.astype(np.float32))

    def test_float_samples_beyond_full_scale_are_kept(self, encode):
        found = decoded(encode(tone(0.2, amplitude=4.0), coding="WAV/FLOAT"))
        assert found.samples.max() == pytest.approx(4.0, abs=0.01)
        assert found.facts.peak_dbfs == pytest.approx(12.04, abs=0.01)

    @pytest.mark.parametrize("rate", [22_050, 24_000, 32_000, 96_000, 11_025])
    def test_what_lies_above_8_khz_is_not_folded_back(self, encode, rate):
        samples = tone(1.0, rate) + (tone(1.0, rate, hertz=0.45 * rate) if rate > 20_000 else 0)
        error = np.abs(decoded(encode(samples, rate, "WAV/FLOAT")).samples[800:-800] - tone(1.0)[800:-800])
        assert error.max() < 1e-3

    def test_the_content_decides_and_not_the_name(self, encode, tmp_path):
        for name in ("a.mp3", "a.txt", "a", "a.flac", "a.wav.gz", "a.bz2"):
            (tmp_path / name).write_bytes(encode(tone(0.1)))
            assert read_audio(str(tmp_path / name)).format == "WAV/PCM_16"

    @pytest.mark.parametrize("name", ["a.raw", "A.RAW"])
    def test_a_name_that_ends_in_raw_decides_nothing_either(self, encode, tmp_path, name):
        (tmp_path / name).write_bytes(encode(tone(0.1)))
        assert read_audio(str(tmp_path / name)).format == "WAV/PCM_16"

    def test_text_in_a_file_that_ends_in_raw_is_a_fault(self, tmp_path):
        (tmp_path / "a.raw").write_text("no sound " * 100)
        with pytest.raises(AudioFault, match="unsupported_format"):
            read_audio(str(tmp_path / "a.raw"))

    @pytest.mark.parametrize("name", ["two words.wav", "a[*]?.wav", "new\nline.wav", "Ünï 音.wav"])
    def test_awkward_names_are_opened(self, encode, tmp_path, name):
        (tmp_path / name).write_bytes(encode(tone(0.1)))
        assert read_audio(str(tmp_path / name)).duration_s == pytest.approx(0.1)

    def test_the_facts_are_of_the_recording_and_not_of_what_the_network_hears(self, encode):
        left = np.clip(tone(1.0, 48_000, amplitude=2.0), -1, 1)
        found = decoded(encode(np.stack([left, np.zeros_like(left)], axis=1), 48_000))
        assert found.samples.max() < 0.6
        assert found.facts.peak_dbfs == pytest.approx(0.0, abs=0.01)
        assert 0.3 < found.facts.clipped_ratio < 0.34


class TestBlocks:
    @pytest.mark.parametrize("coding", ["WAV/FLOAT", "FLAC/PCM_16", "OGG/VORBIS", "MP3/MPEG_LAYER_III"])
    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_reading_by_blocks_equals_reading_at_once(self, encode, monkeypatch, coding, rate, channels):
        # Of a tone, frames of MP3 lend each other their bits: none can be decoded without those before.
        data = encode(tone(3.7, rate)[:, None] * np.linspace(1.0, 0.5, channels), rate, coding)
        whole = decoded(data)
        monkeypatch.setattr(decode_module, "BLOCK_S", 1)
        parts = decoded(data)
        np.testing.assert_allclose(parts.samples, whole.samples, atol=1e-5)
        assert parts.duration_s == whole.duration_s
        for name in ("peak_dbfs", "rms_dbfs", "clipped_ratio", "dc_offset", "silence_ratio", "snr_db"):
            assert getattr(parts.facts, name) == pytest.approx(getattr(whole.facts, name), abs=1e-4), name

    @pytest.mark.parametrize("rate", [16_000, 44_100])
    def test_a_recording_that_ends_with_a_block_loses_and_gains_nothing(self, encode, monkeypatch, rate):
        monkeypatch.setattr(decode_module, "BLOCK_S", 1)
        for samples in (2 * rate - 1, 2 * rate, 2 * rate + 1):
            found = decoded(encode(noise(samples), rate))
            assert found.duration_s == samples / rate
            assert abs(len(found.samples) - samples * SAMPLE_RATE / rate) <= 1

    @pytest.mark.parametrize("bad", [10, 16_000, 40_000])
    def test_a_sample_that_is_not_finite_is_named_by_its_place_in_the_recording(self, encode, monkeypatch, bad):
        monkeypatch.setattr(decode_module, "BLOCK_S", 1)
        samples = noise(50_000, 2)
        samples[bad, 1] = np.nan
        samples[bad + 5, 0] = np.inf
        assert f"sample {bad} " in fault(encode(samples, coding="WAV/FLOAT")).detail


class TestFaults:
    def test_an_empty_file(self):
        assert fault(b"").reason == Reason.EMPTY_FILE

    @pytest.mark.parametrize(
        "data", [b"x", b"hello, this is no sound\n" * 100, bytes(5_000), b"RIFF", b"fLaC", b"OggS"]
    )
    def test_no_sound_at_all(self, data):
        assert fault(data).reason == Reason.UNSUPPORTED_FORMAT

    @pytest.mark.parametrize(
        ("head", "name"),
        [
            (b"\0\0\0\x1cftypM4A \0\0\x02\0", "MP4 (M4A, AAC, ALAC)"),
            (b"\xff\xf1`@\x03\x9f\xfc\xde\x02\0Lavc", "AAC"),
            (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "ASF (WMA)"),
            (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01", "Matroska or WebM"),
        ],
    )
    def test_what_libsndfile_does_not_read_is_named_where_it_is_known(self, head, name):
        found = fault(head + bytes(range(256)) * 20)
        assert found.reason == Reason.UNSUPPORTED_FORMAT
        assert f"It is {name}, " in found.detail

    @pytest.mark.parametrize("keep", [0.05, 0.3, 0.5, 0.7, 0.95, 0.999])
    def test_a_flac_file_that_breaks_off(self, encode, keep):
        data = encode(noise(40_000), coding="FLAC/PCM_16")
        assert fault(data[: round(len(data) * keep)]).reason in {Reason.TRUNCATED, Reason.CORRUPT}

    @pytest.mark.parametrize("coding", ["WAV/PCM_U8", "WAV/PCM_16", "WAV/PCM_24", "WAV/FLOAT", "WAV/IMA_ADPCM"])
    @pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
    def test_a_wav_file_that_breaks_off(self, encode, coding, keep):
        data = encode(noise(20_000), coding=coding)
        found = fault(data[: round(len(data) * keep)])
        assert found.reason == Reason.TRUNCATED
        assert "promises" in found.detail

    @pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
    def test_an_aiff_file_that_breaks_off(self, encode, keep):
        data = encode(noise(20_000), coding="AIFF/PCM_16")
        assert fault(data[: round(len(data) * keep)]).reason == Reason.TRUNCATED

    def test_an_mp3_file_that_is_shorter_than_its_own_header_says(self, encode):
        data = encode(noise(20_000), coding="MP3/MPEG_LAYER_III")
        assert fault(data[: len(data) // 2]).reason == Reason.TRUNCATED

    def test_a_damaged_flac_frame(self, encode):
        data = bytearray(encode(noise(40_000), coding="FLAC/PCM_16"))
        data[len(data) // 2 : len(data) // 2 + 8] = bytes(8)
        assert fault(bytes(data)).reason == Reason.CORRUPT

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("coding", ["WAV/FLOAT", "WAV/DOUBLE", "AIFF/FLOAT"])
    def test_floats_that_are_not_finite(self, encode, coding, value):
        samples = noise(2_000)
        samples[777] = value
        found = fault(encode(samples, coding=coding))
        assert (found.reason, found.detail) == (Reason.NON_FINITE, "sample 777 is NaN or infinite")

    @pytest.mark.parametrize(
        ("samples", "rate"), [(10, 16_000), (511, 16_000), (255, 8_000), (1_500, 48_000), (1, 16_000)]
    )
    def test_less_than_one_frame(self, encode, samples, rate):
        found = fault(encode(noise(samples), rate))
        assert found.reason == Reason.TOO_SHORT
        assert f"{samples} samples at {rate} Hz" in found.detail

    def test_a_file_with_a_header_and_no_samples(self, encode):
        assert fault(encode(noise(0))).reason == Reason.TOO_SHORT

    @pytest.mark.parametrize(("samples", "rate"), [(512, 16_000), (256, 8_000), (1_536, 48_000)])
    def test_just_one_frame_is_enough(self, encode, samples, rate):
        assert len(decoded(encode(noise(samples), rate)).samples) == 512

    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("channels", [1, 2])
    def test_all_zeros(self, encode, rate, channels):
        assert fault(encode(np.zeros((rate, channels)), rate)).reason == Reason.SILENT

    @pytest.mark.parametrize("rate", RATES)
    @pytest.mark.parametrize("level", [0.25, -0.5])
    def test_a_constant_at_any_rate(self, encode, rate, level):
        assert fault(encode(np.full(rate, level), rate)).reason == Reason.SILENT

    def test_channels_that_cancel_each_other(self, encode):
        assert fault(encode(tone(0.5)[:, None] * [1, -1], coding="WAV/FLOAT")).reason == Reason.SILENT

    def test_the_faintest_sound_of_16_bits_is_no_silence(self, encode):
        samples = np.zeros(2_000)
        samples[1_000] = 2.0**-15
        assert decoded(encode(samples)).facts.peak_dbfs == pytest.approx(-90.3, abs=0.1)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(AudioFault) as caught:
            read_audio(str(tmp_path / "none.wav"))
        assert (caught.value.stage, caught.value.reason) == (Stage.READ, Reason.UNREADABLE)
        assert "none.wav" in caught.value.detail

    def test_a_fifo_is_not_opened(self, tmp_path):
        os.mkfifo(tmp_path / "fifo.wav")
        with pytest.raises(AudioFault) as caught:
            read_audio(str(tmp_path / "fifo.wav"))
        assert (caught.value.stage, caught.value.reason) == (Stage.READ, Reason.NOT_A_FILE)

    def test_channels_that_cancel_each_other_are_silent(self, encode):
        one = noise(2_000)
        found = fault(encode(np.stack([one, -one], axis=1)))
        assert (found.reason, found.detail) == (Reason.SILENT, "the channels cancel each other")

    def test_a_thousand_channels_at_the_highest_rate_take_no_more_memory_than_others(self, encode, monkeypatch):
        asked = []
        real = soundfile.SoundFile.read
        monkeypatch.setattr(soundfile.SoundFile, "read", lambda s, n, **how: asked.append(n) or real(s, n, **how))
        samples = np.repeat(noise(20_000)[:, np.newaxis], 1000, axis=1).astype(np.float32)
        decoded = decode(io.BytesIO(encode(samples, 384_000)))
        assert decoded.channels == 1000
        assert max(asked) * 1000 <= BLOCK_SAMPLES

    def test_a_directory(self, tmp_path):
        with pytest.raises(AudioFault) as caught:
            read_audio(str(tmp_path))
        assert (caught.value.stage, caught.value.reason) == (Stage.READ, Reason.UNREADABLE)

    def test_a_fault_survives_pickling(self):
        before = AudioFault(Stage.READ, Reason.UNREADABLE, "no such file")
        after = pickle.loads(pickle.dumps(before))
        assert type(after) is AudioFault
        assert (after.stage, after.reason, after.detail) == (before.stage, before.reason, before.detail)
        assert str(after) == str(before) == "unreadable: no such file"


class TestWholeFilesAreWhole:
    """A file that was only ever written oddly is not taken for one that breaks off."""

    @pytest.mark.parametrize(("coding", "rate"), [case for case in WRITABLE if case[0] in LOSSY])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_lossy_codings_of_many_lengths(self, encode, coding, rate, channels):
        for seconds in (0.05, 0.1, 0.33, 0.5, 1.0, 1.2345, 2.0, 3.1):
            samples = round(seconds * rate)
            found = decoded(encode(noise(samples, channels), rate, coding))
            assert found.duration_s == pytest.approx(samples / rate, abs=1e-3)

    @given(samples=st.integers(512, 9_000), coding=st.sampled_from(LOSSLESS), channels=st.integers(1, 3))
    def test_lossless_codings_of_any_length(self, encode, samples, coding, channels):
        assert len(decoded(encode(noise(samples, channels), coding=coding)).samples) == samples

    def test_an_odd_number_of_bytes_without_a_pad_byte(self):
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(1)
            file.setframerate(8_000)
            file.writeframes((128 + 100 * tone(1.001, 8_000)).astype(np.uint8).tobytes()[:8_007])
        assert decoded(buffer.getvalue()).duration_s == 8_007 / 8_000

    @pytest.mark.parametrize("tail", [b"LIST\x04\0\0\0INFO", b"some more bytes that nobody asked for"])
    def test_something_after_the_samples(self, encode, tail):
        assert decoded(encode(noise(2_000)) + tail).duration_s == 0.125

    def test_a_wav_file_from_a_pipe_whose_writer_could_not_know_its_length(self, encode):
        data = bytearray(encode(noise(16_000)))
        at = data.index(b"data") + 4
        data[4:8] = data[at : at + 4] = struct.pack("<I", 0xFFFF_FFFF)  # as ffmpeg writes to a pipe
        assert decoded(bytes(data)).duration_s == 1.0

    def test_a_flac_file_from_a_pipe_whose_writer_could_not_know_its_length(self, encode):
        data = bytearray(encode(noise(16_000), coding="FLAC/PCM_16"))
        data[21] &= 0xF0  # total samples, 36 bits: 0 means unknown (RFC 9639, 8.2)
        data[22:26] = bytes(4)
        assert decoded(bytes(data)).duration_s == 1.0


@given(
    coding=st.sampled_from(
        ["WAV/PCM_16", "WAV/FLOAT", "FLAC/PCM_16", "OGG/VORBIS", "MP3/MPEG_LAYER_III", "AIFF/PCM_16"]
    ),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    keep=st.floats(0.3, 1.0),
)
def test_a_damaged_file_is_a_recording_or_a_fault_and_nothing_else(encode, coding, changes, keep):
    data = bytearray(encode(noise(4_000, 2), coding=coding))
    for place, value in changes:
        # Behind the header: a sampling rate of 1 Hz is legal, and slow.
        data[64 + int(place * (len(data) - 65))] = value
    try:
        found = decoded(bytes(data[: round(len(data) * keep)]))
    except AudioFault:
        return
    assert np.isfinite(found.samples).all()
    assert len(found.samples) >= 512


class TestSpansFarIn:
    """Spans that begin beyond what is worth a jump."""

    FIRST, FAR = Span(0.5, 1.5), Span(20.0, 21.0)

    def found(self, data: bytes, *spans: Span) -> list[Decoded | AudioFault]:
        heard = {place: found for place, _, found in decode_spans(io.BytesIO(data), spans)}
        return [heard[place] for place in range(len(spans))]

    @pytest.mark.parametrize(
        "coding",
        ["FLAC/PCM_16", "WAV/PCM_16", "WAV/GSM610", "WAV/IMA_ADPCM", "AU/G721_32", "OGG/VORBIS", "AIFF/PCM_16"],
    )
    def test_they_are_the_samples_of_the_whole(self, encode, coding):
        rate = 8_000 if "GSM" in coding else SAMPLE_RATE
        data = encode(noise(24 * rate), rate, coding)
        (far,) = self.found(data, self.FAR)
        assert isinstance(far, Decoded)
        whole = decoded(data).samples[20 * SAMPLE_RATE : 21 * SAMPLE_RATE]
        np.testing.assert_allclose(
            far.samples[1_000:-1_000], whole[1_000:-1_000], atol=2e-3 if rate != SAMPLE_RATE else 0
        )

    @pytest.mark.parametrize("keep", [0.5, 0.8])
    def test_in_a_file_that_breaks_off_they_are_faults_and_end_nothing(self, encode, keep):
        data = encode(noise(80 * SAMPLE_RATE), coding="FLAC/PCM_16")
        first, far = self.found(data[: round(len(data) * keep)], self.FIRST, Span(70.0, 71.0))
        assert isinstance(first, Decoded)
        assert isinstance(far, AudioFault)

    def test_damage_before_a_span_costs_no_other(self, encode):
        data = bytearray(encode(noise(80 * SAMPLE_RATE), coding="FLAC/PCM_16"))
        middle = len(data) // 2
        data[middle : middle + 20_000] = bytes(20_000)
        first, hit, far = self.found(bytes(data), self.FIRST, Span(39.0, 41.0), Span(70.0, 71.0))
        assert isinstance(first, Decoded)
        assert isinstance(hit, AudioFault)
        assert far is not None

    def test_what_was_heard_is_let_go(self, encode):
        data = encode(noise(120 * SAMPLE_RATE), coding="WAV/PCM_16")
        spans = [Span(i, i + 1.0) for i in range(120)]
        alive: weakref.WeakSet = weakref.WeakSet()
        most = 0
        for _, _, found in decode_spans(io.BytesIO(data), spans):
            assert isinstance(found, Decoded)
            alive.add(found.waveform)
            del found
            gc.collect()
            most = max(most, len(alive))
        # Those of one block.
        assert most <= BLOCK_S + 1

    def test_one_word_for_each_span(self, encode):
        data = encode(np.stack([noise(40_000), tone(2.5)], axis=1))
        found = list(decode_spans(io.BytesIO(data), [Span(0, 1), Span(0, 1), Span(1, 2)], ["mix", "1", "each"]))
        assert sorted((place, channel) for place, channel, _ in found if channel is not None) == [
            (1, 1),
            (2, 0),
            (2, 1),
        ]
        assert len(found) == 4


class FailsAt(io.BytesIO):
    """A file whose disk is gone from some byte on."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data)
        self.at = at

    def readinto(self, buffer) -> int:
        if self.tell() + len(buffer) > self.at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(buffer)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("coding", ["WAV/PCM_16", "FLAC/PCM_16", "OGG/VORBIS", "MP3/MPEG_LAYER_III"])
def test_what_cannot_be_read_is_not_taken_for_its_end(encode, coding, share, capfd):
    data = encode(noise(20 * SAMPLE_RATE), coding=coding)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        list(decode_spans(FailsAt(data, round(len(data) * share))))
    assert not capfd.readouterr().err


def test_a_caller_may_take_less_than_the_longest(encode):
    data = encode(noise(3 * SAMPLE_RATE))
    assert decode(io.BytesIO(data), max_s=3).duration_s == 3
    with pytest.raises(AudioFault, match=r"goes on after 2\.5 s") as caught:
        decode(io.BytesIO(data), max_s=2.5)
    assert caught.value.reason == Reason.TOO_LONG


class RefusesToSeek(io.BytesIO):
    """A file that is asked for a place before its start by whoever reads it."""

    def __init__(self, data: bytes, error: Exception) -> None:
        super().__init__(data)
        self.error, self.asked = error, 0

    def seek(self, place: int, whence: int = 0) -> int:
        if self.tell() > 0 and place > 0 and whence == 0:
            self.asked += 1
            raise self.error
        return super().seek(place, whence)


@pytest.mark.parametrize("error", [ValueError("negative seek value -1"), OSError(errno.EINVAL, "Invalid argument")])
def test_a_place_before_the_start_is_a_fault_of_the_recording_and_not_of_the_disk(encode, error, capfd):
    file = RefusesToSeek(encode(noise(20_000)), error)
    with contextlib.suppress(AudioFault):
        decode(file)
    assert file.asked
    assert not capfd.readouterr().err
