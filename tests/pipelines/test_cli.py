"""The command itself."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest

from model.bundle import NETWORK_NAMES
from tests.support.command import audiosieve


def test_help_lists_the_jobs() -> None:
    done = audiosieve("--help")
    assert all(job in done.stdout for job in ("score", "synthesize", "train"))


def test_no_job_is_a_mistake() -> None:
    audiosieve(status=2)
    assert audiosieve("scroe", status=2).stderr == "audiosieve: unknown job 'scroe' (did you mean score?)\n"
    assert "unknown job 'x' (jobs: score, query," in audiosieve("x", status=2).stderr


@pytest.mark.parametrize("word", ["--version", "version"])
def test_version_is_the_packages(word: str) -> None:
    assert audiosieve(word).stdout == f"audiosieve {version('audiosieve')}\n"


def test_help_is_a_job_too() -> None:
    assert audiosieve("help").stdout == audiosieve("--help").stdout
    assert audiosieve("help", "scroe", status=2).stderr == "audiosieve: unknown job 'scroe' (did you mean score?)\n"


def test_help_loads_neither_beam_nor_tensorflow() -> None:
    code = "import sys; from pipelines.cli import main; main(['--help']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow", "apache_beam", "pyarrow", "numpy"} & set(loaded)


def test_a_reader_that_has_enough_ends_the_command_quietly() -> None:
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m pipelines.cli score --help | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_train_offers_every_network() -> None:
    from model.networks.architectures import NETWORKS

    assert set(NETWORK_NAMES) == set(NETWORKS)
