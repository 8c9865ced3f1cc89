"""Opening recordings: the content decides the format, and damaged or unreadable files are faults."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pickle
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from tests.support.decoding import LOSSLESS, LOSSY, WRITABLE, decode_bytes, fault_of, noise, tone
from transforms.audio.decode import decode, decode_spans, read_audio
from transforms.decoders.sound import open_sound
from transforms.errors import AudioFault, Reason, Stage


class TestNames:
    def test_the_content_decides_the_format_not_the_suffix(self, encode, tmp_path):
        for name in ("a.mp3", "a.txt", "a", "a.flac", "a.wav.gz", "a.bz2"):
            (tmp_path / name).write_bytes(encode(tone(0.1)))
            assert read_audio(str(tmp_path / name)).format == "WAV/PCM_16"

    @pytest.mark.parametrize("name", ["a.raw", "A.RAW"])
    def test_a_raw_suffix_does_not_mean_headerless_samples(self, encode, tmp_path, name):
        (tmp_path / name).write_bytes(encode(tone(0.1)))
        assert read_audio(str(tmp_path / name)).format == "WAV/PCM_16"

    def test_text_with_a_raw_suffix_is_a_fault(self, tmp_path):
        (tmp_path / "a.raw").write_text("no sound " * 100)
        with pytest.raises(AudioFault, match="unsupported_format"):
            read_audio(str(tmp_path / "a.raw"))

    @pytest.mark.parametrize("name", ["two words.wav", "a[*]?.wav", "new\nline.wav", "Ünï 音.wav"])
    def test_names_with_spaces_wildcards_and_unicode_are_opened(self, encode, tmp_path, name):
        (tmp_path / name).write_bytes(encode(tone(0.1)))
        assert read_audio(str(tmp_path / name)).duration_s == pytest.approx(0.1)


class TestFilesThatCannotBeOpened:
    def test_a_missing_file_is_unreadable(self, tmp_path):
        with pytest.raises(AudioFault) as caught:
            read_audio(str(tmp_path / "none.wav"))
        assert (caught.value.stage, caught.value.reason) == (Stage.READ, Reason.UNREADABLE)
        assert "none.wav" in caught.value.detail

    def test_a_fifo_is_not_opened(self, tmp_path):
        os.mkfifo(tmp_path / "fifo.wav")
        with pytest.raises(AudioFault) as caught:
            read_audio(str(tmp_path / "fifo.wav"))
        assert (caught.value.stage, caught.value.reason) == (Stage.READ, Reason.NOT_A_FILE)

    def test_a_directory_is_unreadable(self, tmp_path):
        with pytest.raises(AudioFault) as caught:
            read_audio(str(tmp_path))
        assert (caught.value.stage, caught.value.reason) == (Stage.READ, Reason.UNREADABLE)

    def test_a_fault_survives_pickling(self):
        before = AudioFault(Stage.READ, Reason.UNREADABLE, "no such file")
        after = pickle.loads(pickle.dumps(before))
        assert type(after) is AudioFault
        assert (after.stage, after.reason, after.detail) == (before.stage, before.reason, before.detail)
        assert str(after) == str(before) == "unreadable: no such file"


class TestUnsupportedFiles:
    def test_a_file_without_bytes_is_a_fault(self):
        assert fault_of(b"").reason == Reason.EMPTY_FILE

    @pytest.mark.parametrize(
        "data", [b"x", b"hello, this is not audio\n" * 100, bytes(5_000), b"RIFF", b"fLaC", b"OggS"]
    )
    def test_bytes_that_are_not_audio_are_unsupported(self, data):
        assert fault_of(data).reason == Reason.UNSUPPORTED_FORMAT


class TestTruncatedFiles:
    @pytest.mark.parametrize("coding", ["WAV/PCM_U8", "WAV/PCM_16", "WAV/PCM_24", "WAV/FLOAT", "WAV/IMA_ADPCM"])
    @pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
    def test_a_truncated_wav_file_is_detected(self, encode, coding, keep):
        data = encode(noise(20_000), coding=coding)
        fault = fault_of(data[: round(len(data) * keep)])
        assert fault.reason == Reason.TRUNCATED
        assert "the header states" in fault.detail

    @pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
    def test_a_truncated_aiff_file_is_detected(self, encode, keep):
        data = encode(noise(20_000), coding="AIFF/PCM_16")
        assert fault_of(data[: round(len(data) * keep)]).reason == Reason.TRUNCATED


class TestCompleteFiles:
    """Complete files with unusual headers or lengths are not taken for truncated ones."""

    @pytest.mark.parametrize(("coding", "rate"), [case for case in WRITABLE if case[0] in LOSSY])
    @pytest.mark.parametrize("channels", [1, 2])
    def test_lossy_files_of_many_lengths_are_complete(self, encode, coding, rate, channels):
        for seconds in (0.05, 0.1, 0.33, 0.5, 1.0, 1.2345, 2.0, 3.1):
            samples = round(seconds * rate)
            decoded = decode_bytes(encode(noise(samples, channels), rate, coding))
            assert decoded.duration_s == pytest.approx(samples / rate, abs=1e-3)

    @given(samples=st.integers(512, 9_000), coding=st.sampled_from(LOSSLESS), channels=st.integers(1, 3))
    def test_lossless_files_of_any_length_are_complete(self, encode, samples, coding, channels):
        assert len(decode_bytes(encode(noise(samples, channels), coding=coding)).samples) == samples

    def test_an_odd_data_chunk_without_a_pad_byte_is_complete(self):
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(1)
            file.setframerate(8_000)
            file.writeframes((128 + 100 * tone(1.001, 8_000)).astype(np.uint8).tobytes()[:8_007])
        assert decode_bytes(buffer.getvalue()).duration_s == 8_007 / 8_000

    @pytest.mark.parametrize("tail", [b"LIST\x04\0\0\0INFO", b"trailing bytes"])
    def test_bytes_after_the_samples_are_ignored(self, encode, tail):
        assert decode_bytes(encode(noise(2_000)) + tail).duration_s == 0.125

    @pytest.mark.parametrize("coding", ["WAV/PCM_16", "AIFF/PCM_16", "FLAC/PCM_16"])
    def test_an_id3_tag_before_or_after_the_samples_is_ignored(self, encode, coding):
        data = encode(noise(2_000), coding=coding)
        expected = decode_bytes(data).samples
        head, tail = b"ID3\x03\0\0\0\0\x10\x00" + bytes(2_048), b"TAG" + bytes(125)
        assert np.array_equal(decode_bytes(head + data).samples, expected)
        assert np.array_equal(decode_bytes(data + tail).samples, expected)
        assert fault_of(head + data[:-100]).reason == Reason.TRUNCATED

    def test_a_wav_file_of_unknown_length_from_a_pipe_is_complete(self, encode):
        data = bytearray(encode(noise(16_000)))
        size = data.index(b"data") + 4
        data[4:8] = data[size : size + 4] = struct.pack("<I", 0xFFFF_FFFF)  # as ffmpeg writes to a pipe
        assert decode_bytes(bytes(data)).duration_s == 1.0

    @pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
    @pytest.mark.parametrize("riff", [0, 36])
    def test_a_wav_file_whose_header_was_never_finished_is_complete(self, encode, subtype, riff):
        data = bytearray(encode(noise(16_000), coding=f"WAV/{subtype}"))
        size = data.index(b"data") + 4
        data[4:8], data[size : size + 4] = struct.pack("<I", riff), bytes(4)
        assert decode_bytes(bytes(data)).duration_s == 1.0

    def test_a_chunk_after_no_samples_is_not_taken_for_samples(self, encode):
        assert fault_of(encode(noise(0)) + b"LIST" + struct.pack("<I", 4_000) + bytes(4_000)).reason == Reason.TOO_SHORT

    @pytest.mark.parametrize("coding", ["OGG/VORBIS", "OGG/OPUS"])
    def test_an_ogg_file_without_its_last_page_is_read_to_its_end(self, encode, coding):
        data = encode(noise(48_000), coding=coding)
        assert 1.5 < decode_bytes(data[: data.rindex(b"OggS")]).duration_s < 3.0

    @pytest.mark.parametrize("coding", ["OGG/VORBIS", "OGG/OPUS"])
    @pytest.mark.parametrize("missing", [1, 500])
    def test_an_ogg_file_that_ends_within_a_page_is_truncated(self, encode, coding, missing):
        assert fault_of(encode(noise(48_000), coding=coding)[:-missing]).reason == Reason.TRUNCATED

    def test_a_flac_file_of_unknown_length_from_a_pipe_is_complete(self, encode):
        data = bytearray(encode(noise(16_000), coding="FLAC/PCM_16"))
        data[21] &= 0xF0  # total samples, 36 bits: 0 means unknown (RFC 9639, 8.2)
        data[22:26] = bytes(4)
        assert decode_bytes(bytes(data)).duration_s == 1.0


class FailsAt(io.BytesIO):
    """A file whose bytes from `at` on cannot be read."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data)
        self.at = at

    def readinto(self, buffer) -> int:
        if self.tell() + len(buffer) > self.at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(buffer)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("coding", ["WAV/PCM_16", "FLAC/PCM_16", "OGG/VORBIS", "MP3/MPEG_LAYER_III"])
