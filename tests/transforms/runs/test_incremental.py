"""New, changed and finished utterances are told apart by id, URI and version."""

from __future__ import annotations

import pytest

from tests.support.run_tables import commit, ref, row
from transforms.elements import ArchiveKind, AudioRef, RowFault
from transforms.errors import OutputError, Reason
from transforms.output.ledger import Ledger
from transforms.runs.incremental import outstanding
from transforms.storage.source_versions import version_of_object, version_of_time

TABLES = ("utterances", "frames", "rejects")


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path / "out"), TABLES)


def names(refs) -> list[str]:
    return [item.utterance_id for item in refs]


def test_without_an_earlier_run_everything_is_outstanding(ledger):
    left = outstanding([ref("b"), ref("a")], ledger)
    assert (names(left.refs), left.stale, left.gone) == (["b", "a"], {}, [])


def test_scores_and_lasting_rejects_of_the_present_version_are_done(ledger):
    commit(ledger, [row("a"), row("b", "0")], [row("c"), row("d", "0"), row("e", reason="unreadable")])
    left = outstanding([ref(name) for name in "abcdef"], ledger)
    assert names(left.refs) == ["b", "d", "e", "f"]
    assert left.stale == {"b": ["b"], "d": ["d"], "e": ["e"]}


def test_rows_of_earlier_releases_stay_valid_until_an_upload(ledger):
    at_upload, at_edit = (version_of_time(10, seconds) for seconds in (1_000.0, 2_000.0))
    commit(ledger, [row(name, at_edit) for name in "ab"] + [row("c", at_upload)], [row("d", at_edit)])
    left = outstanding(
        [
            ref("a", version_of_object(10, 1_000.0, 1)),
            ref("b", version_of_object(10, 2_001.0, 2)),
            ref("c", version_of_object(10, 1_000.0, 3)),
            ref("d", version_of_object(10, 1_000.0, 4)),
        ],
        ledger,
    )
    assert (names(left.refs), left.stale) == (["b"], {"b": ["b"]})


def test_rows_of_deleted_recordings_are_counted(ledger):
    commit(ledger, [row("a"), row("b")], [row("c")])
    left = outstanding([ref("b")], ledger)
    assert left.gone == [("a", "/corpus/a"), ("c", "/corpus/c")]
    assert left.known == 1


def test_an_id_of_another_recording_is_an_error(ledger):
    commit(ledger, [row("a", uri="/other/a")])
    with pytest.raises(OutputError, match="two corpora do not mix"):
        outstanding([ref("a")], ledger)


def test_a_path_that_could_not_be_read_may_be_corrected(ledger):
    commit(ledger, [row("a")], [row("b", uri="/corpus/wrong", reason="unreadable"), row("c", uri="/corpus/other")])
    left = outstanding([ref("a"), ref("b")], ledger)
    assert (names(left.refs), left.stale) == (["b"], {"b": ["b"]})
    with pytest.raises(OutputError, match="two corpora do not mix"):
        outstanding([ref("c")], ledger)


FAULT = RowFault(Reason.INVALID_ROW, "m.csv, line 2: the path is empty")


def test_rejects_of_faulty_rows_last_while_the_row_stays(ledger):
    commit(ledger, [row("a")], [row("b", uri="/corpus/m.csv", stage="list"), row("c", "0", stage="list")])
    refs = [ref("a"), AudioRef("b", "/corpus/m.csv", 0, "1", fault=FAULT), ref("c", fault=FAULT)]
    left = outstanding(refs, ledger)
    assert (names(left.refs), left.stale, left.gone) == (["c"], {"c": ["c"]}, [])


def test_a_corrected_row_is_scored_and_replaces_its_reject_whatever_file_that_named(ledger):
    rejects = [row(name, "row-1", uri="/corpus/m.csv", stage="list") for name in ("b", "m.csv#row-1")]
    commit(ledger, [row("a")], rejects)
    left = outstanding([ref("a"), ref("b"), ref("c")], ledger)
    assert names(left.refs) == ["b", "c"]
    assert left.stale == {"b": ["b", "m.csv#row-1"]}
    assert left.gone == []


def test_a_row_that_became_faulty_replaces_its_score(ledger):
    commit(ledger, [row("a")])
    left = outstanding([AudioRef("a", "/corpus/m.csv", 0, "row-1", fault=FAULT)], ledger)
    assert (names(left.refs), left.stale) == (["a"], {"a": ["a"]})


def test_channels_belong_to_their_recording(ledger):
    rows = [row(f"{name}#ch{i}", uri=f"/corpus/{name}") for name in "ab" for i in range(2)]
    commit(ledger, rows)
    left = outstanding([ref("a"), ref("b", "2")], ledger)
    assert names(left.refs) == ["b"]
    assert left.stale == {"b": ["b#ch0", "b#ch1"]}


def test_an_archive_is_done_as_a_whole_or_not_at_all(ledger):
    rows = [row(f"{name}/{i}", uri=f"/corpus/{name}#{i}#{i}") for name in ("x.tar", "y.tar") for i in range(3)]
    commit(ledger, rows, [row("y.tar/9", uri="/corpus/y.tar#9", reason="unreadable")])
    left = outstanding(
        [
            ref("x.tar", archive=ArchiveKind.TAR),
            ref("y.tar", archive=ArchiveKind.TAR),
            ref("z.tar", archive=ArchiveKind.TAR),
        ],
        ledger,
    )
    assert names(left.refs) == ["y.tar", "z.tar"]
    assert left.stale == {"y.tar": ["y.tar/0", "y.tar/1", "y.tar/2", "y.tar/9"]}
