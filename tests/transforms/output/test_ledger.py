"""The records of an output folder decide which files count, and a run becomes visible in one step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems

from tests.support.ledgers import RUN1, RUN2, RUN3, TABLES, commit, held, on_disk, write
from transforms.errors import OutputError
from transforms.output.ledger import Job, Ledger, count_rows


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path / "out"), TABLES)


class TestCommit:
    def test_a_run_is_visible_only_after_its_commit(self, ledger):
        names = {write(ledger, "utterances", RUN1, {"a": 1}), write(ledger, "frames", RUN1, {"a": 1}, {"b": 2})}
        assert ledger.records() == []
        assert [ledger.committed(table) for table in TABLES] == [[], [], []]
        assert held(ledger, "frames") == {}
        commit(ledger, RUN1)
        assert held(ledger, "utterances") == {"a": 1}
        assert held(ledger, "frames") == {"a": 1, "b": 2}
        assert on_disk(ledger) == names | {f"_runs/{RUN1}.json"}

    def test_the_record_has_the_given_facts_and_the_files(self, ledger):
        names = [write(ledger, "utterances", RUN1, {"a": 1}), write(ledger, "frames", RUN1, {"a": 1})]
        returned = commit(ledger, RUN1, {"counts": {"scored": 1}, "model_id": "m@1"})
        stored = json.loads(Path(ledger.root, "_runs", f"{RUN1}.json").read_text(encoding="utf-8"))
        assert ledger.records() == [stored] == [returned]
        assert stored == {
            "run_id": RUN1,
            "counts": {"scored": 1},
            "model_id": "m@1",
            "files": sorted(names),
            "replaces": [],
        }

    def test_rows_of_all_runs_count_and_records_are_sorted_by_time(self, ledger):
        for run_id, name in ((RUN2, "b"), (RUN1, "a"), (RUN3, "c")):
            write(ledger, "utterances", run_id, {name: 1})
            commit(ledger, run_id)
        assert held(ledger, "utterances") == {"a": 1, "b": 1, "c": 1}
        assert [record["run_id"] for record in ledger.records()] == [RUN1, RUN2, RUN3]

    def test_a_run_commits_only_its_own_files(self, ledger):
        mine = write(ledger, "utterances", RUN1, {"a": 1})
        write(ledger, "utterances", RUN2, {"b": 1})
        assert commit(ledger, RUN1)["files"] == [mine]
        assert held(ledger, "utterances") == {"a": 1}

    def test_a_run_without_files_can_be_committed(self, ledger):
        ledger.check_writable()
        assert commit(ledger, RUN1)["files"] == []

    def test_rows_can_be_read_from_named_files_before_the_commit(self, ledger):
        name = write(ledger, "utterances", RUN1, {"a": 1}, {"b": 2})
        batches = list(ledger.rows("utterances", ["value"], [name]))
        assert [value for batch in batches for value in batch["value"].to_pylist()] == [1, 2]
        assert batches[0].schema.names == ["value"]

    def test_rows_of_a_table_are_counted_from_the_footers(self, ledger):
        files = [write(ledger, "frames", RUN1, {"a": 1, "b": 2}, {"c": 3}), write(ledger, "utterances", RUN1, {"a": 1})]
        files.append(write(ledger, "frames", RUN1, {"d": 1}, shard=1))
        assert [count_rows(ledger, table, files) for table in TABLES] == [1, 4, 0]


class TestDebris:
    def test_files_of_an_unfinished_run_are_removed(self, ledger):
        kept = write(ledger, "utterances", RUN1, {"a": 1})
        commit(ledger, RUN1)
        lost = {write(ledger, table, RUN2, {"a": 2}) for table in TABLES}
        removed = ledger.remove_debris()
        assert {path[-len(name) :] for path, name in zip(sorted(removed), sorted(lost), strict=True)} == lost
        assert on_disk(ledger) == {kept, f"_runs/{RUN1}.json"}
        assert held(ledger, "utterances") == {"a": 1}

    @pytest.mark.parametrize("ending", ["", "-0a1b2c3d4e5f", "-00000-of-00001.parquet"])
    def test_beams_temporary_folders_are_removed_whole(self, ledger, ending):
        folder = Path(ledger.root, "frames", f"beam-temp-{RUN1}{ending}")
        (folder / "deep").mkdir(parents=True)
        (folder / "part-1.parquet").write_bytes(b"x")
        (folder / "deep" / "part-2").write_bytes(b"x")
        ledger.remove_debris()
        assert not folder.exists()
        assert folder.parent.exists()

    def test_other_files_are_not_removed(self, ledger):
        foreign = {
            "utterances/mine.parquet",
            "utterances/notes.txt",
            f"frames/{RUN1}.txt",
            "frames/beam-temp-something/x",
            f"elsewhere/{RUN1}-00000-of-00001.parquet",
            f"{RUN1}-00000-of-00001.parquet",
            "_runs/readme.md",
        }
        for name in foreign:
            path = Path(ledger.root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        assert ledger.remove_debris() == []
        assert on_disk(ledger) == foreign

    def test_committed_files_are_not_debris(self, ledger):
        for run_id in (RUN1, RUN2):
            for table in TABLES:
                write(ledger, table, run_id, {run_id: 1})
            commit(ledger, run_id)
        before = on_disk(ledger)
        assert ledger.remove_debris() == []
        assert on_disk(ledger) == before

    def test_a_missing_folder_has_no_debris(self, ledger):
        assert ledger.remove_debris() == []
        assert ledger.records() == []

    @pytest.mark.parametrize("draft", [f".draft-0a1b2c/{RUN1}.json", ".draft-0a1b2c", f"{RUN1}.draft"])
    def test_the_draft_of_a_record_commits_nothing(self, ledger, draft):
        write(ledger, "utterances", RUN1, {"a": 1})
        path = Path(ledger.root, "_runs", draft)
        path.parent.mkdir(parents=True)
        path.write_text('{"run_id": "' + RUN1, encoding="utf-8")
        assert ledger.records() == []
        ledger.remove_debris()
        assert on_disk(ledger) == set()
        assert list(Path(ledger.root, "_runs").iterdir()) == []


@pytest.mark.parametrize("root", ["out", "out/", "./out", "out//", "sub/../out", "two words/ü", "{}/out", "{}/out/"])
def test_the_spelling_of_the_root_changes_nothing(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    ledger = Ledger(root.format(tmp_path), TABLES)
    ledger.check_writable()
    first = write(ledger, "utterances", RUN1, {"a": 1, "b": 1})
    commit(ledger, RUN1)
    debris = write(ledger, "utterances", RUN2, {"b": 2})
    ledger.remove_debris()
    assert on_disk(ledger) == {first, f"_runs/{RUN1}.json"}
    second = write(ledger, "utterances", RUN3, {"b": 3})
    assert commit(ledger, RUN3, without={"b"})["replaces"] == [first]
    assert held(ledger, "utterances") == {"a": 1, "b": 3}
    assert {first, debris}.isdisjoint(on_disk(ledger))
    assert second in on_disk(ledger)


def test_a_moved_folder_keeps_its_runs(ledger, tmp_path):
    write(ledger, "utterances", RUN1, {"a": 1})
    commit(ledger, RUN1)
    Path(ledger.root).rename(tmp_path / "moved")
    moved = Ledger(str(tmp_path / "moved"), TABLES)
    assert held(moved, "utterances") == {"a": 1}
    assert moved.remove_debris() == []


class TestOutputError:
    def test_a_folder_below_a_file_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("x")
        root = str(tmp_path / "file" / "out")
        with pytest.raises(OutputError, match="cannot write there") as caught:
            Ledger(root, TABLES).check_writable()
        assert str(caught.value).startswith(f"{root}: ")

    def test_a_writable_folder_is_created_empty(self, ledger):
        ledger.check_writable()
        assert Path(ledger.root).is_dir()
        assert on_disk(ledger) == set()

    @pytest.mark.parametrize("content", ["{}", "[]", '"text"'])
    def test_the_error_names_a_file_that_is_not_a_record(self, ledger, content):
        ledger.check_writable()
        Path(ledger.root, "_runs", "epochs.json").write_text(content, encoding="utf-8")
        with pytest.raises(OutputError, match=r"epochs\.json"):
            ledger.committed("frames")

    def test_the_error_is_one_line(self, ledger):
        ledger.check_writable()
        Path(ledger.root, "_runs", f"{RUN1}.json").write_text("{}", encoding="utf-8")
        with pytest.raises(OutputError) as caught:
            ledger.records()
        assert "\n" not in str(caught.value)


class TestTornRecord:
    """A record that ends in the middle counts as not written."""

    CONTENTS = (b"", b"not JSON", b'{"run_id": ', b"\x80\x81\x82\xff", b"\0" * 4_096)

    @pytest.mark.parametrize("content", CONTENTS)
    def test_it_is_set_aside_with_a_warning(self, ledger, content, capsys):
        kept = write(ledger, "utterances", RUN1, {"a": 1})
        commit(ledger, RUN1)
        write(ledger, "utterances", RUN2, {"b": 2})
        Path(ledger.root, "_runs", f"{RUN2}.json").write_bytes(content)
        assert held(ledger, "utterances") == {"a": 1}
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"{RUN2}.json: the record of this run is empty or incomplete" in said
        assert f"{RUN2}.json.torn" in said
        ledger.remove_debris()
        assert on_disk(ledger) == {kept, f"_runs/{RUN1}.json", f"_runs/{RUN2}.json.torn"}
        assert capsys.readouterr().err == ""

    def test_the_run_can_be_committed_again(self, ledger):
        ledger.check_writable()
        Path(ledger.root, "_runs", f"{RUN1}.json").write_bytes(b'{"run')
        write(ledger, "utterances", RUN1, {"a": 1})
        commit(ledger, RUN1)
        assert held(ledger, "utterances") == {"a": 1}

    def test_it_does_not_count_where_it_cannot_be_renamed(self, ledger, monkeypatch, capsys):
        def refuse(*_: object) -> None:
            raise PermissionError

        write(ledger, "utterances", RUN1, {"a": 1})
        commit(ledger, RUN1)
        torn = Path(ledger.root, "_runs", f"{RUN2}.json")
        torn.write_bytes(b"")
        monkeypatch.setattr(FileSystems, "rename", refuse)
        assert held(ledger, "utterances") == {"a": 1}
        assert len(ledger.records()) == 1
        assert capsys.readouterr().err.count("it cannot be renamed") == 1
        assert torn.exists()


class TestClear:
    def test_runs_become_invisible_in_one_step(self, ledger, monkeypatch):
        """Whatever records a clear leaves when it is killed, they name no file that is missing."""
        write(ledger, "utterances", RUN1, {"a": 1, "b": 1})
        commit(ledger, RUN1, {"job": Job.SCORE})
        write(ledger, "utterances", RUN2, {"b": 2})
        commit(ledger, RUN2, {"job": Job.SCORE}, without={"b"})
        delete = Ledger._delete

        def delete_newest_record_and_die(self, uris):
            paths = sorted(uris)
            if any(path.endswith(f"{RUN2}.json") for path in paths):
                Path(self.root, "_runs", f"{RUN2}.json").unlink()
                raise KeyboardInterrupt
            return delete(self, paths)

        monkeypatch.setattr(Ledger, "_delete", delete_newest_record_and_die)
        with pytest.raises(KeyboardInterrupt):
            ledger.clear(Job.SCORE)
        monkeypatch.undo()
        assert held(ledger, "utterances") == {}
        ledger.remove_debris()
        assert on_disk(ledger) == set()

    def test_a_run_of_the_same_second_is_cleared_whatever_its_random_part_is(self, ledger, monkeypatch):
        write(ledger, "utterances", "20260101T000000Z-ffffff", {"a": 1})
        commit(ledger, "20260101T000000Z-ffffff", {"job": Job.SCORE})
        monkeypatch.setattr(Ledger, "new_run_id", staticmethod(lambda: "20260101T000000Z-000000"))
        ledger.clear(Job.SCORE)
        assert held(ledger, "utterances") == {}
        assert ledger.records() == []
        assert on_disk(ledger) == set()

    def test_an_empty_folder_stays_empty(self, ledger):
        ledger.check_writable()
        ledger.clear(Job.SCORE)
        assert on_disk(ledger) == set()


class TestRunId:
    def test_a_run_id_is_a_time_and_a_random_part(self):
        found = {Ledger.new_run_id() for _ in range(20)}
        assert len(found) == 20
        assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", run_id) for run_id in found)

    def test_run_ids_sort_by_time(self, monkeypatch):
        from datetime import UTC, datetime, timedelta

        from transforms.output import ledger as module

        class Clock(datetime):
            moment = datetime(2026, 9, 30, 23, 59, 58, tzinfo=UTC)

            @classmethod
            def now(cls, tz=None):
                cls.moment += timedelta(seconds=1)
                return cls.moment.astimezone(tz)

        monkeypatch.setattr(module, "datetime", Clock)
        ids = [Ledger.new_run_id() for _ in range(5)]
        assert ids == sorted(ids)
        assert ids[0].startswith("20260930T235959Z-")
        assert ids[1].startswith("20261001T000000Z-")

    def test_files_with_a_run_id_are_recognised(self, tmp_path):
        ledger = Ledger(str(tmp_path), TABLES)
        write(ledger, "frames", Ledger.new_run_id(), {"a": 1})
        assert len(ledger.remove_debris()) == 1
