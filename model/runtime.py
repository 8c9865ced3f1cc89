"""Starts TensorFlow: with as many threads as asked for, and without its chatter about devices that are not there."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator


def start_tensorflow(threads: int | None = None) -> None:
    """Imports TensorFlow and sets its thread pools; call it before any module that imports TensorFlow.

    Args:
        threads: of each pool; None for TensorFlow's own choice. Once TensorFlow has run an operation in this
            process, its pools stay as they are.
    """
    with native_stderr_held():
        import tensorflow as tf

        # A second scorer in one process keeps the first one's threads.
        with contextlib.suppress(RuntimeError):
            if threads:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
        tf.config.list_physical_devices()


@contextlib.contextmanager
def native_stderr_held() -> Iterator[None]:
    """Holds back what native code writes to file descriptor 2; lets it out only if the block fails.

    TensorFlow 2.21 logs a dozen lines at start-up that no environment variable turns off (its logger is not yet
    initialised then), even where all is well.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def give_back_memory() -> None:
    """Gives what was freed back to the system, where its C library (glibc) can.

    Batches are all of different sizes, and what they leave free between them is not asked for again: without this a process
    took 50 MB more after 10 hours of audio.
    """
    if trim := _malloc_trim():
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
