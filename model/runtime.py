"""Starts TensorFlow with a number of threads, and hides its log lines about missing devices."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator


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


def release_memory() -> None:
    """Returns freed memory to the system, if its C library is glibc.

    Batches differ in size, so glibc does not reuse the gaps between freed ones. Without this call, a process grew by 50 MB in
    10 hours of audio.
    """
    if trim := _malloc_trim():
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
