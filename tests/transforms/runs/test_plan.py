"""A plan returns the chunks that were written to it."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transforms.elements import ArchiveKind, AudioRef, ListedMember, Recording, RowFault, Span
from transforms.errors import Reason
from transforms.output.ledger import Ledger
from transforms.runs.plan import ReadPlan, WritePlan, count_planned, plan_paths, planned, read_plan, write_plan

RUN = "20260101T000000Z-aaaaaa"

spans = st.just(Span()) | st.builds(Span, st.floats(0, 9), st.none() | st.floats(10, 99))
columns = st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
members = st.builds(ListedMember, st.text(max_size=3), spans, columns)
refs = st.builds(
    AudioRef,
    utterance_id=st.text(max_size=5),
    # With bytes that are not UTF-8, as in file names.
    uri=st.binary(min_size=1, max_size=5).map(lambda name: "/" + name.decode("utf-8", "surrogateescape")),
    size_bytes=st.integers(0, 2**40),
    source_version=st.text(max_size=5),
    columns=columns,
    span=spans,
    archive=st.none() | st.sampled_from(ArchiveKind),
    channel=st.none() | st.integers(0, 7),
    fault=st.none() | st.builds(RowFault, st.sampled_from(Reason), st.text(max_size=5)),
    row=st.integers(0, 2**40),
    listed=st.none() | st.dictionaries(st.text(max_size=3), st.lists(members, max_size=2).map(tuple), max_size=2),
    audio_root=st.text(max_size=5),
)
chunks_of_one = st.lists(refs.map(lambda ref: (Recording((ref,)),)), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=chunks_of_one, file_rows=st.integers(1, 5))
def test_a_plan_is_read_as_it_was_written(tmp_path, chunks, file_rows):
    ledger = Ledger(str(tmp_path / "out"), ("utterances",))
    ledger.begin(RUN, {})
    paths = write_plan(ledger, RUN, chunks, file_rows)
    assert paths == plan_paths(ledger, RUN)
    assert [chunk for path in paths for chunk in read_plan(path)] == chunks
    assert count_planned(paths) == len(chunks)
    listed = [row for batch in planned(paths) for row in batch.to_pylist()]
    assert [row["utterance_id"] for row in listed] == [chunk[0].refs[0].utterance_id for chunk in chunks]
    assert [bool(row["archive_uri"]) for row in listed] == [bool(chunk[0].archive) for chunk in chunks]
    ledger.abandon(RUN)
    assert plan_paths(ledger, RUN) == []


def chunk(*names: str) -> tuple[Recording, ...]:
    return tuple(Recording((AudioRef(name, f"/corpus/{name}", 1, "1"),)) for name in names)


def test_chunks_and_spans_of_a_recording_stay_together(tmp_path):
    ledger = Ledger(str(tmp_path / "out"), ("utterances",))
    spans_of_x = Recording(tuple(AudioRef(f"x{i}", "/corpus/x", 1, "1", span=Span(i, i + 1)) for i in range(3)))
    chunks = [(*chunk("a", "b"), spans_of_x), chunk("c"), chunk("d", "e")]
    assert [found for path in write_plan(ledger, RUN, chunks, 4) for found in read_plan(path)] == chunks


@pytest.mark.parametrize("count", [0, 3])
def test_a_pipeline_reads_and_writes_plans(tmp_path, count):
    ledger = Ledger(str(tmp_path / "out"), ("utterances",))
    chunks = [chunk(f"a{i}", f"b{i}") for i in range(count)]
    paths = write_plan(ledger, RUN, chunks, 2)

    def same(found: list) -> None:
        assert sorted(found, key=str) == chunks

    def one_file(found: list) -> None:
        assert len(found) == min(count, 1)
        assert all(Path(path).name.startswith("plan-") for path in found)
        assert sorted((again for path in found for again in read_plan(path)), key=str) == chunks

    with beam.Pipeline(runner=FnApiRunner()) as root:
        corpus = root | ReadPlan(paths)
        assert_that(corpus.chunks, same)
        assert_that(corpus.chunks | WritePlan(ledger, RUN), one_file, label="written")
