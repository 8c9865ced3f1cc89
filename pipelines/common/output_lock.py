"""A lock that keeps two runs from writing to one folder at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

from apache_beam.io.filesystems import FileSystems

from transforms.errors import OutputError

LOCK = ".lock"


@contextlib.contextmanager
def output_lock(output: str | Path) -> Iterator[None]:
    """Locks a folder on this machine; the system releases the lock if the process dies. Buckets are not locked.

    Args:
        output: folder, which is made if it does not exist.

    Raises:
        OutputError: another process holds the lock, or the folder cannot be written.
    """
    if FileSystems.get_scheme(str(output)) is not None:
        yield
        return
    path = Path(output) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--output {output}: cannot write there ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"--output {output}: another audiosieve is at work there") from None
        except OSError as error:
            print(f"--output {output}: cannot be locked ({error.strerror}); start no other run there", file=sys.stderr)
        yield
