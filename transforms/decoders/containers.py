"""Recognises containers by their first bytes, and finds those that end before the length that they state."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import BinaryIO

from transforms.decoders.mpeg_frames import id3_length

# First bytes of a file that are enough to recognise it.
HEAD_BYTES = 400
_TS_PACKET = 188
_BOXES = frozenset(b"ftyp moov mdat free skip wide moof mfra sidx ssix styp uuid meta pdin udta emsg prft".split())
# Elements of a cluster (SimpleBlock, BlockGroup and its parts, PrevSize, Timestamp), Void, CRC-32, Cluster, Cues and Tags.
_MATROSKA_ELEMENTS = frozenset(
    bytes.fromhex(name)
    for name in ("a3", "a0", "9b", "fb", "75a2", "ab", "e7", "ec", "bf", "1f43b675", "1c53bb6b", "1254c367")
)
_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
_ASF_DATA = bytes.fromhex("3626b2758e66cf11")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
# Files that libsndfile reads with a part missing at the end if an ID3 tag comes first.
_AFTER_TAG = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"caff", b"riff")
# An Ogg page that starts a stream: capture pattern, version, and a header type with the bit 2.
_OGG_START = re.compile(rb"OggS\x00[\x02\x03\x06\x07]")
_BLOCK = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Container:
    """A container that FFmpeg reads.

    Attributes:
        title: its name in messages.
        demuxer: FFmpeg's name of the format.
        name: its name in the column `format`.
    """

    title: str
    demuxer: str
    name: str


OGG = Container("Ogg", "ogg", "OGG")
# Offset of the signature, the signature, and the container. libsndfile reads the last ones too, but not with all codings.
_SIGNATURES = (
    (4, b"ftyp", Container("MP4 (M4A, AAC, ALAC)", "mov", "MP4")),
    (4, b"moov", Container("QuickTime", "mov", "MP4")),
    (4, b"mdat", Container("QuickTime", "mov", "MP4")),
    (4, b"wide", Container("QuickTime", "mov", "MP4")),
    (0, b"\x1a\x45\xdf\xa3", Container("Matroska or WebM", "matroska", "MATROSKA")),
    (0, bytes.fromhex("3026b2758e66cf11"), Container("ASF (WMA)", "asf", "ASF")),
    (0, b"#!AMR", Container("AMR", "amr", "AMR")),
    (0, b"wvpk", Container("WavPack", "wv", "WV")),
    (0, b"MAC ", Container("Monkey's Audio", "ape", "APE")),
    (0, b"TTA1", Container("TTA", "tta", "TTA")),
    (0, b"FLV\x01", Container("Flash video", "flv", "FLV")),
    (8, b"AVI ", Container("AVI", "avi", "AVI")),
    (0, b"\x00\x00\x01\xba", Container("an MPEG program stream", "mpeg", "MPEG_PS")),
    (0, b"\x0b\x77", Container("AC-3", "ac3", "AC3")),
    # libsndfile reads those without compression.
    (0, b"NIST_1A", Container("compressed NIST SPHERE", "nistsphere", "NIST")),
    (0, b"fLaC", Container("FLAC", "flac", "FLAC")),
    (0, b"OggS", OGG),
    (8, b"WAVE", Container("WAV", "wav", "WAV")),
    (8, b"AIFF", Container("AIFF", "aiff", "AIFF")),
    (8, b"AIFC", Container("AIFF-C", "aiff", "AIFF")),
    (0, b"caff", Container("CAF", "caf", "CAF")),
)
_ADTS = Container("AAC", "aac", "ADTS")
_MPEG_TS = Container("an MPEG transport stream", "mpegts", "MPEG_TS")


def container_of(file: BinaryIO) -> Container | None:
    """Returns the container of a file by its first bytes, after any ID3 tag; None if it is unknown."""
    _, head = _after_tags(file)
    for offset, signature, container in _SIGNATURES:
        if head.startswith(signature, offset):
            return container
    if len(head) > 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 15 < 13:
        return _ADTS
    if len(head) > _TS_PACKET and head[0] == head[_TS_PACKET] == 0x47:
        return _MPEG_TS
    return None


def _after_tags(file: BinaryIO) -> tuple[int, bytes]:
    """Returns the length of the ID3 tags at the start of a file, and the bytes after them."""
    start, head = 0, _read_at(file, 0, HEAD_BYTES)
    while tag := id3_length(head):
        start += tag
        head = _read_at(file, start, HEAD_BYTES)
    return start, head


def start_after_tags(file: BinaryIO) -> int:
    """Returns where a WAV, AIFF or CAF file starts after ID3 tags; 0 for other files, which may have them as well."""
    start, head = _after_tags(file)
    return start if head.startswith(_AFTER_TAG) else 0


def missing_bytes(file: BinaryIO, container: Container) -> str | None:
    """Returns a sentence about the length that a container states if the file is shorter; None for complete files."""
    size = _size_of(file)
    match container.demuxer:
        case "mov":
            end = _end_of_boxes(file, size)
        case "matroska":
            end = _end_of_matroska(file)
        case "asf":
            end = _end_of_asf(file, size)
        case "ogg":
            end, _ = _last_ogg_page(file, size)
        case _:
            end = 0
    return f"the header states {end} bytes, the file holds {size}" if end > size else None


def unfinished_data(file: BinaryIO) -> int | None:
    """Returns where the size of the samples of a WAV file is if it says 0, but samples follow; None for other files.

    A program that writes to a pipe, or is killed, leaves such a header.
    """
    size, at = _size_of(file), 12
    while at + 8 < size:
        head = _read_at(file, at, 16)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] == b"data":
            is_followed_by_chunk = head[8:12].isalnum() and at + 16 + int.from_bytes(head[12:16], "little") <= size
            return at + 4 if length == 0 and not is_followed_by_chunk else None
        at += 8 + length + length % 2
    return None


def _size_of(file: BinaryIO) -> int:
    file.seek(0, os.SEEK_END)
    return file.tell()


def _read_at(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Returns the end of the last box of an MP4 file; boxes hold their size and name."""
    at = 0
    while at + 8 <= size:
        head = _read_at(file, at, 16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or head[4:8] not in _BOXES:
            return 0  # the box extends to the end, or bytes follow that are no box
        at += length
    return at


def _end_of_matroska(file: BinaryIO) -> int:
    """Returns the end of the segment of a Matroska file; 0 if its size is unknown, as in live streams."""
    head = _read_at(file, 0, HEAD_BYTES)
    header_size, at = _vint(head, 4)
    if header_size is None:
        return 0
    at += header_size
    head = _read_at(file, at, 12)
    if head[:4] != _MATROSKA_SEGMENT:
        return 0
    size, start = _vint(head, 4)
    return 0 if size is None else at + start + size


def ends_within_element(file: BinaryIO, at: int) -> bool:
    """Returns whether a Matroska file ends before the end of its last element.

    Args:
        file: a Matroska file whose segment has no stated size, as from a live stream.
        at: position of an element.
    """
    size = _size_of(file)
    while at < size:
        head = _read_at(file, at, 12)
        id_length = 9 - head[0].bit_length()
        length, start = _vint(head, id_length)
        if head[:id_length] not in _MATROSKA_ELEMENTS:
            return False  # other bytes than elements
        at += start
        # A cluster of unknown size is read element by element.
        at += length or 0
    return at > size


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """Returns a number of variable length (RFC 8794, 4) and the position after it; None for an unknown size."""
    first = data[at] if at < len(data) else 0
    if not first:
        return None, at + 1
    length = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), at + length


