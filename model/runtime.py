"""Starts TensorFlow with a number of threads, and hides its log lines about missing devices."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator

# Options of glibc's mallopt: its heaps for threads, blocks of their own for large allocations, bytes to ask the system for at a
# time, and free bytes at the end of a heap from which they are returned.
M_ARENA_MAX, M_MMAP_MAX, M_TOP_PAD, M_TRIM_THRESHOLD = -8, -4, -2, -1


def start_tensorflow(threads: int | None = None) -> None:
    """Imports TensorFlow and sets its thread pools. Call it before importing any module that imports TensorFlow.

    Args:
        threads: number of threads of each pool, at least 1; None for TensorFlow's default. It has no effect after the first
            operation of TensorFlow in this process.
    """
    with hold_native_stderr():
        import tensorflow as tf

        # The pools of a running TensorFlow cannot be changed.
        with contextlib.suppress(RuntimeError):
            if threads:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
        tf.config.list_physical_devices()


@contextlib.contextmanager
def hold_native_stderr() -> Iterator[None]:
    """Captures the output of native code on file descriptor 2, and writes it only if the block fails.

    TensorFlow 2.21 always logs a dozen lines at start-up. No environment variable turns them off, because they are logged
    before its logger is initialised.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        saved = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        except BaseException:
            captured.seek(0)
            os.write(saved, captured.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next allocation; other C libraries stay as they are. It holds for the process.

    A step of training allocates and frees hundreds of megabytes. By default, glibc returns large blocks to the system, which
    clears the pages for the next step; that took up to half of the time of a training.
    """
    if set_option := _glibc_function("mallopt"):
        set_option(M_ARENA_MAX, 1)
        set_option(M_MMAP_MAX, 0)
        set_option(M_TOP_PAD, 64 << 20)
        set_option(M_TRIM_THRESHOLD, 2**31 - 1)


def release_memory() -> None:
    """Returns freed memory to the system, if its C library is glibc.

    Batches differ in size, so glibc does not reuse the gaps between freed ones. Without this call, a process grew by 50 MB in
    10 hours of audio.
    """
    if trim := _glibc_function("malloc_trim"):
        trim(0)


@functools.cache
def _glibc_function(name: str) -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function
