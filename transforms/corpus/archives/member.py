"""Recordings in archives: recognition by suffix or content, and the size limit."""

from __future__ import annotations

import dataclasses
import re
from typing import BinaryIO

from transforms.errors import AudioFault, Reason, Stage

# A recording is held in memory while it is decoded.
MAX_MEMBER_BYTES = 2 << 30
# A member with one of these suffixes is a recording. If its content is not audio, it is rejected, not skipped.
AUDIO_SUFFIXES = {
    "3g2",
    "3gp",
    "aac",
    "ac3",
    "aif",
    "aifc",
    "aiff",
    "amr",
    "ape",
    "au",
    "awb",
    "caf",
    "flac",
    "gsm",
    "m4a",
    "m4b",
    "mka",
    "mkv",
    "mov",
    "mp2",
    "mp3",
    "mp4",
    "nist",
    "oga",
    "ogg",
    "opus",
    "rf64",
    "snd",
    "sph",
    "tta",
    "voc",
    "w64",
    "wav",
    "wave",
    "weba",
    "webm",
    "wma",
    "wv",
}
# A member that starts with one of these is a recording, whatever its name.
_SIGNATURES = re.compile(
    rb"RIFF....WAVE|RIFX....WAVE|RF64....WAVE|riff\x2e\x91\xcf\x11|fLaC|OggS|ID3|FORM....AIF[FC]|\.snd|NIST_1A|caff\x00\x01|"
    rb"....ftyp(M4[ABV] |iso[m2-9]|mp4[12]|3g[p2]|dash|qt  )|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75\x8e\x66\xcf\x11|#!AMR|wvpk|TTA1|"
    rb"MAC |Creative Voice File",
    re.DOTALL,
)
SIGNATURE_BYTES = 32


@dataclasses.dataclass(slots=True)
class Member:
    """A recording in an archive.

    Attributes:
        name: name within the archive.
        size_bytes: size of the recording in bytes.
        columns: metadata of the recording that the archive holds.
        content: the recording in memory, at its start, or the reason why it is missing.
    """

    name: str
    size_bytes: int
    columns: dict[str, str]
    content: BinaryIO | AudioFault


def has_audio_suffix(name: str) -> bool:
    """Returns whether a file name ends in a suffix of an audio format."""
    _, dot, suffix = name.rpartition(".")
    return bool(dot) and suffix.lower() in AUDIO_SUFFIXES


def starts_like_audio(head: bytes) -> bool:
    """Returns whether the first `SIGNATURE_BYTES` of a file are those of an audio format."""
    return _SIGNATURES.match(head) is not None


def size_fault(size_bytes: int) -> AudioFault | None:
    """Returns the fault of a recording that is too large to hold in memory; None for others."""
    if size_bytes <= MAX_MEMBER_BYTES:
        return None
    detail = f"the recording has {size_bytes} bytes; in an archive the limit is {MAX_MEMBER_BYTES}; store it as a file"
    return AudioFault(Stage.READ, Reason.TOO_LONG, detail)