def _end_of_asf(file: BinaryIO, size: int) -> int:
    """Returns the end of the data object of an ASF file; 0 if its size is unknown."""
    at = 0
    while at + 24 <= size:
        head = _read_at(file, at, 24)
        length = int.from_bytes(head[16:24], "little")
        if length < 24 or length >> 62:
            return 0
        at += length
        if head.startswith(_ASF_DATA):
            return at
    return 0


def is_broadcast(file: BinaryIO) -> bool:
    """Returns whether an ASF file comes from a pipe or a live stream, and thus states no length."""
    head = _read_at(file, 0, _BLOCK)
    at = head.find(_ASF_PROPERTIES)
    return at >= 0 and bool(int.from_bytes(head[at + 88 : at + 92], "little") & 1)


def valid_caf_samples(file: BinaryIO) -> int | None:
    """Returns the samples per channel that the packet table of a CAF file states; None without a table, as for PCM."""
    size, at = _size_of(file), 8
    while at + 12 <= size:
        head = _read_at(file, at, 28)
        length = int.from_bytes(head[4:12], "big", signed=True)
        if head[:4] == b"pakt" and len(head) == 28:
            return int.from_bytes(head[20:28], "big")
        if length < 0:  # the data extends to the end
            return None
        at += 12 + length
    return None


def _last_ogg_page(file: BinaryIO, size: int) -> tuple[int, bytes]:
    """Returns the end of the last page of an Ogg file, and the serial number of its stream; 0 and no bytes without one."""
    start = max(0, size - (1 << 17))  # a page has at most 65,307 bytes
    tail = _read_at(file, start, size - start)
    at = tail.rfind(b"OggS")
    while at >= 0 and start + at:
        serial = tail[at + 14 : at + 18]
        if at + 27 > len(tail) or at + 27 + tail[at + 26] > len(tail):
            return size + 1, serial
        if tail[at + 4] == 0:  # the version; else the bytes are no page, but audio
            lacing = tail[at + 27 : at + 27 + tail[at + 26]]
            return start + at + 27 + len(lacing) + sum(lacing), serial
        at = tail.rfind(b"OggS", 0, at)
    return 0, b""


def is_chained(file: BinaryIO) -> bool:
    """Returns whether an Ogg file has further streams after those at its start, as a recorded radio station does."""
    at = 0
    while (page := _read_at(file, at, 27 + 255))[:4] == b"OggS" and len(page) > 27 and page[5] & 2:
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
    # Joined copies of a file have the same serial number, so only the pages tell.
    file.seek(at)
    tail = b""
    while block := file.read(_BLOCK):
        if _OGG_START.search(tail + block):
            return True
        tail = block[-5:]
    return False
