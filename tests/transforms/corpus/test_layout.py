"""A place that may be a corpus: which files it is known to have, and which it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from apache_beam.io.filesystems import FileSystems

from transforms.corpus import layout
from transforms.corpus.layout import Source
from transforms.storage.files import File

FOLDER = "gs://bucket/speech"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that the bucket is asked for. It has only the file z.scp beside its listing."""
    found: list[str] = []

    def exists(path: str) -> bool:
        found.append(path)
        return path == f"{FOLDER}/z.scp"

    monkeypatch.setattr(FileSystems, "exists", exists)
    monkeypatch.setattr(layout, "is_directory", lambda uri: uri == FOLDER)
    return found


def listed(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    files = [File(f"{FOLDER}/{name}", 1, "1") for name in names]
    monkeypatch.setattr(layout, "walk", lambda _: iter(files))


def test_one_listing_answers_for_all_files_of_a_small_folder(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, ["a.flac", "wav.scp"])
    place = Source(FOLDER)
    assert place.file("wav.scp").exists
    assert not place.file("segments").exists
    assert asked == []


def test_a_folder_with_more_files_than_the_listing_is_asked(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_MOST_OBJECTS", 2)
    listed(monkeypatch, ["a.flac", "b.flac", "z.scp"])
    assert Source(FOLDER).file("z.scp").exists
    assert asked == [f"{FOLDER}/z.scp"]


def test_a_folder_that_may_not_be_listed_is_asked(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> Iterator[File]:
        raise PermissionError("no storage.objects.list")
        yield

    monkeypatch.setattr(layout, "walk", refused)
    assert Source(FOLDER).file("z.scp").exists
    assert asked == [f"{FOLDER}/z.scp"]
