"""Starts worker processes. This module imports little, so that the first one starts before the launcher's own imports.

A command that was started for itself scores in worker processes, which may die without harm. A Python program that calls the
command, such as a test, scores in its own process, where TensorFlow is loaded once for several runs.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from model.quick_imports import quick_imports

# Options with which a command scores nothing in worker processes of this machine, with underscores for hyphens. Neither does
# `audiosieve score FILE`.
_WITHOUT_WORKERS = {"_h", "__help", "__dry_run", "__runner"}
_OUTPUT = {"_o", "__output"}
_PR_SET_PDEATHSIG = 1

Worker = tuple[BaseProcess, Connection]
_is_own = False
_first: list[Worker] = []


def declare_own(arguments: Sequence[str]) -> None:
    """States that this process was started for `audiosieve score`, and starts its first worker.

    Args:
        arguments: arguments of the command.
    """
    global _is_own
    _is_own = True
    names = {argument.partition("=")[0].replace("-", "_") for argument in arguments}
    is_single = sum(not argument.startswith("-") for argument in arguments) == 1 and not names & _OUTPUT
    if not names & _WITHOUT_WORKERS and not is_single:
        _first.append(_start())


def is_own() -> bool:
    """Whether this process was started for one command."""
    return _is_own


def start_worker() -> Worker:
    """Starts a worker process, or returns the first one; with the connection to it."""
    return _first.pop() if _first else _start()


def _start() -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # The system ends a daemon with this process, also after a usage error.
    process = context.Process(target=_serve, args=(theirs, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _serve(connection: Connection, parent: int) -> None:
    """Runs jobs. The process ignores Ctrl-C, which the parent handles, and ends when the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
    logging.basicConfig(level=logging.ERROR)  # Beam warns about packages that a local run does not need
    # Keras would import it, for plots that no worker makes.
    sys.modules["matplotlib"] = None  # type: ignore[assignment]
    with quick_imports():
        from pipelines.scoring.process_pool import serve_jobs

    serve_jobs(connection)


def end_with(parent: int) -> None:
    """Makes this process end when the parent has ended."""
    if sys.platform == "linux":
        # The system ends this process even while a decoder holds the lock of the interpreter.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
