"""Listing of objects: no object twice, and no more requests than needed."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.storage.files import Place, match, places_in, stream
from transforms.storage.gcs import listing as gcs_listing


class FakeBlobs:
    """Answer of `list_blobs`, in pages of two."""

    def __init__(self, names: list[str], prefix: str, delimiter: str | None) -> None:
        blobs, prefixes = [], []
        for name in sorted(names):
            if name.startswith(prefix):
                inside, slash, _ = name.removeprefix(prefix).partition("/")
                if delimiter and slash:
                    prefixes.append(f"{prefix}{inside}/")
                else:
                    created = datetime(2026, 1, 1, tzinfo=UTC)
                    blobs.append(SimpleNamespace(name=name, size=5, time_created=created, generation=7))
        entries = [*dict.fromkeys(prefixes), *blobs]
        self.pages = [Page(entries[start : start + 2]) for start in range(0, len(entries), 2)]

    def __iter__(self):
        return (blob for page in self.pages for blob in page)


class Page:
    def __init__(self, entries: list) -> None:
        self.prefixes = tuple(entry for entry in entries if isinstance(entry, str))
        self._blobs = [entry for entry in entries if not isinstance(entry, str)]

    def __iter__(self):
        return iter(self._blobs)


NAMES = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), max_size=12, unique=True)


@given(names=NAMES, most=st.integers(1, 6))
def test_places_contain_each_object_once(names, most):
    objects = [f"root/{name}/x.wav" for name in names]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gcs_listing, "list_blobs", lambda _, prefix, delimiter: FakeBlobs(objects, prefix, delimiter))
        places = list(places_in("gs://bucket/root", most))
        found = [file.uri for place in places for file in stream(place)]
    assert sorted(found) == sorted(f"gs://bucket/{name}" for name in objects)
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    ("pattern", "found", "asked"),
    [
        ("root/a.wav", ["root/a.wav"], 2),
        ("root/*.wav", ["root/a.wav", "root/a.wave.wav"], 4),
        ("root/**", ["root/a.wav", "root/a.wave.wav", "root/b.txt", "root/x/a.wav", "root/x/y/c.wav"], 5),
        ("root/?/a.wav", ["root/x/a.wav"], 5),
        ("root/x/*/*.wav", ["root/x/y/c.wav"], 2),
        ("root/[b].txt", ["root/b.txt"], 5),
    ],
)
def test_a_pattern_lists_only_what_it_needs(pattern, found, asked):
    there = ["other/a.wav", "root/a.wav", "root/a.wave.wav", "root/b.txt", "root/x/a.wav", "root/x/y/c.wav"]
    named = []

    def blobs(_, prefix, delimiter):
        answer = FakeBlobs(there, prefix, delimiter)
        named.extend(entry for page in answer.pages for entry in (*page.prefixes, *page))
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gcs_listing, "list_blobs", blobs)
        assert [file.uri for file in match(f"gs://bucket/{pattern}")] == [f"gs://bucket/{name}" for name in found]
    assert len(named) == asked


def test_a_folder_without_folders_is_one_place():
    many = [f"root/{i:04d}.wav" for i in range(100)]
    asked = []

    def blobs(_, prefix, delimiter):
        found = FakeBlobs(many, prefix, delimiter)
        found.pages = (asked.append(page) or page for page in found.pages)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gcs_listing, "list_blobs", blobs)
        assert list(places_in("gs://bucket/root", 10)) == [Place("gs://bucket/root", deep=True)]
    assert len(asked) == 1
