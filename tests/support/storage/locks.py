"""Locks of other machines, and short times, so that tests see how a lock expires."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator

import pytest

from transforms.storage import lease
from transforms.storage.lease import Holder, Lease
from transforms.storage.lock_files import lock_file


def hurry(monkeypatch: pytest.MonkeyPatch, renew_s: float = 0.2, expiry_s: float = 1.5) -> None:
    """Makes locks expire after little time."""
    monkeypatch.setattr(lease, "RENEW_S", renew_s)
    monkeypatch.setattr(lease, "EXPIRY_S", expiry_s)


def elsewhere(host: str = "other-host") -> Holder:
    """Returns a holder on another machine."""
    return dataclasses.replace(Holder.this_process(), host=host, machine=f"{host}/boot/container", pid=4711)


def lease_of(uri: str, holder: Holder) -> Lease:
    """Returns a lease of another process, not yet acquired."""
    other = Lease(lock_file(uri))
    other.holder, other._content = holder, holder.as_json()
    return other


def left_behind(uri: str, holder: Holder) -> None:
    """Creates the lock file of a process that was killed."""
    assert lock_file(uri).create(holder.as_json()) is not None


@contextlib.contextmanager
def silent(other: Lease) -> Iterator[None]:
    """Stops a process from renewing its lock, as if its machine slept."""
    other._stop.set()
    yield
    other._stop = threading.Event()
