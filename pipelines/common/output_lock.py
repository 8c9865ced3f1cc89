"""Lock that prevents two runs from writing to one folder at the same time, on one machine or on two."""

from __future__ import annotations

import contextlib
import fcntl
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from transforms.errors import OutputError
from transforms.storage.files import absolute, is_local
from transforms.storage.lease import Holder, Lease, LockedError
from transforms.storage.lock_files import lock_file
from transforms.storage.storage_errors import reason

# File that the system locks, until the process ends in any way. Other machines may not see this lock.
LOCK = ".lock"
# File that names the holder, who renews it. Other machines see it.
HOLDER = ".lock.json"


class OutputLock:
    """The lock on a folder, while it is held.

    Args:
        output: path or URI of the folder.
        lease: lease on the folder.
    """

    def __init__(self, output: str, lease: Lease) -> None:
        self._output, self._lease = output, lease

    def check(self) -> None:
        """Checks that this process still holds the lock. Called before each commit.

        Raises:
            OutputError: another process has taken it over.
            StorageError: the storage does not answer.
        """
        if not self._lease.is_held():
            raise OutputError(
                f"--output {self._output}: another process has taken over the lock, because this one did not renew it in time; "
                "what is committed stays, run the same command again when the other one has ended"
            )

    def release(self) -> None:
        """Gives the lock up, if this process still holds it."""
        self._lease.release()


@contextlib.contextmanager
def output_lock(output: str | Path) -> Iterator[OutputLock]:
    """Locks a folder until the block ends.

    If this process dies, the lock ends at once for processes of this machine, and after `lease.EXPIRY_S` for others.

    Args:
        output: path or URI of the folder, which is created.

    Raises:
        OutputError: another process holds the lock, or the folder cannot be written.
        StorageError: the storage does not answer.
    """
    place = absolute(str(output)).rstrip("/")
    with contextlib.ExitStack() as stack:
        if is_local(place):
            _lock_on_this_machine(stack.enter_context(_open(output, Path(place))), output, Path(place))
        lease = Lease(lock_file(f"{place}/{HOLDER}"))
        try:
            lease.acquire()
        except LockedError as error:
            wait = f"; if that process has died, run this command again in {max(1, math.ceil(error.remaining_s))} s"
            raise OutputError(_refusal(output, error.holder) + wait) from error
        except OSError as error:
            raise OutputError(f"--output {output}: cannot write there ({reason(error)})") from error
        lock = OutputLock(str(output), lease)
        stack.callback(lock.release)
        yield lock


def _open(output: str | Path, place: Path) -> TextIO:
    try:
        place.mkdir(parents=True, exist_ok=True)
        return (place / LOCK).open("w", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--output {output}: cannot write there ({error.strerror})") from error


def _lock_on_this_machine(file: TextIO, output: str | Path, place: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = None
        with contextlib.suppress(OSError):
            holder = Holder.parse((place / HOLDER).read_bytes())
        raise OutputError(_refusal(output, holder)) from None
    except OSError as error:
        print(
            f"--output {output}: cannot be locked ({error.strerror}); do not start another run with this output",
            file=sys.stderr,
        )


def _refusal(output: str | Path, holder: Holder | None) -> str:
    return (
        f"--output {output}: another audiosieve process is writing there ({holder or 'it has not said which'}); wait until it "
        "has ended, or choose another --output"
    )
