"""Copies of committed files lose the rows of some utterances, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.ledgers import RUN1, RUN2, RUN3, SCHEMA, TABLES, commit, held, on_disk, write
from tests.support.outputs import written
from transforms.output.ledger import Ledger
from transforms.output.rewrite import rewrite_without


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path / "out"), TABLES)


def fill(ledger: Ledger) -> dict[str, str]:
    """Commits run 1 with utterances a to d, and frames in two row groups; returns the names of its files."""
    names = {
        "u0": write(ledger, "utterances", RUN1, {"a": 1, "b": 1}),
        "u1": write(ledger, "utterances", RUN1, {"c": 1, "d": 1}, shard=1),
        "f0": write(ledger, "frames", RUN1, {"a": 1, "b": 1}, {"c": 1}),
        "r0": write(ledger, "rejects", RUN1, {"x": 1}),
    }
    commit(ledger, RUN1)
    return names


def test_only_the_rows_of_the_ids_are_dropped_from_all_tables(ledger):
    names = fill(ledger)
    write(ledger, "utterances", RUN2, {"b": 2, "c": 2})
    write(ledger, "frames", RUN2, {"b": 2, "c": 2})
    copies, replaced = rewrite_without(ledger, RUN2, {"b", "c"})
    assert set(replaced) == {names["u0"], names["u1"], names["f0"]}
    assert set(copies) < set(written(ledger, RUN2))
    ledger.commit(RUN2, {}, written(ledger, RUN2), replaced)
    assert held(ledger, "utterances") == {"a": 1, "b": 2, "c": 2, "d": 1}
    assert held(ledger, "frames") == {"a": 1, "b": 2, "c": 2}
    assert held(ledger, "rejects") == {"x": 1}


def test_before_the_commit_the_old_rows_still_count(ledger):
    fill(ledger)
    before = on_disk(ledger)
    rewrite_without(ledger, RUN2, {"b"})
    assert held(ledger, "utterances") == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert before <= on_disk(ledger)
    ledger.remove_debris()
    assert on_disk(ledger) == before


def test_the_commit_deletes_only_the_replaced_files(ledger):
    names = fill(ledger)
    commit(ledger, RUN2, without={"b"})
    left = on_disk(ledger)
    assert {names["u0"], names["f0"]}.isdisjoint(left)
    assert {names["u1"], names["r0"]} <= left


def test_files_without_the_ids_are_not_copied(ledger):
    names = fill(ledger)
    assert rewrite_without(ledger, RUN2, {"x"})[1] == [names["r0"]]


@pytest.mark.parametrize("ids", [set(), {"unknown"}])
def test_ids_without_rows_change_nothing(ledger, ids):
    fill(ledger)
    before = on_disk(ledger)
    assert rewrite_without(ledger, RUN2, ids) == ([], [])
    assert on_disk(ledger) == before


def test_a_copy_is_zstd_with_the_schema_and_row_groups_of_the_original(ledger):
    fill(ledger)
    rewrite_without(ledger, RUN2, {"a"})
    (copy,) = Path(ledger.root, "frames").glob(f"{RUN2}*")
    file = pq.ParquetFile(copy)
    assert file.schema_arrow.equals(SCHEMA, check_metadata=True)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [1, 1]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_file_without_rows_left_is_empty_and_not_copied_again(ledger):
    fill(ledger)
    commit(ledger, RUN2, without={"x"})
    assert held(ledger, "rejects") == {}
    rewrite_without(ledger, RUN3, {"x"})
    assert written(ledger, RUN3) == []


def test_rows_can_be_replaced_repeatedly(ledger):
    fill(ledger)
    for run_id, value in ((RUN2, 2), (RUN3, 3)):
        write(ledger, "utterances", run_id, {"a": value})
        commit(ledger, run_id, without={"a"})
    assert held(ledger, "utterances") == {"a": 3, "b": 1, "c": 1, "d": 1}


def test_replaced_files_that_a_crash_left_are_removed_later(ledger):
    names = fill(ledger)
    old = Path(ledger.root, names["u0"])
    content = old.read_bytes()
    write(ledger, "utterances", RUN2, {"b": 2})
    commit(ledger, RUN2, without={"b"})
    old.write_bytes(content)
    assert held(ledger, "utterances") == {"a": 1, "b": 2, "c": 1, "d": 1}
    ledger.remove_debris()
    assert not old.exists()
    assert held(ledger, "utterances") == {"a": 1, "b": 2, "c": 1, "d": 1}
