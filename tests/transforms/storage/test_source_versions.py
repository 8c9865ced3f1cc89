"""A version follows the content of a file, and versions of earlier releases stay valid."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.storage.gcs_emulator import Bucket
from transforms.corpus.sources import list_corpus
from transforms.elements import Span
from transforms.storage.files import File
from transforms.storage.source_versions import (
    NO_VERSION,
    is_same_version,
    version_of_file,
    version_of_object,
    version_of_time,
)

CREATED_S = 1_700_000_000.25
CURRENT = version_of_object(500, CREATED_S, 1_700_000_000_249_911)
SPAN = "@1.000000-2.500000#1"


def test_a_version_of_an_object_follows_uploads_and_not_metadata(bucket: Bucket) -> None:
    uri = bucket.write("in/a.wav", b"12345")
    (before,) = list_corpus(uri)
    bucket.edit_metadata("in/a.wav")
    assert list_corpus(uri) == [before]
    bucket.write("in/a.wav", b"54321")
    (after,) = list_corpus(uri)
    assert after.source_version != before.source_version


def test_all_ways_to_list_an_object_give_one_version(bucket: Bucket) -> None:
    bucket.write("in/a.wav", b"12345")
    manifest = bucket.write("list.csv", "path\nin/a.wav\n")
    sources = (bucket / "in", bucket / "in/a.wav", bucket / "in/*.wav", bucket / "i*/**", manifest)
    assert len({ref.source_version for source in sources for ref in list_corpus(source)}) == 1


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        (version_of_time(500, CREATED_S), True),  # scored when it was new
        (version_of_time(500, CREATED_S + 86_400), True),  # scored after its metadata had changed
        (version_of_time(500, CREATED_S - 0.001), False),  # uploaded again since then
        (version_of_time(501, CREATED_S), False),
        (version_of_object(500, CREATED_S, 1), False),
        (NO_VERSION, False),
        ("", False),
        ("older", False),
    ],
)
@pytest.mark.parametrize("place", ["", SPAN])
def test_versions_of_earlier_releases_stay_valid(recorded: str, expected: bool, place: str) -> None:
    assert is_same_version(recorded + place, CURRENT + place) is expected
    assert not is_same_version(recorded + place, f"{CURRENT}@0.500000-")
    assert not is_same_version(recorded, CURRENT + SPAN)


@given(st.integers(0, 10**9), st.integers(0, 4 * 10**15), st.integers(0, 10**6))
def test_files_with_times_match_only_equal_versions(size_bytes: int, time_us: int, later_us: int) -> None:
    before = version_of_time(size_bytes, time_us / 1e6)
    after = version_of_time(size_bytes, (time_us + later_us) / 1e6)
    assert is_same_version(before, after) is (before == after) is is_same_version(after, before)


def test_the_version_of_the_file_has_no_span_and_no_channel() -> None:
    ref = File("gs://b/a.wav", 500, CURRENT).ref("a", span=Span(1.0, 2.5), channel=1)
    assert ref.source_version == CURRENT + SPAN
    assert version_of_file(ref.source_version) == CURRENT
    assert re.fullmatch(r"500-1700000000\.250000-1700000000249911", CURRENT)
