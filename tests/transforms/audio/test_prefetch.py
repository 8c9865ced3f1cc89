"""Recordings in buckets are fetched ahead: the same bytes in the same order, and never too many."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from model.features import FeatureConfig
from tests.support.buckets import Shelf, bucket
from transforms.audio import prefetch
from transforms.audio.prefetch import AHEAD, MOST_BYTES, opened
from transforms.elements import ArchiveKind, AudioRef, FeaturizedUtterance, Recording
from transforms.errors import AudioFault, Reason
from transforms.scoring.featurize import Featurize
from transforms.storage.files import look_at

assert Shelf  # Beam finds it by its having been imported


def recordings(folder: Path, count: int, size: int = 10) -> list[Recording]:
    """Files in a bucket, each with bytes of its own."""
    found = []
    for number in range(count):
        (folder / f"{number}.raw").write_bytes(bytes([number]) * size)
        found.append(Recording((AudioRef(str(number), bucket(folder / f"{number}.raw"), size, "1-1"),)))
    return found


def test_each_comes_with_its_own_bytes_in_order(tmp_path: Path) -> None:
    files = recordings(tmp_path, 3 * AHEAD + 1)
    seen = []
    for number, (recording, file) in enumerate(opened(files)):
        seen.append(recording)
        with file as there:
            assert there.read() == bytes([number]) * 10
    assert seen == files
    assert list(opened([])) == []


def test_the_next_are_fetched_while_one_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    enough = threading.Semaphore(0)
    fetch = prefetch._fetch

    def counted(uri: str) -> bytes:
        fetched.append(uri)
        enough.release()
        return fetch(uri)

    monkeypatch.setattr(prefetch, "_fetch", counted)
    files = recordings(tmp_path, 5 * AHEAD)
    coming = opened(files)
    next(coming)
    for _ in range(AHEAD + 1):  # the one that is held, and those ahead of it
        assert enough.acquire(timeout=30)
    assert sorted(fetched) == sorted(recording.uri for recording in files[: AHEAD + 1])
    assert not enough.acquire(timeout=0.2), "more than may be held at a time"
    coming.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["local", "large", "empty", "archive"])
def test_what_is_not_fetched_is_opened_when_its_turn_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    size = {"large": MOST_BYTES + 1, "empty": 0}.get(kind, 4)
    uri = str(path) if kind == "local" else bucket(path)
    recording = Recording((AudioRef("a", uri, size, "1-1", archive=ArchiveKind.TAR if kind == "archive" else None),))

    def never(_: str) -> bytes:
        raise AssertionError("fetched")

    monkeypatch.setattr(prefetch, "_fetch", never)
    ((_, file),) = opened([recording])
    with file as there:
        assert there.read() == b"RIFF"


def test_a_file_that_is_gone_is_a_fault_where_it_is_entered_and_costs_no_other(tmp_path: Path) -> None:
    files = recordings(tmp_path, 3)
    (tmp_path / "1.raw").unlink()
    told = []
    for _, file in opened(files):
        try:
            with file as there:
                told.append(there.read(1))
        except AudioFault as fault:
            told.append(fault.reason)
    assert told == [b"\0", Reason.UNREADABLE, b"\2"]


def test_features_are_those_of_the_local_files(samples: Path) -> None:
    files = [look_at(str(path)).ref(path.name) for path in sorted(samples.iterdir())]
    here, there = (
        list(
            Featurize(FeatureConfig()).process(
                [Recording((dataclasses.replace(ref, uri=place(ref.uri)),)) for ref in files]
            )
        )
        for place in (str, bucket)
    )
    assert len(here) == len(there) == len(files)
    for local, fetched in zip(here, there, strict=True):
        assert type(local) is type(fetched)
        if isinstance(local, FeaturizedUtterance):
            np.testing.assert_array_equal(local.spectrogram[:], fetched.spectrogram[:])
