"""Tests of dataflow/flink that need no cluster: processes, fetched parts, and the pool of workers."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to

from dataflow.flink import cluster, parts
from dataflow.flink import processes as supervision
from dataflow.flink.parts import PartUnavailableError
from dataflow.flink.processes import ClusterError, Processes
from tests.support.deployment.staged_job import ROOT

linux = pytest.mark.skipif(sys.platform != "linux", reason="relies on features of Linux")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Returns whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    found = Processes(tmp_path)
    yield found
    found.stop()


def state(processes: Processes) -> dict:
    return json.loads((processes.folder / "cluster.json").read_text())


def end(processes: Processes, name: str) -> None:
    """Kills a process and waits for its end."""
    running = processes.all[name].running
    assert running
    running.kill()
    running.wait()


def test_a_dead_process_is_restarted_and_its_new_id_written(processes: Processes) -> None:
    processes.start("one", ["sleep", "600"], restart=True)
    processes.start("other", ["sleep", "600"])
    processes.write_state(options=["--x=1"])
    before = state(processes)
    processes.supervise()
    assert state(processes) == before
    end(processes, "one")
    processes.supervise()
    after = state(processes)
    assert after["options"] == ["--x=1"]
    assert after["processes"]["other"] == before["processes"]["other"]
    assert after["processes"]["one"] != before["processes"]["one"]


def test_a_process_that_keeps_dying_at_its_start_ends_the_cluster(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.start("weak", ["sleep", "600"], restart=True)
    processes.write_state(options=[])
    for _ in range(supervision.MAX_QUICK_DEATHS - 1):
        end(processes, "weak")
        processes.supervise()
    with monkeypatch.context() as patch:
        patch.setattr(supervision, "QUICK_DEATH_S", 0)  # as if it had worked for long: earlier deaths no longer count
        end(processes, "weak")
        processes.supervise()
    for _ in range(supervision.MAX_QUICK_DEATHS - 1):
        end(processes, "weak")
        processes.supervise()
    end(processes, "weak")
    with pytest.raises(ClusterError, match=r"weak ended with status -9 5 times in a row; see .*/weak\.log"):
        processes.supervise()


def test_the_end_of_a_needed_process_or_a_failed_start_ends_the_cluster(processes: Processes) -> None:
    processes.start("needed", ["sleep", "600"])
    processes.start("other", ["sleep", "600"], restart=True)
    end(processes, "other")
    with pytest.raises(ClusterError, match=r"other ended with status -9; see .*/other\.log"):
        processes.supervise()  # the cluster is not ready yet
    processes.write_state(options=[])
    end(processes, "needed")
    with pytest.raises(ClusterError, match="needed ended with status -9"):
        processes.supervise()


@linux
def test_children_end_with_their_process_even_if_they_ignore_signals(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "STOP_S", 1)
    processes.start("parent", ["sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait; wait"])
    wait_for(lambda: processes.log("parent").read_text().endswith("\n"))
    child = int(processes.log("parent").read_text())
    assert is_running(child)
    processes.stop()
    wait_for(lambda: not is_running(child))
    assert processes.all["parent"].running.returncode == -signal.SIGKILL


@linux
def test_processes_end_with_a_program_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time; from dataflow.flink.processes import Processes; "
        "processes = Processes(pathlib.Path(sys.argv[1])); processes.start('one', ['sleep', '600']); "
        "processes.write_state(options=[]); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=ROOT) as running:
        wait_for((tmp_path / "cluster.json").exists)
        pid = json.loads((tmp_path / "cluster.json").read_text())["processes"]["one"]
        assert is_running(pid)
        running.kill()
    wait_for(lambda: not is_running(pid))


def test_a_port_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"port {port} is in use; choose another --rest_port"):
            cluster.free_port(port)
    assert cluster.free_port(port) == port


def test_a_fetched_folder_is_complete_or_absent(tmp_path: Path) -> None:
    folder = tmp_path / "parts" / "flink-1"
    fill = "mkdir -p $1; echo begun >$1/file; "
    with pytest.raises(PartUnavailableError, match=r"sh failed to fetch flink-1: \[ERROR\] no network"):
        parts.fetch(folder, ["sh", "-c", f"{fill} echo some; echo '[ERROR] no network'; exit 1", "sh", "{}"])
    assert list(folder.parent.iterdir()) == []
    assert parts.fetch(folder, ["sh", "-c", fill, "sh", "{}"]) == folder
    assert (folder / "file").read_text() == "begun\n"
    assert parts.fetch(folder, ["no-such-program"]) == folder


def test_a_second_cluster_in_a_folder_is_refused(tmp_path: Path) -> None:
    with (
        cluster.exclusive(tmp_path / "run"),
        pytest.raises(ClusterError, match="choose another --run"),
        cluster.exclusive(tmp_path / "run"),
    ):
        pass
    with cluster.exclusive(tmp_path / "run"):
        pass


def test_a_cluster_runs_as_long_as_the_block_with_the_documented_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uses a real pool of workers, and an address without a job server."""
    batch = "--execution_mode_for_batch=BATCH"
    monkeypatch.setitem(cluster.STARTERS, "prism", lambda *_: cluster.Cluster("localhost:1", options=(batch,)))
    options = argparse.Namespace(cluster="prism", run=tmp_path / "run", parts=tmp_path)
    with cluster.running(options) as (processes, job_options):
        assert state(processes)["options"] == job_options
        pid = state(processes)["processes"]["worker_pool"]
        given = dict(option.split("=", 1) for option in job_options)
        host, port = given["--environment_config"].split(":")
        with socket.create_connection((host, int(port))):
            assert is_running(pid)
    assert not is_running(pid)
    page = (ROOT / "dataflow" / "flink" / "README.md").read_text()
    assert {"--job_endpoint=localhost:1", batch} < set(job_options)
    assert f"`--environment_cache_millis={given['--environment_cache_millis']}`" in page
    for name in given:
        assert f"{name}=" in page


@pytest.mark.slow
def test_the_pool_starts_workers_for_a_runner(processes: Processes) -> None:
    """Beam's runner requests workers as Flink does. An imported module shows that they get the job's options."""
    words = [
        "--runner=PortableRunner",
        "--job_endpoint=embed",
        "--environment_type=EXTERNAL",
        f"--environment_config={cluster.start_pool(processes)}",
        "--beam_plugins=colorsys",
    ]
    pool = processes.all["worker_pool"].running
    assert pool
    with beam.Pipeline(options=PipelineOptions(words)) as root:
        done = root | beam.Create([1, 2]) | beam.Map(lambda _: (os.getppid(), "colorsys" in sys.modules))
        assert_that(done, equal_to(2 * [(pool.pid, True)]))
    assert len(re.findall(r"worker \S+ of \S+ is process \d+", processes.log("worker_pool").read_text())) == 1


def test_a_restarted_pool_keeps_its_port_and_a_second_pool_cannot_take_it(processes: Processes) -> None:
    address = cluster.start_pool(processes)
    processes.write_state(options=[])
    end(processes, "worker_pool")
    processes.supervise()
    pool_log = processes.log("worker_pool")
    wait_for(lambda: pool_log.read_text().count(f"listening at {address}\n") == 2)
    port = address.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, ROOT / "dataflow" / "flink" / "worker_pool.py", f"--port={port}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"worker_pool: port {port} is in use; choose another --port"
