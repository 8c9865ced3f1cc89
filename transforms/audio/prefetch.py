"""Fetches recordings from buckets in threads while others are decoded.

Fetching a short recording from Cloud Storage takes longer than scoring it, and an SDK process handles one recording at a time.
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

# Largest number of recordings that a process fetches ahead.
MAX_AHEAD = 8
# Larger files are not fetched ahead, but read while they are decoded. So all fetched files take at most 32 MB.
MAX_BYTES = 4 << 20

FileContext = AbstractContextManager[BinaryIO]


def open_ahead(recordings: Sequence[Recording]) -> Iterator[tuple[Recording, FileContext]]:
    """Opens recordings in order, while threads fetch the next ones from buckets.

    Yields:
        Each recording with a context manager of its file, which raises an `AudioFault` if the file cannot be read.
    """
    remaining = iter(recordings)
    queue: deque[tuple[Recording, Future[bytes] | None]] = deque()

    def fill_queue() -> None:
        for recording in remaining:
            future = _threads().submit(_fetch, recording.uri) if _is_fetched(recording) else None
            queue.append((recording, future))
            if len(queue) == MAX_AHEAD:
                break

    try:
        fill_queue()
        while queue:
            recording, future = queue.popleft()
            fill_queue()
            yield recording, open_audio(recording.uri) if future is None else _fetched_file(future)
    finally:
        for _, future in queue:
            if future:
                future.cancel()


def _is_fetched(recording: Recording) -> bool:
    size = recording.refs[0].size_bytes
    is_small = recording.archive is None and 0 < size <= MAX_BYTES
    return is_small and recording.is_read and not is_local(recording.uri)


def _fetch(uri: str) -> bytes:
    with open_audio(uri) as file:
        return file.read()


@contextlib.contextmanager
def _fetched_file(future: Future[bytes]) -> Iterator[BinaryIO]:
    yield io.BytesIO(future.result())


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MAX_AHEAD, thread_name_prefix="prefetch")
