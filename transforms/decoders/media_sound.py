"""Reads recordings that libsndfile does not read with PyAV, which holds FFmpeg (the extra `media`)."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from transforms.decoders.closing import Closing
from transforms.decoders.containers import (
    OGG,
    Container,
    ends_within_element,
    is_broadcast,
    is_chained,
    valid_caf_samples,
)
from transforms.decoders.packet_values import SLACK_S, duration_of, skipped_at_start, without_padding
from transforms.decoders.sample_types import bits_of, converted
from transforms.decoders.source_file import SourceFile
from transforms.errors import AudioFault, Reason, Stage

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

INSTALL = "pip install 'audiosieve[media]'"
# Decoders of FFmpeg that may run. Others, such as those of video, would only widen the surface for hostile files.
_DECODERS = (
    "aac,aac_latm,ac3,eac3,alac,amrnb,amrwb,ape,dca,flac,g722,gsm,gsm_ms,mlp,truehd,mp1,mp1float,mp2,mp2float,mp3,mp3float,"
    "nellymoser,opus,qdm2,shorten,sipr,speex,tak,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,wmav2,wmavoice,pcm_alaw,"
    "pcm_mulaw,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,"
    "pcm_f64le,pcm_f64be,pcm_bluray,pcm_dvd,adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_swf,adpcm_yamaha,g726,g726le"
)
# Containers whose stated length is that of the audio in samples, and is exact.
_EXACT_LENGTHS = frozenset({"flac", "wv", "tta", "ape", "wav", "aiff", "caf", "nistsphere"})
# Containers that state a length; FFmpeg estimates that of others. Matroska, ASF and Ogg state the time of the end: a stream may
# start late, and in Matroska have gaps where a recorder paused.
_STATING = _EXACT_LENGTHS | {"mov", "matroska", "asf", "ogg"}
# Rates of a source, besides 48 kHz, at which Opus can be decoded.
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000)
# Most bytes between the packets of Matroska: headers of blocks and clusters.
_MAX_GAP = 4_096
# Edit lists of MP4 state lengths in units of at least 1 / 500 s.
_ROUNDING = 500
# PyAV reads beyond the end of a frame's planes from this number on; FFmpeg interleaves the channels first.
_PLANES = 8
MAX_CHANNELS = 64
# Largest number of samples per channel in one frame of a codec: memory of a hostile file.
_MAX_FRAME = 1 << 21


def is_installed() -> bool:
    """Returns whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


@functools.cache
def _pyav() -> ModuleType:
    import av
    import av.logging

    av.logging.set_level(None)  # FFmpeg prints warnings about damaged files
    return av


