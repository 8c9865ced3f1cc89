"""What starts clusters (dataflow/flink), as far as it needs no cluster: processes that end, and a pool that starts workers."""

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

from dataflow.flink import cluster
from dataflow.flink.cluster import CannotBeHadError, FailedError, Processes
from tests.support.staged_job import ROOT

linux = pytest.mark.skipif(sys.platform != "linux", reason="by Linux's own means")


def wait_for(there: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not there():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    """Whether a process runs, and not only waits for its parent to notice its end."""
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
    """Kills a process, and waits until that can be seen."""
    running = processes.all[name].running
    assert running
    running.kill()
    running.wait()


def test_what_may_is_started_again_and_its_new_id_is_told(processes: Processes) -> None:
    processes.start("one", ["sleep", "600"], again=True)
    processes.start("other", ["sleep", "600"])
    processes.write_state(options=["--x=1"])
    before = state(processes)
    processes.look_after()
    assert state(processes) == before
    end(processes, "one")
    processes.look_after()
    after = state(processes)
    assert after["options"] == ["--x=1"]
    assert after["processes"]["other"] == before["processes"]["other"]
    assert after["processes"]["one"] != before["processes"]["one"]


def test_what_dies_at_once_each_time_is_given_up(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    processes.start("weak", ["sleep", "600"], again=True)
    processes.write_state(options=[])
    for _ in range(cluster.FALLS - 1):
        end(processes, "weak")
        processes.look_after()
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "SOON_S", 0)  # this time it was at work for long: what was before does not count
        end(processes, "weak")
        processes.look_after()
    for _ in range(cluster.FALLS - 1):
        end(processes, "weak")
        processes.look_after()
    end(processes, "weak")
    with pytest.raises(FailedError, match=r"weak ended with -9, and so it did 5 times in a row; see .*/weak\.log"):
        processes.look_after()


def test_what_may_not_die_or_does_not_even_start_ends_all(processes: Processes) -> None:
    processes.start("needed", ["sleep", "600"])
    processes.start("other", ["sleep", "600"], again=True)
    end(processes, "other")
    with pytest.raises(FailedError, match=r"other ended with -9; see .*/other\.log"):
        processes.look_after()  # nothing is ready yet
    processes.write_state(options=[])
    end(processes, "needed")
    with pytest.raises(FailedError, match="needed ended with -9"):
        processes.look_after()


@linux
def test_what_processes_have_started_ends_with_them_even_if_it_is_deaf(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "STOP_S", 1)
    processes.start("parent", ["sh", "-c", "trap '' TERM; sleep 600 & echo $!; wait; wait"])
    wait_for(lambda: processes.log("parent").read_text().endswith("\n"))
    child = int(processes.log("parent").read_text())
    assert is_there(child)
    processes.stop()
    wait_for(lambda: not is_there(child))
    assert processes.all["parent"].running.returncode == -signal.SIGKILL


@linux
def test_processes_end_with_a_program_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time; from dataflow.flink.cluster import Processes; "
        "processes = Processes(pathlib.Path(sys.argv[1])); processes.start('one', ['sleep', '600']); "
        "processes.write_state(options=[]); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], cwd=ROOT) as running:
        wait_for((tmp_path / "cluster.json").exists)
        pid = json.loads((tmp_path / "cluster.json").read_text())["processes"]["one"]
        assert is_there(pid)
        running.kill()
    wait_for(lambda: not is_there(pid))


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FailedError, match=f"port {port} is taken; choose another --rest_port"):
            cluster._free_port(port)
    assert cluster._free_port(port) == port


def test_a_part_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "parts" / "flink-1"
    fill = "mkdir -p $1; echo begun >$1/file; "
    with pytest.raises(CannotBeHadError, match=r"flink-1 cannot be fetched: \[ERROR\] no network"):
        cluster._fetched(folder, ["sh", "-c", f"{fill} echo some; echo '[ERROR] no network'; exit 1", "sh", "{}"])
    assert list(folder.parent.iterdir()) == []
    assert cluster._fetched(folder, ["sh", "-c", fill, "sh", "{}"]) == folder
    assert (folder / "file").read_text() == "begun\n"
    assert cluster._fetched(folder, ["there is no such program"]) == folder


def test_a_second_cluster_in_a_folder_is_refused(tmp_path: Path) -> None:
    with (
        cluster._alone(tmp_path / "run"),
        pytest.raises(FailedError, match="choose another --run"),
        cluster._alone(tmp_path / "run"),
    ):
        pass
    with cluster._alone(tmp_path / "run"):
        pass


def test_a_cluster_is_there_while_the_block_runs_with_the_options_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real pool of workers, and nothing at the job server's address."""
    batch = "--execution_mode_for_batch=BATCH"
    monkeypatch.setattr(cluster, "start_prism", lambda *_: cluster.Cluster("localhost:1", options=(batch,)))
    asked = argparse.Namespace(what="prism", run=tmp_path / "run", parts=tmp_path)
    with cluster.running(asked) as (processes, options):
        assert state(processes)["options"] == options
        pid = state(processes)["processes"]["worker_pool"]
        given = dict(option.split("=", 1) for option in options)
        host, port = given["--environment_config"].split(":")
        with socket.create_connection((host, int(port))):
            assert is_there(pid)
    assert not is_there(pid)
    page = (ROOT / "dataflow" / "flink" / "README.md").read_text()
    assert {"--job_endpoint=localhost:1", batch} < set(options)
    assert f"`--environment_cache_millis={given['--environment_cache_millis']}`" in page
    for name in given:
        assert f"{name}=" in page


@pytest.mark.slow
def test_the_pool_starts_workers_for_a_runner(processes: Processes) -> None:
    """For Beam's runner within this process, which asks as Flink does. A module shows that the job's options get there."""
    words = ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL",
             f"--environment_config={cluster.start_pool(processes)}", "--beam_plugins=colorsys"]  # fmt: skip
    pool = processes.all["worker_pool"].running
    assert pool
    with beam.Pipeline(options=PipelineOptions(words)) as root:
        done = root | beam.Create([1, 2]) | beam.Map(lambda _: (os.getppid(), "colorsys" in sys.modules))
        assert_that(done, equal_to(2 * [(pool.pid, True)]))
    assert len(re.findall(r"worker \S+ of \S+ is process \d+", processes.log("worker_pool").read_text())) == 1


def test_a_pool_is_found_where_it_was_after_its_death_and_no_other_gets_its_port(processes: Processes) -> None:
    address = cluster.start_pool(processes)
    processes.write_state(options=[])
    end(processes, "worker_pool")
    processes.look_after()
    said = processes.log("worker_pool")
    wait_for(lambda: said.read_text().count(f"listening at {address}\n") == 2)
    port = address.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, ROOT / "dataflow" / "flink" / "worker_pool.py", f"--port={port}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"worker_pool: port {port} is taken; choose another --port"
