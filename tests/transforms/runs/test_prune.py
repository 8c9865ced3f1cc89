"""Rows of deleted recordings are removed, and no others: not if a listing fails, and not if it is incomplete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.ledgers import on_disk
from tests.support.outputs import rejected, scored, write_output
from tests.support.run_tables import ref
from transforms import schemas
from transforms.corpus.listing import ListingOptions
from transforms.corpus.sources import scan_corpus
from transforms.elements import AudioRef, RowFault
from transforms.errors import OutputError, Reason
from transforms.output.ledger import Job, Ledger
from transforms.output.reconcile import LostRowsError
from transforms.runs.incremental import GoneRow, Outstanding, outstanding
from transforms.runs.prune import check_complete, prune

VERSION = "1000-1.000000"
TABLES = tuple(schemas.SCORE_TABLES)
# Some frames score low, so that the table of anomalies has rows.
BAD_END = [4.0] * 150 + [1.0] * 100


def ids_in(ledger: Ledger) -> dict[str, list[str]]:
    """Returns the ids in each table, each once for each of its rows."""
    return {
        table: sorted(
            name for batch in ledger.rows(table, ["utterance_id"]) for name in batch["utterance_id"].to_pylist()
        )
        for table in TABLES
    }


def run_of(root: Path, good: Sequence[str], bad: Sequence[str] = ()) -> Ledger:
    """Adds a run to an output."""
    write_output(root, [scored(name, BAD_END) for name in good], [rejected(name) for name in bad])
    return Ledger(str(root), TABLES)


@settings(max_examples=25)
@given(
    runs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=3),
    is_present=st.lists(st.booleans(), min_size=15, max_size=15),
)
def test_the_rows_of_what_is_gone_are_removed_from_each_table_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, int]], is_present: list[bool]
) -> None:
    root = tmp_path_factory.mktemp("prune") / "out"
    names = iter("abcdefghijklmno")
    for num_scored, num_rejected in runs:
        ledger = run_of(root, [next(names) for _ in range(num_scored)], [next(names) for _ in range(num_rejected)])
    before = ids_in(ledger)
    present = {name for name, there in zip("abcdefghijklmno", is_present, strict=True) if there}
    found = outstanding([ref(name, VERSION) for name in sorted(present)], ledger)
    removed = prune(ledger, ledger.new_run_id(), found, "/corpus")
    assert removed == sum(name not in present for table in ("utterances", "rejects") for name in before[table])
    assert ids_in(ledger) == {table: [name for name in rows if name in present] for table, rows in before.items()}
    # What is left of the old files is gone, and nothing remains to be done.
    committed = {name for table in TABLES for name in map(ledger.name_of, ledger.committed(table))}
    assert {name for name in on_disk(ledger) if not name.startswith("_runs/")} == committed
    assert ledger.remove_debris() == []
    assert outstanding([ref(name, VERSION) for name in sorted(present)], ledger).gone == []


def test_nothing_to_remove_writes_nothing(tmp_path: Path) -> None:
    ledger = run_of(tmp_path / "out", "ab")
    before = on_disk(ledger)
    assert (
        prune(ledger, ledger.new_run_id(), outstanding([ref("a", VERSION), ref("b", VERSION)], ledger), "/corpus") == 0
    )
    assert on_disk(ledger) == before


def test_the_record_is_no_run(tmp_path: Path) -> None:
    ledger = run_of(tmp_path / "out", "ab")
    prune(ledger, ledger.new_run_id(), outstanding([ref("a", VERSION)], ledger), "/corpus")
    assert [record["job"] for record in ledger.runs(Job.SCORE)] == [Job.SCORE]
    (record,) = [record for record in ledger.records() if record["job"] == Job.PRUNE]
    assert record["counts"] == {"removed": 1}


def test_a_check_that_fails_changes_nothing(tmp_path: Path) -> None:
    ledger = run_of(tmp_path / "out", "ab")
    before = ids_in(ledger)

    def check() -> None:
        raise OutputError("the lock is lost")

    with pytest.raises(OutputError, match="the lock is lost"):
        prune(ledger, ledger.new_run_id(), outstanding([ref("a", VERSION)], ledger), "/corpus", check)
    assert ids_in(ledger) == before
    assert ledger.remove_debris()
    assert ids_in(ledger) == before


def test_a_number_of_rows_that_cannot_be_is_not_committed(tmp_path: Path) -> None:
    ledger = run_of(tmp_path / "out", "ab")
    with pytest.raises(LostRowsError, match="1 rows would be removed instead of 2"):
        prune(ledger, ledger.new_run_id(), Outstanding([], {}, [GoneRow("a", "/a"), GoneRow("x", "/x")]), "/corpus")
    assert ids_in(ledger)["utterances"] == ["a", "b"]


def test_rejects_of_faulty_rows_that_were_corrected_are_removed(tmp_path: Path) -> None:
    ledger = run_of(tmp_path / "out", "a")
    write_output(tmp_path / "out", [], [rejected("m.csv#row-1", Reason.INVALID_ROW, "list")])
    found = outstanding([ref("a", VERSION)], ledger)
    assert (found.gone, found.corrected) == ([], ["m.csv#row-1"])
    assert prune(ledger, ledger.new_run_id(), found, "/corpus") == 1
    assert ids_in(ledger)["rejects"] == []


class TestListing:
    """A listing that may be incomplete."""

    @pytest.fixture
    def corpus(self, tmp_path: Path) -> Path:
        """A corpus of five files, two of them in folders."""
        root = tmp_path / "corpus"
        for name in ("a.wav", "b.wav", "c.wav", "one/d.wav", "two/e.wav"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"RIFF")
        return root

    @staticmethod
    def output_of(source: str, output: Path) -> Ledger:
        """Writes an output that has a row for each recording of a corpus."""
        refs = scan_corpus(source, ListingOptions()).refs
        write_output(output, [scored(item.utterance_id, 4.0, uri=item.uri) for item in refs])
        return Ledger(str(output), TABLES)

    @staticmethod
    def check(source: str, ledger: Ledger, refs: Sequence[AudioRef] | None = None) -> None:
        listed = scan_corpus(source, ListingOptions()).refs if refs is None else refs
        found = outstanding([*listed], ledger)
        assert found.gone
        check_complete(source, listed, found, ledger.root)

    @pytest.mark.parametrize("pattern", ["", "/**", "/*.wav"])
    def test_a_deleted_recording_is_gone(self, corpus: Path, tmp_path: Path, pattern: str) -> None:
        source = f"{corpus}{pattern}"
        ledger = self.output_of(source, tmp_path / "out")
        (corpus / "a.wav").unlink()
        self.check(source, ledger)

    def test_a_narrower_pattern_is_another_corpus(self, corpus: Path, tmp_path: Path) -> None:
        ledger = self.output_of(f"{corpus}/*.wav", tmp_path / "out")
        self.check(f"{corpus}/[ab].wav", ledger)

    def test_not_all_rows_are_removed(self, corpus: Path, tmp_path: Path) -> None:
        ledger = self.output_of(str(corpus), tmp_path / "out")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "z.wav").write_bytes(b"RIFF")
        with pytest.raises(OutputError, match=r"none of the recordings in .* use --overwrite"):
            self.check(str(tmp_path / "other"), ledger)

    def test_a_link_to_a_folder_that_is_not_there_now(self, corpus: Path, tmp_path: Path) -> None:
        """Such as a disk that is not mounted."""
        shutil.move(corpus / "one", tmp_path / "disk")
        (corpus / "one").symlink_to(tmp_path / "disk")
        ledger = self.output_of(str(corpus), tmp_path / "out")
        (tmp_path / "disk").rename(tmp_path / "unmounted")
        with pytest.raises(
            OutputError, match=r"corpus/one cannot be read, and .*/one/d.wav was in it; nothing is removed"
        ):
            self.check(str(corpus), ledger)

    def test_a_link_to_nothing_that_never_was_a_folder_is_no_obstacle(self, corpus: Path, tmp_path: Path) -> None:
        ledger = self.output_of(str(corpus), tmp_path / "out")
        (corpus / "dangling").symlink_to(tmp_path / "nowhere")
        (corpus / "a.wav").unlink()
        self.check(str(corpus), ledger)

    @pytest.mark.parametrize("pattern", ["", "/**"])
    def test_a_folder_that_cannot_be_listed(self, corpus: Path, tmp_path: Path, pattern: str) -> None:
        """A folder whose path is too long cannot be listed even by root."""
        ledger = self.output_of(str(corpus), tmp_path / "out")
        folder = os.open(corpus / "two", os.O_RDONLY)
        for _ in range(25):
            os.mkdir("\u6587" * 70, dir_fd=folder)
            below = os.open("\u6587" * 70, os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
        os.close(folder)
        (corpus / "a.wav").unlink()
        with pytest.raises(OutputError, match=r"cannot be listed .File name too long.; nothing is removed"):
            self.check(f"{corpus}{pattern}", ledger)

    def test_a_recording_that_is_there_but_was_not_listed(self, corpus: Path, tmp_path: Path) -> None:
        source = f"{corpus}/*.wav"
        ledger = self.output_of(source, tmp_path / "out")
        refs = [item for item in scan_corpus(source, ListingOptions()).refs if item.utterance_id != "b.wav"]
        with pytest.raises(OutputError, match=r"corpus/b.wav is there, but was not listed; nothing is removed"):
            self.check(source, ledger, refs)

    def test_a_manifest_with_a_faulty_row(self, tmp_path: Path) -> None:
        ledger = run_of(tmp_path / "out", "ab")
        fault = RowFault(Reason.INVALID_ROW, "m.csv, line 3: the path is empty")
        faulty = AudioRef("m.csv#row-1", "/corpus/m.csv", 0, "row-1", fault=fault)
        with pytest.raises(OutputError, match=r"1 cannot be read, as m.csv, line 3: the path is empty; correct them"):
            self.check("/corpus/m.csv", ledger, [ref("a", VERSION), faulty])
        repeated = AudioRef("a#2", "/corpus/a", 0, "row-1", fault=RowFault(Reason.DUPLICATE_ID, "m.csv, line 3: ..."))
        self.check("/corpus/m.csv", ledger, [ref("a", VERSION), repeated])

    def test_a_filesystem_that_leaves_out_what_it_cannot_list(self, tmp_path: Path) -> None:
        ledger = run_of(tmp_path / "out", "ab")
        for source in ("https://example.org/speech", "memory://speech/*.wav", "memory://speech"):
            with pytest.raises(
                OutputError, match=r"a listing of .*:// may be incomplete; name the recordings in a manifest"
            ):
                self.check(source, ledger, [ref("a", VERSION)])
        for source in ("s3://bucket/speech", "gs://bucket/speech", "memory://speech/list.csv", "hf://datasets/a/b"):
            self.check(source, ledger, [ref("a", VERSION)])
