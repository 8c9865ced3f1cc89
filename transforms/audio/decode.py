"""From the bytes of a recording to the samples that the scorer hears."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from model.features import FRAME_LENGTH, SAMPLE_RATE
from transforms.audio.signal_facts import FactsMeter
from transforms.audio.waveform import Waveform
from transforms.elements import EACH, FIRST, MIX, SignalFacts, Span
from transforms.errors import AudioFault, Reason, Stage

# What is in memory at the recording's own rate at a time: so many seconds, or so many samples of all channels together.
BLOCK_S = 30
BLOCK_SAMPLES = 1 << 24
# What headers of speech say; beyond it they are wrong, and a window of 32 ms would be absurd.
MIN_RATE, MAX_RATE = 4_000, 384_000
# A recording of more is not speech for training; and what unpacks to it from next to nothing must fill no disk.
MAX_S = 24 * 3600
# The end of a span may lie so far beyond the recording's: manifests round.
SPAN_SLACK_S = 0.25
# What is not worth a jump; and in what a jump is exact.
JUMP_S = 5.0
_JUMPS = ("WAV", "WAVEX", "FLAC", "AIFF", "AU", "W64", "RF64", "NIST", "CAF", "WVE")
_JUMPED_CODINGS = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
# libsndfile's log of a chunk of samples that is larger than the file: "data : 77728 (should be 38842)".
_CHUNK_TOO_LARGE = re.compile(r"^\s*(?:data|riff|SSND|BODY|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_RF64_TOO_LARGE = re.compile(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
# Programs that write to a pipe cannot know the size: they state one of the largest that the field holds.
_UNKNOWN_SIZE = 0x7FFF_F000
# What people keep speech in and libsndfile does not read: where its mark stands, the mark, and what it is.
_UNREAD_KINDS = (
    (4, b"ftyp", "MP4 (M4A, AAC, ALAC)"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, bytes.fromhex("3026b2758e66cf11"), "ASF (WMA)"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
    (0, b"#!AMR", "AMR"),
    (0, b"wvpk", "WavPack"),
    (0, b"\x1f\x8b", "compressed by gzip"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """A recording, or a span or channel of it, as the scorer hears it, and what it was.

    Attributes:
        waveform: at 16 kHz, one channel or the mean of them, full scale 1.0, at least 512 samples.
        duration_s: at the recording's own rate.
        sample_rate: of the recording, in Hz.
        channels: of the recording.
        channel: which is heard, from 0; None for the mean of all.
        format: container and coding, as "FLAC/PCM_16".
        facts: of the samples heard, at the recording's own rate and with all the channels heard.
    """

    waveform: Waveform
    duration_s: float
    sample_rate: int
    channels: int
    channel: int | None
    format: str
    facts: SignalFacts

    @property
    def samples(self) -> np.ndarray:
        """All of the waveform at once: float32 [n]."""
        return self.waveform.read()


WHOLE = Span()
# A span's place in the list, a channel of it (None: the mean), and what became of it.
DecodedSpan = tuple[int, int | None, Decoded | AudioFault]


@contextlib.contextmanager
def open_audio(uri: str) -> Iterator[BinaryIO]:
    """Opens a recording in any filesystem that Beam knows.

    Raises:
        AudioFault: it cannot be opened; or, where it is used within the block, read.
    """
    try:
        path = Path(uri)
        if FileSystems.get_scheme(uri) is None and not (path.is_file() or path.is_dir()) and path.exists():
            # Opening it could wait for ever.
            raise AudioFault(Stage.READ, Reason.NOT_A_FILE, "it is a FIFO, a socket or a device")
        # As it is: a compressed recording is a recording that libsndfile does not know.
        with FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            yield file
    except OSError as error:  # Beam's own errors are OSErrors too
        raise AudioFault(Stage.READ, Reason.UNREADABLE, str(error)) from error


def read_audio(uri: str, span: Span = WHOLE) -> Decoded:
    """Opens and decodes the recording at `uri`, or a span of it, the mean of its channels.

    Raises:
        AudioFault: it cannot be opened or read, or `decode` refuses it.
    """
    with open_audio(uri) as file:
        return decode(file, span)


def decode(file: BinaryIO, span: Span = WHOLE, channels: str = MIX, max_s: float | None = None) -> Decoded:
    """Decodes a recording, or a span of it: one sound, so `channels` is not "each"; see `decode_spans`.

    Raises:
        AudioFault: the file or the sound in it is refused.
        OSError: the file cannot be read on.
    """
    ((_, _, found),) = decode_spans(file, [span], channels, max_s)
    if isinstance(found, AudioFault):
        raise found
    return found


def decode_spans(
    file: BinaryIO, spans: Sequence[Span] = (WHOLE,), channels: str | Sequence[str] = MIX, max_s: float | None = None
) -> Iterator[DecodedSpan]:
    """Decodes whatever libsndfile reads, by content, not by name, in one pass; resamples with soxr.

    Args:
        file: seekable.
        spans: of the recording; they may overlap.
        channels: "mix" for the mean of all, "first", "each" for every one by itself, or the number of one, from 0; one word
            for all spans, or one for each.
        max_s: seconds of a span at most; `MAX_S` where left out.

    Yields:
        Each span, for "each" with every channel, as soon as it is read: what is heard, or the fault of it: it lies outside
        of the recording, is too short or too long, not finite, or silent throughout, or the recording breaks off in it.

    Raises:
        AudioFault: nothing of the file can be heard: it is empty, in no known format, shorter than it says from its header
            on, or has no such channel.
        OSError: the file cannot be read on, which says nothing of what is in it.
    """
    source = _Source(file)
    left: list[_SpanReader] | None = None
    jumping = True
    while left is None or left:
        with _open(source) as sound:
            if left is None:
                listened = _listened(spans, channels, sound, max_s)
                left = sorted(listened, key=lambda take: take.start)[::-1]
                del listened  # what is done must not stay in memory
            try:
                for take in _play(sound, source, left, jumping):
                    yield take.place, take.channel, take.result()
            except _JumpFailedError:
                jumping = False


def open_sound(file: BinaryIO) -> soundfile.SoundFile:
    """Opens the sound in a file, at its start, to be read once; its name says nothing.

    Raises:
        AudioFault: the file is empty, in no known format, or shorter than it says.
        OSError: it cannot be read.
    """
    return _open(_Source(file))


def is_seekable(sound: soundfile.SoundFile) -> bool:
    """Whether `seek` may be asked for, and is exact; in a damaged file it may still fail."""
    return sound.format in _JUMPS and sound.subtype in _JUMPED_CODINGS


def _open(source: _Source) -> soundfile.SoundFile:
    file = source.file
    file.seek(0)
    if not file.read(1):
        raise AudioFault(Stage.DECODE, Reason.EMPTY_FILE, "the file has no bytes")
    file.seek(0)
    try:
        sound = _Sound(source.nameless)
    except soundfile.LibsndfileError as error:
        source.check()
        file.seek(0)
        detail = _message(error) + _kind_of(file.read(16))
        raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, detail) from error
    try:
        source.check()
        if not MIN_RATE <= sound.samplerate <= MAX_RATE:
            detail = f"the header says {sound.samplerate} Hz; speech is expected at {MIN_RATE} to {MAX_RATE} Hz"
            raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_RATE, detail)
        _check_whole(sound.extra_info)
    except BaseException:
        sound.close()
        raise
    return sound


def _listened(
    spans: Sequence[Span], channels: str | Sequence[str], sound: soundfile.SoundFile, max_s: float | None
) -> list[_SpanReader]:
    """All that is to be heard of a recording: each span, for "each" with every channel."""
    asked = [channels] * len(spans) if isinstance(channels, str) else channels
    return [
        _SpanReader(place, span, channel, sound, max_s)
        for place, (span, wanted) in enumerate(zip(spans, asked, strict=True))
        for channel in _channels(wanted, sound.channels)
    ]


def _channels(asked: str, there: int) -> list[int | None]:
    """The channels to be heard one by one; None for their mean."""
    if asked == MIX:
        return [None]
    if asked == EACH:
        return list(range(there))
    channel = 0 if asked == FIRST else int(asked)
    if channel >= there:
        detail = f"channel {channel} is asked for, counted from 0; the recording has {there}"
        raise AudioFault(Stage.DECODE, Reason.NO_CHANNEL, detail)
    return [channel]


class _SpanReader:
    """A span of a recording, and a channel of it, while it is read.

    Attributes:
        place: of the span in the list of them.
        channel: None for the mean of all.
        start: its first sample in the recording.
        end: the sample after its last; None for all that comes.
        fault: why it cannot be heard; None as long as it can.
    """

    def __init__(
        self, place: int, span: Span, channel: int | None, sound: soundfile.SoundFile, max_s: float | None = None
    ) -> None:
        self.place, self.channel = place, channel
        self._span, self._max_s = span, MAX_S if max_s is None else max_s
        rate = sound.samplerate
        self.start = round(span.start_s * rate)
        self.end = None if span.end_s is None else round(span.end_s * rate)
        self.fault: AudioFault | None = None
        self._sound = sound
        self._meter = FactsMeter(rate)
        self._waveform = Waveform()
        self._resampler = None
        if rate != SAMPLE_RATE:
            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        self._read = 0

    # Of samples near the end of float32's range sums and squares lie beyond it: no news, `_finish` refuses the mean.
    @np.errstate(over="ignore", invalid="ignore")
    def add(self, block: np.ndarray, at: int) -> None:
        """Takes its part of a block, float32 [n, channels], whose first sample is the recording's sample `at`."""
        first = max(self.start - at, 0)
        last = len(block) if self.end is None else min(self.end - at, len(block))
        if self.fault is not None or last <= first:
            return
        block = block[first:last]
        if self.channel is not None:
            block = block[:, self.channel : self.channel + 1]
        if not np.isfinite(block).all():
            bad = at + first + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            self.fault = AudioFault(Stage.DECODE, Reason.NON_FINITE, f"sample {bad} is NaN or infinite")
            return
        self._read += len(block)
        if self._read > self._max_s * self._sound.samplerate:
            length = f"{self._max_s / 3600:g} hours" if self._max_s > 3600 else f"{self._max_s:g} s"
            detail = f"it goes on after {length}, and a recording of more is not scored; cut it"
            self.fault = AudioFault(Stage.DECODE, Reason.TOO_LONG, detail)
            return
        self._meter.add(block)
        mono = block.mean(axis=1) if block.shape[1] > 1 else block[:, 0]
        self._waveform.add(self._resampler.resample_chunk(mono) if self._resampler else mono)

    def ends_by(self, sample: int) -> bool:
        """Whether nothing of it comes from that sample on."""
        return self.fault is not None or (self.end is not None and self.end <= sample)

    def result(self) -> Decoded | AudioFault:
        """What was heard, once nothing more comes."""
        return self.fault or self._finish()

    def _finish(self) -> Decoded | AudioFault:
        sound, waveform = self._sound, self._waveform
        missing = 0 if self.end is None else self.end - self.start - self._read
        if self._span != WHOLE and (not self._read or missing > SPAN_SLACK_S * sound.samplerate):
            detail = f"{self._span} is not within the recording of {sound.frames / sound.samplerate:.2f} s"
            return AudioFault(Stage.DECODE, Reason.OUTSIDE, detail)
        if self._resampler:
            waveform.add(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        if len(waveform) < FRAME_LENGTH:
            detail = f"{self._read} samples at {sound.samplerate} Hz are less than one frame of 32 ms"
            return AudioFault(Stage.DECODE, Reason.TOO_SHORT, detail)
        if not np.isfinite([waveform.lowest, waveform.highest]).all():
            detail = "the mean of the channels is beyond what a float holds"
            return AudioFault(Stage.DECODE, Reason.NON_FINITE, detail)
        if self._meter.constant:
            return AudioFault(Stage.DECODE, Reason.SILENT, "all samples are the same")
        if waveform.lowest == waveform.highest:
            return AudioFault(Stage.DECODE, Reason.SILENT, "the channels cancel each other")
        return Decoded(
            waveform=waveform,
            duration_s=self._read / sound.samplerate,
            sample_rate=sound.samplerate,
            channels=sound.channels,
            channel=self.channel,
            format=f"{sound.format}/{sound.subtype}",
            facts=self._meter.facts(waveform.power),
        )


class _JumpFailedError(Exception):
    """libsndfile could not go where the next span begins; reading up to there may still do."""


def _play(
    sound: soundfile.SoundFile, source: _Source, waiting: list[_SpanReader], jumping: bool
) -> Iterator[_SpanReader]:
    """Reads a recording by blocks as far as anybody listens; yields each take when it has all of its own.

    Args:
        sound: at its start.
        source: of its bytes.
        waiting: the last first. Taken from here when their time comes.
        jumping: whether to jump over what nobody listens to, where such a recording allows it.

    Raises:
        _JumpFailedError: a jump did not work; `waiting` holds all that is not yielded yet.
        OSError: the file cannot be read on.
    """
    block_length = max(1, min(BLOCK_S * sound.samplerate, BLOCK_SAMPLES // sound.channels))
    jumping = jumping and is_seekable(sound)
    active: list[_SpanReader] = []
    at, last = 0, False
    while not last and (active or waiting):
        if jumping and not active and waiting[-1].start > at + JUMP_S * sound.samplerate:
            try:
                at = sound.seek(min(waiting[-1].start, sound.frames))
            except soundfile.LibsndfileError as error:
                source.check()
                raise _JumpFailedError from error
        try:
            block = sound.read(block_length, dtype="float32", always_2d=True)
            source.check()
        except soundfile.LibsndfileError as error:
            source.check()
            detail = f"after {at} of {sound.frames} samples: {_message(error)}"
            fault = AudioFault(Stage.DECODE, Reason.CORRUPT, detail)
            yield from _broken([*active, *waiting], fault)
            waiting.clear()
            return
        last = len(block) < block_length
        while waiting and (last or waiting[-1].start < at + len(block)):
            active.append(waiting.pop())
        for take in active:
            take.add(block, at)
        at += len(block)
        if last and at < sound.frames < _UNKNOWN_SIZE:
            detail = f"the header promises {sound.frames} samples a channel, {at} could be decoded"
            fault = AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
            yield from _broken([take for take in active if take.end is None or take.end > at], fault)
            active = [take for take in active if take.end is not None and take.end <= at]
        yield from (take for take in active if last or take.ends_by(at))
        active = [take for take in active if not (last or take.ends_by(at))]


def _broken(takes: Sequence[_SpanReader], fault: AudioFault) -> Iterator[_SpanReader]:
    """Takes of which the rest cannot be heard."""
    for take in takes:
        take.fault = take.fault or fault
        yield take


class _Sound(soundfile.SoundFile):
    """A sound that is read from its start to its end.

    `SoundFile.read` seeks after each block where it can, and a seek breaks MP3 (whose frames need those before them) and
    FLAC files of unstated length.
    """

    def seekable(self) -> bool:
        """No."""
        return False


class _Source:
    """The bytes of a recording, and what went wrong when libsndfile asked for them.

    It asks from within C, where an exception would be printed and forgotten, and the file would seem to end there.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._error: Exception | None = None

    @property
    def nameless(self) -> SimpleNamespace:
        """The file without its name, from which SoundFile would guess: it takes `x.raw` for samples without a header."""
        names = ("readinto", "read", "seek", "tell")
        return SimpleNamespace(**{name: self._held(getattr(self.file, name)) for name in names})

    def check(self) -> None:
        """Raises what went wrong, if anything did.

        Raises:
            OSError: the file could not be read. Or what else reading it raised.
        """
        if self._error is not None:
            raise self._error

    def _held(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def held(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            except Exception as error:  # noqa: BLE001 -- any: Python would print it, and libsndfile go on
                # A damaged file may name a place before its start, to which files say one of these.
                senseless = isinstance(error, ValueError) or getattr(error, "errno", None) == errno.EINVAL
                if not (senseless and method.__name__ == "seek"):
                    self._error = self._error or error
                return 0

        return held


def _check_whole(log: str) -> None:
    """Finds in libsndfile's log of the header whether samples are missing at the end.

    Raises:
        AudioFault: they are.
    """
    if (chunk := _CHUNK_TOO_LARGE.search(log)) and int(chunk[2]) < int(chunk[1]) < _UNKNOWN_SIZE:
        detail = f"the header promises {chunk[1]} bytes, the file holds {chunk[2]}"
        raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)
    if (count := _RF64_TOO_LARGE.search(log)) and int(count[1]) < int(count[2]):
        detail = f"the header promises {count[2]} samples a channel, the file holds {count[1]}"
        raise AudioFault(Stage.DECODE, Reason.TRUNCATED, detail)


def _kind_of(head: bytes) -> str:
    """What a file that libsndfile does not read is, where its first bytes tell, and what to do."""
    for place, mark, name in _UNREAD_KINDS:
        if head.startswith(mark, place):
            return f" It is {name}, which libsndfile does not read; convert it to FLAC, as with ffmpeg"
    return ""


def _message(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).removeprefix("Error : ")
