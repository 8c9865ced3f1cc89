"""Versions of files: texts that change when the content of a file changes, and not when its metadata does."""

from __future__ import annotations

import hashlib
import re

# Version of a file whose size cannot be read. No file has it.
NO_VERSION = "0-0.000000"
# Size, time, generation (objects only), and the span and channel of an utterance.
_VERSION = re.compile(r"(\d+)-(\d+\.\d+)(?:-(\d+))?([@#].*)?", re.DOTALL)


def version_of_time(size_bytes: int, modified_s: float) -> str:
    """Returns the version of a file from its size and its modification time in seconds since 1970."""
    return f"{size_bytes}-{modified_s:.6f}"


def version_of_object(size_bytes: int, created_s: float, generation: int) -> str:
    """Returns the version of an object on Cloud Storage.

    The update time of an object is no version: a label, a storage class or an access list changes it.

    Args:
        size_bytes: size of the object.
        created_s: time at which this generation was created, in seconds since 1970. Not needed to tell generations apart, but
            to recognise the versions of earlier releases (`is_same_version`).
        generation: number of the generation; every upload gets a new one.
    """
    return f"{version_of_time(size_bytes, created_s)}-{generation}"


def version_of_tag(size_bytes: int, tag: str) -> str:
    """Returns the version of a file from its size and a text that identifies its content, such as an ETag."""
    return f"{size_bytes}-{hashlib.blake2b(tag.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"


def version_of_file(source_version: str) -> str:
    """Returns the version of the file of an utterance: the utterance's version without the span and the channel."""
    return re.split("[@#]", source_version, maxsplit=1)[0]


def is_same_version(recorded: str, current: str) -> bool:
    """Returns whether a recording is the one that was scored.

    Earlier releases recorded the size and the update time of an object. A generation that is not younger than that time is
    the one that was scored: a later upload would have been created after the update. So metadata that was edited since then
    causes no new scores, and an upload does.

    Args:
        recorded: `source_version` of a committed row.
        current: `source_version` of the recording now.
    """
    if recorded == current:
        return True
    then, now = _VERSION.fullmatch(recorded), _VERSION.fullmatch(current)
    if then is None or now is None or then[3] or not now[3]:
        return False
    return then[1] == now[1] and then[4] == now[4] and float(now[2]) <= float(then[2])