def test_a_read_error_is_raised_and_not_taken_for_the_end(encode, coding, share, capfd):
    data = encode(noise(20 * SAMPLE_RATE), coding=coding)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        list(decode_spans(FailsAt(data, round(len(data) * share))))
    assert not capfd.readouterr().err


class RefusesToSeek(io.BytesIO):
    """A file that raises an error for every absolute seek but the first."""

    def __init__(self, data: bytes, error: Exception) -> None:
        super().__init__(data)
        self.error, self.refused = error, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        if self.tell() > 0 and offset > 0 and whence == 0:
            self.refused += 1
            raise self.error
        return super().seek(offset, whence)


@pytest.mark.parametrize("error", [ValueError("negative seek value -1"), OSError(errno.EINVAL, "Invalid argument")])
def test_a_seek_before_the_start_is_damage_and_not_a_read_error(encode, error, capfd):
    file = RefusesToSeek(encode(noise(20_000)), error)
    with contextlib.suppress(AudioFault):
        decode(file)
    assert file.refused
    assert not capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest of it", "a ZIP archive; unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\3", "gzip; decompress it"),
    ],
)
def test_a_file_that_takes_the_place_of_a_recording_is_named(content, said):
    with pytest.raises(AudioFault, match=said) as caught:
        open_sound(io.BytesIO(content))
    assert caught.value.reason == Reason.UNSUPPORTED_FORMAT
