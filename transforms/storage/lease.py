"""Lock that its holder must renew, so that one whose process or machine has died expires."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

from transforms.storage.lock_files import LockFile

# Seconds between two renewals, and after the last one until another process may take the lock over.
RENEW_S = 15.0
EXPIRY_S = 60.0
# Number of times to try, while other processes create and delete the lock.
_ATTEMPTS = 5
# Tokens of the leases of this process.
_held: set[str] = set()


@dataclasses.dataclass(frozen=True)
class Holder:
    """Process that holds a lock.

    Attributes:
        host: name of its machine.
        pid: number of the process.
        started: time (UTC) when it took the lock.
        machine: name, boot and container of its machine; processes with the same value see each other.
        process: time of the start of the process, by the machine's clock; tells it from a later one with the same number.
        token: random text that no other lock has.
    """

    host: str
    pid: int
    started: str
    machine: str
    process: str
    token: str

    @classmethod
    def this_process(cls) -> Holder:
        """Returns a new holder for this process."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            started=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            machine=_machine(),
            process=_process_start(os.getpid()) or "",
            token=secrets.token_hex(16),
        )

    @classmethod
    def parse(cls, content: bytes) -> Holder | None:
        """Returns the holder that a lock file names; None if the file is empty or incomplete."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None

    def as_json(self) -> bytes:
        """Returns the content of the lock file."""
        return json.dumps(dataclasses.asdict(self)).encode()

    def has_ended(self) -> bool:
        """Returns whether this is known: the process ran on this machine, and is gone or has given the lock up."""
        if self.machine != _machine():
            return False
        if self.pid == os.getpid() and self.token in _held:
            return False
        return self.pid == os.getpid() or _process_start(self.pid) != self.process

    def __str__(self) -> str:
        return f"host {self.host}, pid {self.pid}, since {self.started}"


class LockedError(Exception):
    """Another process holds the lock.

    Args:
        holder: the process; None if the lock file does not name it.
        remaining_s: seconds until the lock expires if it is not renewed.
    """

    def __init__(self, holder: Holder | None, remaining_s: float) -> None:
        super().__init__(str(holder or "an unknown process"))
        self.holder = holder
        self.remaining_s = remaining_s


class Lease:
    """A lock that a thread renews until it is released or this process ends.

    Args:
        file: lock file.
    """

    def __init__(self, file: LockFile) -> None:
        self._file = file
        self.holder = Holder.this_process()
        self._content = self.holder.as_json()
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._is_lost = True  # until it is acquired

    def acquire(self) -> None:
        """Takes the lock; also one that has expired, or whose process on this machine has ended.

        Raises:
            LockedError: another process holds it.
            OSError: the lock file cannot be written.
            StorageError: the storage does not answer.
        """
        # Known before the file names it: another thread that reads the file must not take this lock for one that was given up.
        _held.add(self.holder.token)
        try:
            self._acquire()
        except BaseException:
            _held.discard(self.holder.token)
            raise
        threading.Thread(target=self._keep, daemon=True).start()

    def _acquire(self) -> None:
        holder, remaining_s = None, EXPIRY_S
        for _ in range(_ATTEMPTS):
            self._version = self._file.create(self._content)
            if self._version is None and (found := self._file.read()):
                holder, remaining_s = Holder.parse(found.content), EXPIRY_S - found.age_s
                if remaining_s > 0 and not (holder and holder.has_ended()):
                    break
                self._version = self._file.take_over(found.version, self._content)
            if self._version is not None:
                self._is_lost = False
                return
        raise LockedError(holder, remaining_s)

    def _keep(self) -> None:
        while not self._stop.wait(RENEW_S):
            with contextlib.suppress(Exception):  # `is_held` raises what matters
                self.is_held()

    def is_held(self) -> bool:
        """Renews the lock; returns whether this process still holds it.

        Raises:
            OSError: the lock file cannot be written.
            StorageError: the storage does not answer.
        """
        with self._mutex:
            if self._is_lost or self._stop.is_set():
                return False
            version = self._file.renew(self._version, self._content)
            if version is None:
                found = self._file.read()
                if found is None:  # somebody has deleted it
                    version = self._file.create(self._content)
                elif found.content == self._content:  # an earlier renewal succeeded, but its answer was lost
                    version = found.version
            self._is_lost = version is None
            if not self._is_lost:
                self._version = version
            return not self._is_lost

    def release(self) -> None:
        """Gives the lock up. A lock that cannot be deleted expires."""
        self._stop.set()
        _held.discard(self.holder.token)
        # The thread may wait for a storage that does not answer.
        if self._mutex.acquire(timeout=RENEW_S):
            try:
                if not self._is_lost:
                    with contextlib.suppress(Exception):
                        self._file.delete(self._version)
            finally:
                self._mutex.release()


def _machine() -> str:
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # only Linux has them
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    return "/".join(parts)


def _process_start(pid: int) -> str | None:
    """Returns a text that tells a process from others with the same number; None if there is no such process."""
    if not Path("/proc/self/stat").exists():  # not on Linux
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
        return ""
    try:
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None
    return None if state in {"Z", "X"} else fields[18]  # a killed process stays until its parent looks at it
