"""Lock that prevents two runs from writing to one folder at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

from transforms.errors import OutputError
from transforms.storage.files import is_local

LOCK = ".lock"


@contextlib.contextmanager
def output_lock(output: str | Path) -> Iterator[None]:
    """Locks a local folder until the block or the process ends. A folder in a bucket is not locked.

    Args:
        output: path of the folder, which is created.

    Raises:
        OutputError: another process holds the lock, or the folder cannot be written.
    """
    if not is_local(str(output)):
        yield
        return
    lock = Path(output) / LOCK
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--output {output}: cannot write there ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"--output {output}: another audiosieve process is writing there") from None
        except OSError as error:
            print(
                f"--output {output}: cannot be locked ({error.strerror}); do not start another run with this output",
                file=sys.stderr,
            )
        yield
