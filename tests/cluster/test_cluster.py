"""Tests of `dataflow/flink/cluster.py`, which starts clusters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.deployment.cluster import start, wait_for
from tests.support.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def is_running(pid: int) -> bool:
    """Returns whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_every_process_ends_with_the_script(command, tmp_path, how):
    cluster, process = start([*command, "prism"], tmp_path / "run")
    pids = cluster.state["processes"].values()
    assert len(pids) == 2
    assert all(map(is_running, pids))
    process.send_signal(how)
    process.communicate(timeout=60)
    wait_for(lambda: None if any(map(is_running, pids)) else True, 30)


def test_a_dead_pool_is_restarted_at_its_port(command, tmp_path):
    cluster, process = start([*command, "prism"], tmp_path / "run")
    before = cluster.state
    os.kill(before["processes"]["worker_pool"], signal.SIGKILL)
    after = wait_for(lambda: state if (state := cluster.state) != before else None, 30)
    wait_for(lambda: True if log(cluster.folder).count("listening at") == 2 else None, 60)
    assert len({line for line in log(cluster.folder).splitlines() if "listening at" in line}) == 1
    assert after["options"] == before["options"]
    process.terminate()
    process.communicate(timeout=60)


def log(folder: Path) -> str:
    return (folder / "worker_pool.log").read_text()


def test_the_cluster_stops_when_prism_dies(command, tmp_path):
    cluster, process = start([*command, "prism"], tmp_path / "run")
    pids = cluster.state["processes"]
    os.kill(pids["prism"], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "prism ended with status -9" in errors
    assert not any(map(is_running, pids.values()))


def test_a_command_gets_the_options_and_its_exit_status_is_returned(command, tmp_path):
    shell = ["sh", "-c", 'echo "$@" > options; exit 7', "sh"]
    words = [*command, "prism", "--run", str(tmp_path / "run"), "--", *shell]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    state = json.loads((tmp_path / "run" / "cluster.json").read_text())
    assert (tmp_path / "options").read_text().split() == state["options"]
    assert not any(map(is_running, state["processes"].values()))


def test_a_second_cluster_in_a_folder_is_refused(command, tmp_path):
    _, process = start([*command, "prism"], tmp_path / "run")
    second = subprocess.run(
        [*command, "prism", "--run", str(tmp_path / "run")], capture_output=True, text=True, check=False
    )
    process.terminate()
    process.communicate(timeout=60)
    assert second.returncode == 1
    assert "choose another --run" in second.stderr


def test_an_unavailable_program_is_reported_in_one_sentence(command, tmp_path):
    """Hides Maven and Go, as if they were not installed."""
    done = subprocess.run(
        [*command, "fetch", "--parts", str(tmp_path)],
        env={"PATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "mvn is not installed, and is needed to fetch flink-" in done.stderr
    assert len(done.stderr.splitlines()) == 1
