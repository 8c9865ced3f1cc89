"""Recordings in buckets are fetched ahead: in order, and only a limited number."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.io.filesystems import FileSystems

from model.features import FeatureConfig
from tests.support.storage.local_buckets import Shelf, bucket
from transforms.audio.prefetch import MAX_AHEAD, MAX_BYTES, open_ahead
from transforms.elements import ArchiveKind, AudioRef, FeaturizedUtterance, Recording
from transforms.errors import AudioFault, Reason
from transforms.scoring.featurize import Featurize
from transforms.storage.files import look_at

assert Shelf  # importing the class registers it with Beam


def recordings(folder: Path, count: int, size: int = 10) -> list[Recording]:
    """Writes files with different bytes to a bucket."""
    files = []
    for number in range(count):
        (folder / f"{number}.raw").write_bytes(bytes([number]) * size)
        files.append(Recording((AudioRef(str(number), bucket(folder / f"{number}.raw"), size, "1-1"),)))
    return files


def test_recordings_have_their_own_bytes_in_order(tmp_path: Path) -> None:
    files = recordings(tmp_path, 3 * MAX_AHEAD + 1)
    read = []
    for number, (recording, file) in enumerate(open_ahead(files)):
        read.append(recording)
        with file as content:
            assert content.read() == bytes([number]) * 10
    assert read == files
    assert list(open_ahead([])) == []


@dataclasses.dataclass
class Opens:
    """The files that were opened, each with the name of the thread."""

    files: list[tuple[str, str]]
    count: threading.Semaphore


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Opens:
    recorded = Opens([], threading.Semaphore(0))
    open_file = FileSystems.open

    def record(uri: str, *arguments: Any, **options: Any) -> Any:
        recorded.files.append((uri, threading.current_thread().name))
        recorded.count.release()
        return open_file(uri, *arguments, **options)

    monkeypatch.setattr(FileSystems, "open", record)
    return recorded


def test_the_next_recordings_are_fetched_while_one_is_in_use(tmp_path: Path, opens: Opens) -> None:
    files = recordings(tmp_path, 5 * MAX_AHEAD)
    iterator = open_ahead(files)
    next(iterator)
    for _ in range(MAX_AHEAD + 1):  # the one in use and those ahead of it
        assert opens.count.acquire(timeout=30)
    assert sorted(uri for uri, _ in opens.files) == sorted(recording.uri for recording in files[: MAX_AHEAD + 1])
    assert not opens.count.acquire(timeout=0.2), "too many recordings were fetched"
    iterator.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["local", "large", "empty", "archive"])
def test_other_recordings_are_opened_when_they_are_used(tmp_path: Path, opens: Opens, kind: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    size = {"large": MAX_BYTES + 1, "empty": 0}.get(kind, 4)
    uri = str(path) if kind == "local" else bucket(path)
    recording = Recording((AudioRef("a", uri, size, "1-1", archive=ArchiveKind.TAR if kind == "archive" else None),))
    ((_, file),) = open_ahead([recording])
    with file as content:
        assert content.read() == b"RIFF"
    assert opens.files == [(uri, threading.current_thread().name)]


def test_a_deleted_file_is_a_fault_and_does_not_affect_others(tmp_path: Path) -> None:
    files = recordings(tmp_path, 3)
    (tmp_path / "1.raw").unlink()
    results = []
    for _, file in open_ahead(files):
        try:
            with file as content:
                results.append(content.read(1))
        except AudioFault as fault:
            results.append(fault.reason)
    assert results == [b"\0", Reason.UNREADABLE, b"\2"]


def test_features_in_a_bucket_equal_those_of_local_files(samples: Path) -> None:
    files = [look_at(str(path)).ref(path.name) for path in sorted(samples.iterdir())]
    local_features, fetched_features = (
        list(
            Featurize(FeatureConfig()).process(
                [Recording((dataclasses.replace(ref, uri=location(ref.uri)),)) for ref in files]
            )
        )
        for location in (str, bucket)
    )
    assert len(local_features) == len(fetched_features) == len(files)
    for local, fetched in zip(local_features, fetched_features, strict=True):
        assert type(local) is type(fetched)
        if isinstance(local, FeaturizedUtterance):
            np.testing.assert_array_equal(local.spectrogram[:], fetched.spectrogram[:])
