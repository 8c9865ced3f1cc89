"""One process at a time writes to a local folder."""

from __future__ import annotations

import errno
import os

import pytest

from pipelines.common.output_lock import output_lock
from transforms.errors import OutputError


def test_without_locks_a_run_goes_on_with_a_warning(tmp_path, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with output_lock(tmp_path / "out"):
        pass
    assert "cannot be locked" in capsys.readouterr().err


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    with (
        output_lock(tmp_path / "out"),
        pytest.raises(OutputError, match="another audiosieve process"),
        output_lock(tmp_path / "out"),
    ):
        pass
