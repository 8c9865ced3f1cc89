"""Watches the decoding of recordings, so that one that kills or hangs its process becomes a reject.

A worker process writes the recording that it decodes, and the latest time at which it must be done, to a file that outlives it:
its mark. The process that started the worker kills it at that time, and reads the mark when the worker has ended.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import mmap
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from transforms.elements import AudioRef, Recording
from transforms.errors import AudioFault
from transforms.storage.files import is_local

T = TypeVar("T")

# Seconds that a recording may take, by default, in addition to the seconds for its length.
TIMEOUT_S = 300.0
# Slowest reading and decoding of a large recording: bytes per second, and seconds of spans per second. Usual are a thousand
# times as many.
SLOWEST_BYTES, SLOWEST_RATE = 100_000, 10.0
# Further seconds for a recording in a bucket, whose requests are repeated for some minutes if they fail.
BUCKET_S = 900.0

# Deadline (monotonic, in seconds; infinite without a recording), whether the recording is vetted, and length of the URI.
_HEADER = struct.Struct("<d?xxxI")
_DEADLINE = struct.Struct("<d")
_FILE_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class Mark:
    """The recording that a process is decoding.

    Attributes:
        uri: path or URI of the recording; of a recording in an archive, that of the recording.
        deadline_s: latest end of the decoding, as `time.monotonic`.
        is_vetting: whether the process does nothing else than try to decode the recording.
    """

    uri: str
    deadline_s: float
    is_vetting: bool

    @classmethod
    def read(cls, folder: str, pid: int) -> Mark | None:
        """Returns the mark of a process; None if it decodes no recording.

        Args:
            folder: folder of the marks.
            pid: id of the process, which may have ended.
        """
        try:
            content = Path(folder, str(pid)).read_bytes()
        except FileNotFoundError:
            return None
        if len(content) < _FILE_BYTES:  # the process is about to write it
            return None
        deadline_s, is_vetting, length = _HEADER.unpack_from(content)
        if math.isinf(deadline_s):
            return None
        uri = content[_HEADER.size : _HEADER.size + length].decode("utf-8", "surrogateescape")
        return cls(uri, deadline_s, is_vetting)


class _MarkFile:
    """The mark of this process."""

    def __init__(self, folder: str) -> None:
        with Path(folder, str(os.getpid())).open("w+b") as file:
            file.write(_HEADER.pack(math.inf, False, 0).ljust(_FILE_BYTES, b"\0"))
            file.flush()
            self._bytes = mmap.mmap(file.fileno(), _FILE_BYTES)

    def set(self, mark: Mark) -> None:
        """Marks a recording. The deadline is written last, because another process reads it at any time."""
        uri = mark.uri.encode("utf-8", "surrogateescape")[: _FILE_BYTES - _HEADER.size]
        self._bytes[_HEADER.size : _HEADER.size + len(uri)] = uri
        _HEADER.pack_into(self._bytes, 0, math.inf, mark.is_vetting, len(uri))
        _DEADLINE.pack_into(self._bytes, 0, mark.deadline_s)

    def clear(self) -> None:
        """Marks no recording."""
        _DEADLINE.pack_into(self._bytes, 0, math.inf)


@functools.cache
def _mark_file(folder: str) -> _MarkFile:
    return _MarkFile(folder)


@dataclasses.dataclass(frozen=True)
class DecodeWatch:
    """Marks recordings while they are decoded, and knows those that no process may decode again.

    Attributes:
        timeout_s: seconds that a recording may take, without the seconds for its length; infinite for no limit.
        folder: local folder for the marks of the processes; None to mark nothing.
        faults: reasons for the rejects of recordings that have killed or hung a process, by URI.
    """

    timeout_s: float = TIMEOUT_S
    folder: str | None = None
    faults: Mapping[str, AudioFault] = dataclasses.field(default_factory=dict)

    def limit_s(self, refs: Sequence[AudioRef]) -> float:
        """Returns the seconds that a recording may take.

        Args:
            refs: its utterances.
        """
        spans_s = sum(ref.span.end_s - ref.span.start_s for ref in refs if ref.span.end_s is not None)
        bucket_s = 0.0 if is_local(refs[0].uri) else BUCKET_S
        return self.timeout_s + refs[0].size_bytes / SLOWEST_BYTES + spans_s / SLOWEST_RATE + bucket_s

    def marked(self, refs: Sequence[AudioRef], items: Iterable[T], is_vetting: bool = False) -> Iterator[T]:
        """Yields items that come from decoding a recording. The recording is marked while the next item is computed.

        Args:
            refs: utterances of the recording.
            items: items, computed on demand.
            is_vetting: see `Mark`.
        """
        if self.folder is None:
            yield from items
            return
        uri, left_s, mark_file = refs[0].uri, self.limit_s(refs), _mark_file(self.folder)
        following = iter(items)
        try:
            while True:
                started_s = time.monotonic()
                mark_file.set(Mark(uri, started_s + left_s, is_vetting))
                item = next(following, _END)
                mark_file.clear()
                if isinstance(item, _End):
                    return
                left_s -= time.monotonic() - started_s
                yield item
        finally:
            mark_file.clear()


# A watch that marks nothing, for a process that nothing supervises.
NO_WATCH = DecodeWatch()


class _End:
    """The type of the value that stands for the end of an iterator."""


_END = _End()


def recording_with(recordings: Iterable[Recording], uri: str) -> Recording | None:
    """Returns the recording at a URI, or the archive that it is in; None if no recording is there."""
    for recording in recordings:
        if recording.uri == uri or (recording.archive and uri.startswith(f"{recording.uri}#")):
            return recording
    return None
