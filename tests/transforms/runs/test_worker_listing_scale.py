"""Listing and planning a very large corpus takes bounded memory and few requests."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from tests.benchmarks.listing import RUN, list_and_plan
from tests.support.storage.generated_bucket import PAGE, GeneratedBucket, generated
from transforms.corpus.sources import list_corpus
from transforms.output.ledger import Ledger
from transforms.runs.plan import FILE_ROWS, plan_paths, read_plan
from transforms.runs.worker_listing import SORTED_FILES
from transforms.storage.files import places_in, stream


def planned(output: Path) -> list[str]:
    """Returns the ids in a plan, sorted."""
    paths = plan_paths(Ledger(str(output), ()), RUN)
    return sorted(
        ref.utterance_id for path in paths for chunk in read_plan(path) for recording in chunk for ref in recording.refs
    )


@pytest.mark.parametrize("in_folder", [250, 2_400, 1_000_000], ids=["many folders", "some", "one"])
def test_each_object_is_planned_once(tmp_path, in_folder):
    bucket = GeneratedBucket(12_345, in_folder)
    found = list_and_plan(bucket, tmp_path / "out")
    assert found["refs"] == found["planned"] == 12_345
    with generated(bucket) as source:
        assert planned(tmp_path / "out") == [ref.utterance_id for ref in list_corpus(source)]


def test_any_number_of_places_contains_each_object_once():
    bucket = GeneratedBucket(4_500, 3)
    for most in (1, 2, 3, 100, 2_000):
        with generated(bucket) as source:
            places = list(places_in(source, most))
            assert sum(1 for place in places for _ in stream(place)) == 4_500
        assert len(places) >= min(most, 1_500)


def test_listing_takes_few_requests():
    bucket = GeneratedBucket(100_000, 10_000)
    with generated(bucket) as source:
        places = list(places_in(source, 2_000))
        looked = bucket.requests
        assert sum(1 for place in places for _ in stream(place)) == 100_000
    # One request for the folder, one for its only folder, and one for each of the ten folders in that.
    assert looked == 1 + 1 + 10
    # One request for each page of objects; the two upper folders have no objects of their own.
    assert bucket.requests - looked == 100_000 / PAGE + 2


def peak_mb(objects: int, output: Path) -> float:
    """Returns the peak of Python's memory in MB while objects are listed and planned."""
    bucket = GeneratedBucket(objects, 5_000)
    tracemalloc.start()
    try:
        assert list_and_plan(bucket, output)["planned"] == objects
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_corpus(tmp_path, monkeypatch):
    # Smaller limits, so that few objects suffice.
    monkeypatch.setattr("transforms.runs.worker_listing.SORTED_FILES", SORTED_FILES // 20)
    monkeypatch.setattr("transforms.runs.plan.FILE_ROWS", FILE_ROWS // 20)
    list_and_plan(GeneratedBucket(1_000, 1_000), tmp_path / "warm")
    small, large = peak_mb(10_000, tmp_path / "small"), peak_mb(40_000, tmp_path / "large")
    # Only counts grow. Held in memory, the further 30,000 objects would take some 25 MB.
    assert large < 1.2 * small, (small, large)
