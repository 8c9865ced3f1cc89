"""Messages of the errors that filesystems raise."""

from __future__ import annotations

import re

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

_NEEDS_EXTRA = {"gs": "gcp"}


class StorageError(RuntimeError):
    """A storage that did not answer until the retries ran out. It tells nothing about the files in the storage."""


def reason(error: BaseException) -> str:
    """Returns the message of an error; of errors that Beam wrapped, the message of the first one."""
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
    """Returns the message of a `StorageError`, also of one that a runner quoted in its own error; else None."""
    text = f"StorageError: {error}" if isinstance(error, StorageError) else str(error)
    found = re.search(r"StorageError: ([^\n]*?)(?: \[while running|\n|$)", text)
    return found[1] if found else None
