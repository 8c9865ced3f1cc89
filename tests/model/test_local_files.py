"""A local path holds its old content or all of the new."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from model.local_files import atomic_path, write_text


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "weights.h5"
    with atomic_path(target) as draft:
        draft.write_text("half")
        assert draft.name == target.name
        assert not target.exists()
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_a_block_that_fails_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_text(target, "before")
    with contextlib.suppress(ZeroDivisionError), atomic_path(target) as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_replaces_a_file(tmp_path: Path) -> None:
    for text in ("one", "née\n"):
        write_text(tmp_path / "file", text)
    assert (tmp_path / "file").read_bytes() == "née\n".encode()


def test_a_folder_replaces_a_folder_only_on_request(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("one", "two"):
        with atomic_path(target, replace_folder=True) as draft:
            draft.mkdir()
            (draft / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["two"]
    with pytest.raises(IsADirectoryError), atomic_path(target):
        pass
    assert [path.name for path in target.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [target]
