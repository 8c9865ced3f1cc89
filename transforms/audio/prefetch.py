"""Recordings in buckets are fetched by threads while others are decoded.

To ask Cloud Storage for a short recording and wait for the answer takes longer than to score it, and one SDK process works
through a chunk alone.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import BinaryIO

from transforms.audio.sound_file import open_audio
from transforms.elements import Recording
from transforms.storage.files import is_local

# Recordings that are asked for at a time, by each process.
AHEAD = 8
# Longer files are read as they are decoded. In all 32 MB are held.
MOST_BYTES = 4 << 20

Opened = AbstractContextManager[BinaryIO]


def opened(recordings: Sequence[Recording]) -> Iterator[tuple[Recording, Opened]]:
    """Opens recordings one after the other, and fetches the next few of those in buckets meanwhile.

    Yields:
        Each recording with a context manager of its file, which raises an `AudioFault` if the file cannot be read.
    """
    waiting = iter(recordings)
    asked: deque[tuple[Recording, Future[bytes] | None]] = deque()

    def ask() -> None:
        for recording in waiting:
            asked.append((recording, _threads().submit(_fetch, recording.uri) if _is_fetched(recording) else None))
            if len(asked) == AHEAD:
                break

    try:
        ask()
        while asked:
            recording, future = asked.popleft()
            ask()
            yield recording, open_audio(recording.uri) if future is None else _held(future)
    finally:
        for _, future in asked:
            if future:
                future.cancel()


def _is_fetched(recording: Recording) -> bool:
    size = recording.refs[0].size_bytes
    return recording.archive is None and 0 < size <= MOST_BYTES and not is_local(recording.uri)


def _fetch(uri: str) -> bytes:
    with open_audio(uri) as file:
        return file.read()


@contextlib.contextmanager
def _held(future: Future[bytes]) -> Iterator[BinaryIO]:
    yield io.BytesIO(future.result())


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AHEAD, thread_name_prefix="prefetch")
