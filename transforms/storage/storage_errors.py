"""Messages of the errors that filesystems raise."""

from __future__ import annotations

import re

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

_NEEDS_EXTRA = {"gs": "gcp"}


class StorageError(RuntimeError):
    """The storage did not answer before the retries ran out. The state of its files is unknown."""


def reason(error: BaseException) -> str:
    """Returns the message of an error, or of the first error that Beam wrapped in it."""
    while isinstance(error, BeamIOError) and error.exception_details:
        cause = next(iter(error.exception_details.values()))
        if not isinstance(cause, BaseException):
            break
        error = cause
    if isinstance(error, ValueError) and str(error).startswith("Unable to get filesystem"):
        scheme = FileSystems.get_scheme(str(error).rpartition(": ")[2])
        if extra := _NEEDS_EXTRA.get(scheme):
            return f'the extra {extra} is not installed: pip install "audiosieve[{extra}]"'
        return f"no filesystem is known for {scheme}://"
    return str(error)


def outage(error: BaseException) -> str | None:
    """Returns the message of a `StorageError`, or of one that a runner quotes in its own error; None for other errors."""
    text = f"StorageError: {error}" if isinstance(error, StorageError) else str(error)
    match = re.search(r"StorageError: ([^\n]*?)(?: \[while running|\n|$)", text)
    return match[1] if match else None
