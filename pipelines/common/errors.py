"""Errors of the command line, and the decorator that reports them."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable, Sequence

from model.bundle import BundleError
from transforms.corpus.sources import SourceError
from transforms.errors import OutputError
from transforms.storage.gcs.client import patch_beam
from transforms.storage.storage_errors import outage

Run = Callable[[Sequence[str]], int]
# Exit status of a command that has done its work, but without any utterance as the result.
NOTHING_LEFT = 3


class UsageError(ValueError):
    """An invalid option or argument of a command."""


def command(job: str) -> Callable[[Run], Run]:
    """Reports expected errors of a command in one line: exit status 2 for usage errors, 1 if storage is unavailable.

    The command itself returns `NOTHING_LEFT` if it has no result.

    Args:
        job: name of the command, for the beginning of the line.

    Returns:
        A decorator for the command's `run`.
    """

    def decorate(run: Run) -> Run:
        @functools.wraps(run)
        def reporting(argv: Sequence[str]) -> int:
            # Beam warns about packages that a local run does not need.
            logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s", force=True)
            logging.getLogger().handlers[0].addFilter(_is_not_outage)
            patch_beam()
            try:
                return run(argv)
            except (UsageError, SourceError, OutputError, BundleError) as error:
                print(f"audiosieve {job}: {error}", file=sys.stderr)
                return 2
            except Exception as error:
                message = outage(error)
                if message is None:
                    raise
                print(f"audiosieve {job}: {message}; run the same command again when it does", file=sys.stderr)
                return 1

        return reporting

    return decorate


def _is_not_outage(record: logging.LogRecord) -> bool:
    """Filters log records about unavailable storage: Beam logs this error and also raises it, which `command` reports."""
    return not (record.exc_info and record.exc_info[1] and outage(record.exc_info[1]))
