"""Workers list a folder as the launcher would, and leave out what earlier runs have done."""

from __future__ import annotations

import os
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from tests.outputs import rejected, scored, write_output
from transforms import schemas
from transforms.ledger import Ledger
from transforms.listing import ListCorpus
from transforms.records import Reason
from transforms.telemetry import Work


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Files of the size and time that rows of `tests.outputs` have."""
    for name in ("a", "b", "deep/c", "deep/d"):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1_000))
        os.utime(path, (1, 1))
    return tmp_path / "corpus"


def listed(corpus: Path, output: Path, ids: list[str], skipped: int) -> None:
    """Checks what is listed, and how many are found done."""

    def check_ids(chunks: list) -> None:
        found = [ref.utterance_id for chunk in chunks for recording in chunk for ref in recording.refs]
        assert sorted(found) == ids

    def check_work(sums: list) -> None:
        assert sum((Work.of_sums(item) for item in sums), Work()).skipped == skipped

    with beam.Pipeline(FnApiRunner()) as root:
        found = root | ListCorpus(str(corpus), Ledger(str(output), tuple(schemas.SCORE_TABLES)))
        assert_that(found.chunks, check_ids, label="ids")
        assert_that(found.work, check_work, label="work")


def test_a_first_run_lists_all(corpus, tmp_path):
    listed(corpus, tmp_path / "out", ["a", "b", "deep/c", "deep/d"], 0)


def test_what_is_done_is_left_out_and_what_changed_is_not(corpus, tmp_path):
    lost = rejected("deep/d")
    lost = type(lost)(str(corpus / "deep/d"), *(getattr(lost, name) for name in lost.__slots__[1:]))
    write_output(
        tmp_path / "out",
        [scored(name, 3.0, uri=str(corpus / name)) for name in ("a", "deep/c")],
        [lost, rejected("b", Reason.UNREADABLE)],
    )
    listed(corpus, tmp_path / "out", ["b"], 3)
    (corpus / "a").write_bytes(bytes(1_001))
    listed(corpus, tmp_path / "out", ["a", "b"], 2)


def test_rows_of_runs_are_named_where_the_job_runs_and_not_in_it(corpus, tmp_path):
    for number in range(40):
        write_output(tmp_path / "out", [scored(f"{number}", 3.0)])
    root = beam.Pipeline(FnApiRunner())
    root | ListCorpus(str(corpus), Ledger(str(tmp_path / "out"), tuple(schemas.SCORE_TABLES)))
    few = len(root.to_runner_api().SerializeToString())
    for number in range(40, 80):
        write_output(tmp_path / "out", [scored(f"{number}", 3.0)])
    root = beam.Pipeline(FnApiRunner())
    root | ListCorpus(str(corpus), Ledger(str(tmp_path / "out"), tuple(schemas.SCORE_TABLES)))
    assert len(root.to_runner_api().SerializeToString()) == pytest.approx(few, abs=100)