class MediaSound(Closing):
    """The first or default audio stream of a file that FFmpeg reads; see `transforms.decoders.sound.Sound`.

    Args:
        file: a seekable file.
        container: its container.

    Raises:
        AudioFault: the file has no audio that FFmpeg decodes, or is damaged.
        OSError: the file cannot be read.
    """

    def __init__(self, file: BinaryIO, container: Container) -> None:
        self._is_chained = container is OGG and is_chained(file)
        self._is_broadcast = container.demuxer == "asf" and is_broadcast(file)
        # FFmpeg counts whole packets.
        self._caf_samples = valid_caf_samples(file) if container.demuxer == "caf" else None
        file.seek(0)
        self._source = SourceFile(file)
        self._file = file
        self._packets_end, self._packet_pos = 0, -1
        self._has_blocks = False
        self._total = 0
        self._is_last = False
        self._packet_s: Fraction | None = None
        self._start_s: Fraction | None = None
        self._end_s = Fraction(0)
        self._cut: str | None = None
        self._blocks: deque[np.ndarray] = deque()
        self._num_queued = 0
        self._resampler: Any = None
        self._errors = (_pyav().FFmpegError, ValueError, OverflowError, UnicodeDecodeError)
        self._container = self._open(container)
        try:
            self._stream = self._audio_stream(container)
            self._codec = self._stream.codec_context
            self._has_blocks = container.demuxer == "matroska" and len(self._container.streams) == 1
            self._frames = self._decoded_frames()
            first = self._first_frame(container)
            self.samplerate: int = first.sample_rate
            self.channels: int = first.layout.nb_channels
            if self.channels > MAX_CHANNELS:
                detail = f"it has {self.channels} channels; in {container.title}, up to {MAX_CHANNELS} are supported"
                raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, detail)
            self._target = _kind(first)
            self._layout = first.layout
            self._skip = self._missing_skip(container)
            self._stated = self._stated_samples(container)
            is_exact = container.demuxer in _EXACT_LENGTHS and not self._caf_samples
            self.frames = self._stated if is_exact else None
            self._slack = 0 if is_exact else math.ceil(SLACK_S * self.samplerate)
            self._has_padding = container.demuxer == "mov"
            self.format, self.subtype = container.name, self._codec.codec.canonical_name.upper()
            self.bits = bits_of(first, self._codec.extradata, self.subtype)
            if self.format == "FLAC":
                self.subtype = f"PCM_{self.bits}"  # as libsndfile names it
            self._queue(first)
        except BaseException:
            self.close()
            raise

    is_seekable = False

    @property
    def source_rate(self) -> int:
        """The sampling rate of the source in Hz, which Opus states; else that of the decoder."""
        extradata = self._codec.extradata or b""
        rate = int.from_bytes(extradata[12:16], "little") if extradata.startswith(b"OpusHead") else 0
        return rate if rate in _OPUS_RATES else self.samplerate

    def close(self) -> None:
        """Frees the decoder; the file stays open."""
        self._frames = iter(())
        self._container.close()

    def read_block(self, length: int, dtype: str = "float32") -> np.ndarray:
        """Reads the next samples: [at most `length`, channels]; fewer only at the end of the stream.

        Args:
            length: samples per channel.
            dtype: "float32", or a type that holds the samples of the stream without loss.

        Raises:
            AudioFault: the recording is damaged.
            OSError: the file cannot be read.
        """
        while self._num_queued < length and (frame := next(self._frames, None)) is not None:
            self._queue(frame)
        parts, missing = [], length
        while missing and self._blocks:
            block = self._blocks.popleft()
            if len(block) > missing:
                self._blocks.appendleft(block[missing:])
                block = block[:missing]
            parts.append(converted(block, dtype))
            missing -= len(block)
        self._num_queued -= length - missing
        return np.concatenate(parts) if parts else np.empty((0, self.channels), dtype)

    def seek_to(self, sample: int) -> int:
        """Raises an error, because FFmpeg does not seek to exact samples."""
        raise NotImplementedError(f"cannot seek to sample {sample}")

    def truncation(self, position: int) -> str | None:
        """Returns why the recording is incomplete if it ends after `position` samples; None if it is complete."""
        end = position
        if self.format in ("MATROSKA", "OGG"):
            end = max(position, math.ceil(self._end_s * self.samplerate))  # a last packet may state no length
        elif self.format == "ASF" and self._start_s is not None:
            end += math.ceil(self._start_s * self.samplerate)
        if self._stated is not None and end < self._stated - self._slack:
            return f"the file states {self._stated} samples per channel, {end} could be decoded"
        if self._stated is not None and not self._slack:
            return None  # tags after the last sample can look like a damaged packet
        if (
            self.format == "MATROSKA"
            and self._stated is None
            and ends_within_element(self._file, self._packets_end + 4)
        ):
            return "the file ends within a block"  # a block has four bytes before the packet
        return self._cut

    def _open(self, container: Container) -> Any:
        options = {
            "codec_whitelist": _DECODERS,
            "format_whitelist": _pyav().ContainerFormat(container.demuxer, "r").name,
            "protocol_whitelist": "none",
            "max_samples": str(_MAX_FRAME),
            "err_detect": "crccheck",
        }
        try:
            return _pyav().open(
                self._source.nameless_file(), format=container.demuxer, options=options, metadata_errors="replace"
            )
        except self._errors as error:
            self._source.raise_error()
            detail = f"it looks like {container.title}, but cannot be opened: {_message_of(error)}"
            raise AudioFault(Stage.DECODE, Reason.CORRUPT, detail) from error
        finally:
            self._source.raise_error()

    def _audio_stream(self, container: Container) -> Any:
        """Returns the default audio stream, or else the first, and tells FFmpeg to skip the others."""
        streams = self._container.streams.audio
        if not streams:
            raise AudioFault(
                Stage.DECODE, Reason.UNSUPPORTED_FORMAT, f"it is {container.title} without an audio stream"
            )
        default = _pyav().stream.Disposition.default
        stream = next((stream for stream in streams if stream.disposition & default), streams[0])
        codec = stream.codec_context
        if codec is None or codec.name not in _DECODERS.split(","):
            name = "unknown" if codec is None else codec.name
            detail = f"it is {container.title} with audio in the coding {name}, which is not supported"
            raise AudioFault(Stage.DECODE, Reason.UNSUPPORTED_FORMAT, detail)
        for other in self._container.streams:
            if other.index != stream.index:
                other.discard = _pyav().stream.Discard.all
        codec.thread_count = 1
        codec.options = {"max_samples": str(_MAX_FRAME), "err_detect": "crccheck"}
        if container.demuxer == "caf" and codec.name == "alac":
            # The last frame states its length, and FFmpeg would cut the padding off once more.
            codec.options = {**codec.options, "flags2": "+skip_manual"}
        return stream

    def _first_frame(self, container: Container) -> AudioFrame:
        first = next(self._frames, None)
        if first is None:
            raise AudioFault(Stage.DECODE, Reason.CORRUPT, f"it looks like {container.title}, but holds no audio")
        return first

    def _decoded_frames(self) -> Iterator[AudioFrame]:
        """Yields all frames of the stream.

        Raises:
            AudioFault: the recording is damaged before its last packet.
            OSError: the file cannot be read.
        """
        packets = self._packets()
        packet = next(packets, None)
        self._first_skip = 0 if packet is None else skipped_at_start(packet)
        while packet is not None:
            following = next(packets, None)
            self._is_last = following is None or not following.size
            is_partial = packet.size and packet.is_corrupt and not self._codec.name.startswith("pcm")
            failure = "a packet is incomplete" if is_partial else None
            frames = []
            if failure is None:
                try:
                    frames = packet.decode()
                except self._errors as error:
                    failure = f"FFmpeg cannot decode a packet: {_message_of(error)}"
            if failure is not None and not self._is_last:
                raise AudioFault(Stage.DECODE, Reason.CORRUPT, failure)
            self._cut = self._cut or failure
            if packet.size and packet.pos is not None:
                self._check_gap(packet)
            self._packet_s = duration_of(packet)
            if packet.size and packet.pts is not None and packet.time_base:
                self._start_s = packet.pts * packet.time_base if self._start_s is None else self._start_s
                self._end_s = max(self._end_s, packet.pts * packet.time_base + (self._packet_s or 0))
            yield from frames
            packet = following

    def _check_gap(self, packet: Any) -> None:
        """Raises an `AudioFault` if FFmpeg has skipped damaged bytes of a Matroska file with one stream."""
        skipped = packet.pos - self._packets_end
        if self._packets_end and skipped > _MAX_GAP and self._has_blocks:
            detail = f"{skipped} bytes from byte {self._packets_end} on are damaged"
            raise AudioFault(Stage.DECODE, Reason.CORRUPT, detail)
        # Packets of one block have its position.
        self._packets_end = (self._packets_end if packet.pos == self._packet_pos else packet.pos) + packet.size
        self._packet_pos = packet.pos

    def _packets(self) -> Iterator[Any]:
        """Yields the packets of the stream, and an empty one at the end."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._errors as error:
                self._source.raise_error()
                self._cut = f"reading ends with an error of FFmpeg: {_message_of(error)}"
                return
            self._source.raise_error()
            if packet is None:
                return
            yield packet

    def _missing_skip(self, container: Container) -> int:
        """Returns how many samples of the encoder's delay FFmpeg leaves at the start.

        FFmpeg converts the delay of Opus in Matroska at the sampling rate of the source, but the decoder runs at 48 kHz.
        """
        extradata = self._codec.extradata or b""
        if container.demuxer != "matroska" or not extradata.startswith(b"OpusHead") or not self._first_skip:
            return 0
        return max(0, int.from_bytes(extradata[10:12], "little") - self._first_skip)

    def _stated_samples(self, container: Container) -> int | None:
        """Returns the samples per channel that the container states; None if it states none."""
        stream, rate = self._stream, self.samplerate
        if container.demuxer not in _STATING or self._is_broadcast:
            return None
        if self._caf_samples:
            return self._caf_samples
        if stream.duration and stream.time_base and not self._is_chained:
            stated = math.ceil(stream.duration * stream.time_base * rate)
            return without_padding(self._container.metadata.get("iTunSMPB", ""), stated, rate)
        # The length of Matroska and ASF is that of the longest stream.
        if container.demuxer in ("matroska", "asf") and self._container.duration and len(self._container.streams) == 1:
            return math.floor(self._container.duration * rate / 1_000_000)
        return None

    def _queue(self, frame: AudioFrame) -> None:
        for part in self._in_first_kind(frame):
            samples = part.to_ndarray()
            samples = samples.T if part.format.is_planar else samples.reshape(-1, self.channels)
            skipped = min(self._skip, len(samples))
            self._skip -= skipped
            samples = samples[skipped : self._end_of(len(samples)) if self._has_padding else None]
            if len(samples):
                self._blocks.append(samples)
                self._num_queued += len(samples)
                self._total += len(samples)

    def _end_of(self, length: int) -> int:
        """Returns how many samples of a frame of MP4 lie before the padding of the encoder.

        The last packet states its exact length, the edit list a length that may be rounded to milliseconds.
        """
        end = length
        if self._is_last and self._packet_s is not None:
            end = min(end, math.ceil(self._packet_s * self.samplerate))
        if self._stated is not None and self._total + end > self._stated + self.samplerate // _ROUNDING:
            end = max(0, self._stated - self._total)
        return end

    def _in_first_kind(self, frame: AudioFrame) -> list[AudioFrame]:
        """Returns a frame with the rate, channels and sample format of the first frame; interleaved if planes are many."""
        kind = _kind(frame)
        is_planar = frame.format.is_planar and self.channels >= _PLANES
        if kind == self._target and not is_planar:
            return [frame]
        if self._resampler is None or self._resampler[0] != kind:
            sample_format = self._target[2].removesuffix("p") if is_planar else self._target[2]
            resampler = _pyav().AudioResampler(sample_format, self._layout, self.samplerate)
            self._resampler = (kind, resampler)
        try:
            return list(self._resampler[1].resample(frame))
        except self._errors as error:
            detail = f"the audio changes to {kind[0]} Hz with {kind[1]} channels: {_message_of(error)}"
            raise AudioFault(Stage.DECODE, Reason.CORRUPT, detail) from error


def _kind(frame: AudioFrame) -> tuple[int, int, str]:
    return frame.sample_rate, frame.layout.nb_channels, frame.format.name


def _message_of(error: Exception) -> str:
    """Returns FFmpeg's own message."""
    return str(getattr(error, "strerror", None) or error)
