"""Finds the frames of MPEG audio (MP3), for files whose length no header states.

libsndfile estimates the length of such a file and stops reading there. `MpegFrames` is a file of unlimited size that holds the
frames alone, so that libsndfile reads them all.
"""

from __future__ import annotations

import io
import re
from typing import Any, BinaryIO, NamedTuple

from transforms.errors import AudioFault, Reason, Stage

# Size that the file pretends to have.
ENDLESS = 1 << 40
# Number of consecutive frames that prove that bytes are MPEG audio.
CHAIN = 4
# Bytes that are no frames and may lie between frames; libsndfile tolerates as many.
MAX_GAP = 1024
# Bytes before the first frame, after tags: half a frame of a recorded stream, padding.
MAX_LEAD = 1 << 16
_BLOCK = 1 << 14
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_NO_BYTES_LEFT = b""
# Layers and versions as the bits of the header have them: layer 1 is III, 2 is II, 3 is I; version 0 is 2.5, 2 is 2, 3 is 1.
_BITRATES = {
    (True, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def id3_length(head: bytes | bytearray) -> int:
    """Returns the length of the ID3 tag at the start of some bytes, from its first ten; 0 if there is none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


class FrameHeader(NamedTuple):
    """The header of a frame.

    Attributes:
        length: length of the frame in bytes.
        samples: samples per channel of the frame.
        kind: sampling rate in Hz and the bits of version and layer; equal in all frames of a recording.
    """

    length: int
    samples: int
    kind: tuple[int, int]

    @classmethod
    def parse(cls, data: bytes | bytearray, at: int = 0) -> FrameHeader | None:
        """Returns the header at a position, or None if there is none with a stated length."""
        if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] < 0xE2:
            return None
        version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
        bitrate, rate, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
        if version == 1 or layer == 0 or rate == 3 or not 1 <= bitrate <= 14:
            return None
        hertz = _RATES[version][rate]
        bits_per_s = 1000 * _BITRATES[version == 3, layer][bitrate - 1]
        samples = 384 if layer == 3 else 576 if layer == 1 and version != 3 else 1152
        slot = 4 if layer == 3 else 1  # unit of the padding, in bytes
        length = (samples // 8 // slot * bits_per_s // hertz + padding) * slot
        return cls(length, samples, (hertz, data[at + 1] & 0xFE))


class MpegFrames:
    """The frames of a file of MPEG audio, as a file that holds nothing else and pretends to be endless.

    Bytes before the first frame, tags, and bytes after the last frame are left out. So is the frame that states the length of
    the recording (Xing, Info or VBRI).

    Args:
        file: a seekable file.

    Attributes:
        cut: sentence about the last frame if the file ends within it; None otherwise.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._kind: tuple[int, int] | None = None
        self._position = 0
        self._restart()

    def _restart(self) -> None:
        self._file.seek(0)
        # `_raw` holds the bytes of the file from `_offset` on; those before `_at` are used.
        self._raw, self._offset, self._at = bytearray(), 0, 0
        self._ready, self._produced = bytearray(), 0
        self._is_first = True
        self.cut: str | None = None

    def stated_samples(self) -> int | None:
        """Returns the samples per channel that the first frame states for the whole file; None if it states none.

        A file to which others were appended states no length, because its first frame describes only the first of them.
        """
        self._restart()
        if (header := self._find_first()) is None:
            return None
        count, size = _stated(self._raw[self._at : self._at + header.length])
        if count and size:
            end = self._offset + self._at + size
            self._file.seek(end)
            self._raw, self._offset, self._at = bytearray(), end, 0
            if self._skip_to_chain() is not None:
                count = None
        self._restart()
        return count * header.samples if count else None

    def is_audio(self) -> bool:
        """Returns whether the file starts with MPEG audio, apart from tags and half a frame."""
        self._restart()
        found = self._find_first() is not None
        self._restart()
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Sets the position in the frames."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: ENDLESS}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Returns the position in the frames."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Reads bytes of the frames into a buffer, and returns their number."""
        data = self.read(len(buffer))
        memoryview(buffer).cast("B")[: len(data)] = data
        return len(data)

    def read(self, size: int) -> bytes:
        """Reads bytes of the frames; fewer only at their end.

        Raises:
            AudioFault: bytes between frames are not MPEG audio, or the sampling rate changes.
            OSError: the file cannot be read.
        """
        if self._position > ENDLESS // 2:
            data = bytes(max(0, min(size, ENDLESS - self._position)))  # libsndfile looks for a tag at the end
            self._position += len(data)
            return data
        if self._position < self._produced:
            self._restart()
        while self._produced + len(self._ready) < self._position + size and (frame := self._next_frame()):
            self._ready += frame
        skip = self._position - self._produced
        data = bytes(self._ready[skip : skip + size])
        if self._position > _BLOCK:  # libsndfile reads the start several times when it opens the file
            del self._ready[: skip + len(data)]
            self._produced += skip + len(data)
        self._position += len(data)
        return data

    def _next_frame(self) -> bytes:
        """Returns the next frame, or no bytes after the last one."""
        if self._is_first:
            self._is_first = False
            header = self._find_first()
            if header is None:
                return _NO_BYTES_LEFT
            self._kind = header.kind
            if self._fill(header.length) and _stated(self._raw[self._at : self._at + header.length])[0]:
                self._at += header.length
        while self._fill(4):
            header = FrameHeader.parse(self._raw, self._at)
            if header is None or header.kind != self._kind:
                if not self._resync():
                    return _NO_BYTES_LEFT
                continue
            if not self._fill(header.length):
                held = len(self._raw) - self._at
                self.cut = f"the last frame has {header.length} bytes, of which the file holds {held}"
                return _NO_BYTES_LEFT
            frame = bytes(self._raw[self._at : self._at + header.length])
            self._at += header.length
            return frame
        return _NO_BYTES_LEFT

    def _find_first(self) -> FrameHeader | None:
        """Goes to the first frame and returns its header; None if there is none."""
        while self._fill(10) and (tag := id3_length(self._raw[self._at :])):
            end = self._offset + self._at + tag
            self._file.seek(end)
            self._raw, self._offset, self._at = bytearray(), end, 0
        return FrameHeader.parse(self._raw, self._at) if self._skip_to_chain(MAX_LEAD) is not None else None

    def _resync(self) -> bool:
        """Goes to the next frames after bytes that are none; returns whether there are any.

        Raises:
            AudioFault: the bytes are too many and no tag, or the frames are of another kind.
        """
        is_tag = self._raw.startswith(_TAGS, self._at)
        place = self._offset + self._at
        skipped = self._skip_to_chain()
        if skipped is None:
            return False
        header = FrameHeader.parse(self._raw, self._at)
        if header is not None and self._kind is not None and header.kind != self._kind:
            detail = f"the MPEG audio changes from {self._kind[0]} Hz to {header.kind[0]} Hz or another layer at byte {place}"
            raise AudioFault(Stage.DECODE, Reason.CORRUPT, detail)
        if skipped > MAX_GAP and not is_tag:
            detail = f"{skipped} bytes from byte {place} on are no MPEG audio"
            raise AudioFault(Stage.DECODE, Reason.CORRUPT, detail)
        return True

    def _skip_to_chain(self, limit: int | None = None) -> int | None:
        """Goes to the next frames; returns how many bytes it skipped, or None if there are no frames."""
        skipped = 0
        while limit is None or skipped <= limit:
            has_more = self._fill(_BLOCK)
            found = _SYNC.search(self._raw, self._at)
            step = (found.start() if found else max(self._at, len(self._raw) - 1)) - self._at
            self._at += step
            skipped += step
            if found:
                if self._is_chain():
                    return skipped
                self._at += 1
                skipped += 1
            elif not has_more:
                return None
        return None

    def _is_chain(self) -> bool:
        """Returns whether frames of one kind follow each other from here, up to the end or a tag if they are few."""
        start, kind = 0, None
        for count in range(CHAIN):
            if not self._fill(start + 4):
                return count > 0 and len(self._raw) == self._at + start
            header = FrameHeader.parse(self._raw, self._at + start)
            if header is None or header.kind != (kind or header.kind):
                return count > 0 and self._raw.startswith(_TAGS, self._at + start)
            kind = header.kind
            start += header.length
        return True

    def _fill(self, size: int) -> bool:
        """Reads until `size` bytes from the current one on are there; returns whether they are."""
        while len(self._raw) - self._at < size:
            if self._at > _BLOCK:
                del self._raw[: self._at]
                self._offset += self._at
                self._at = 0
            block = self._file.read(_BLOCK)
            if not block:
                return False
            self._raw += block
        return True


def _stated(frame: bytes | bytearray) -> tuple[int | None, int | None]:
    """Returns the number of frames and bytes that the first frame of a recording states; None for what it does not state."""
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big"), int.from_bytes(frame[46:50], "big")
    for at in (13, 21, 36, 15, 23, 38):  # after the side information, whose size depends on version, channels and CRC
        if frame[at : at + 4] in (b"Xing", b"Info"):
            flags = int.from_bytes(frame[at + 4 : at + 8], "big")
            count = int.from_bytes(frame[at + 8 : at + 12], "big") if flags & 1 else None
            place = at + 12 if flags & 1 else at + 8
            return count, int.from_bytes(frame[place : place + 4], "big") if flags & 2 else None
    return None, None
