"""Expected errors of a command are one line and an exit status; others keep their traceback."""

from __future__ import annotations

import pytest

from model.bundle import BundleError
from pipelines.common.errors import UsageError, command
from transforms.corpus.sources import SourceError
from transforms.errors import OutputError
from transforms.storage.storage_errors import StorageError


def status_of(error: Exception) -> int:
    @command("test")
    def run(_: object) -> int:
        raise error

    return run([])


@pytest.mark.parametrize("kind", [UsageError, SourceError, OutputError, BundleError])
def test_a_usage_error_is_one_line_and_status_2(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(kind("--x is 0; must be at least 1")) == 2
    assert capsys.readouterr().err == "audiosieve test: --x is 0; must be at least 1\n"


@pytest.mark.parametrize("wrapped", [False, True])
def test_unavailable_storage_is_one_line_and_status_1(wrapped: bool, capsys: pytest.CaptureFixture[str]) -> None:
    error: Exception = StorageError("gs://b/x: the storage does not answer")
    # Beam puts the error of a worker into the text of its own.
    error = RuntimeError(f"StorageError: {error} [while running 'Read']") if wrapped else error
    assert status_of(error) == 1
    line = "audiosieve test: gs://b/x: the storage does not answer; run the same command again when it does\n"
    assert capsys.readouterr().err == line


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        status_of(ZeroDivisionError("division by zero"))
