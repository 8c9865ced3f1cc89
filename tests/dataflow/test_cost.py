"""Tests of dataflow/cost.py: the formula, and its inputs against the measured figures."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow import cost
from dataflow.cost import Prices, Workers, best_speed_with_gpu, estimate, measured_speed
from tests.support.deployment.staged_job import ROOT
from tests.support.outputs import scored, write_output

SMALL = Workers(cores=4, memory_gb=16, disk_gb=50, gpus=0, max_workers=10)
FREE = Prices(0, 0, 0, 0, 0, 0)


def test_a_job_of_round_numbers() -> None:
    """4,000 h at 400 x real time are 10 core hours: two workers of four cores take 1.25 h."""
    found = estimate(
        4_000, 400, SMALL, Prices(1, 0.1, 0.01, 5, 2, 3), recording_s=10, num_workers=2, startup_hours=0.25
    )
    assert found.core_hours == 10
    assert found.wall_hours == 1.5
    recordings = 4_000 * 360
    assert found.dollars == pytest.approx(
        {
            "cores": 3 * 4,
            "memory": 3 * 16 * 0.1,
            "disks": 3 * 50 * 0.01,
            "GPUs": 0,
            "shuffle": recordings * cost.SHUFFLED_BYTES / 1e9 * 2,
            "requests": recordings * cost.REQUESTS / 1e4 * 3,
        }
    )
    assert found.total == pytest.approx(sum(found.dollars.values()))


def test_the_number_of_workers_follows_the_work_up_to_the_limit() -> None:
    assert estimate(1, 400, SMALL, FREE).workers == 1
    assert estimate(400 * 4, 400, SMALL, FREE).workers == 4
    assert estimate(1e6, 400, SMALL, FREE).workers == SMALL.max_workers


@given(
    hours=st.floats(0.1, 1e7),
    speed=st.floats(1, 1e4),
    number=st.integers(1, 1000),
    recording_s=st.floats(0.5, 3600),
)
def test_more_audio_costs_more_and_more_workers_are_never_slower(
    hours: float, speed: float, number: int, recording_s: float
) -> None:
    def of(hours: float, number: int) -> cost.Estimate:
        return estimate(hours, speed, SMALL, Prices(), recording_s=recording_s, num_workers=number)

    one = of(hours, number)
    assert of(2 * hours, number).total > one.total
    assert of(hours, 2 * number).wall_hours < one.wall_hours
    assert one.wall_hours > 0.1  # the start
    # The work costs the same on any number of workers. More workers add only the cost of their start.
    start = 0.1 * (SMALL.cores * 0.056 + SMALL.memory_gb * 0.0036 + SMALL.disk_gb * 0.000054)
    assert of(hours, 2 * number).total - one.total == pytest.approx(number * start, rel=1e-6)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"hours": 0}, "hours is 0; must be over 0"),
        ({"x_real_time": 0}, "x_real_time is 0; must be over 0"),
        ({"recording_s": -1}, "recording_s is -1; must be over 0"),
        ({"num_workers": 0}, "the number of workers is 0; must be at least 1"),
        ({"startup_hours": -1}, "the time until the workers work is -1 h; must be at least 0"),
    ],
)
def test_arguments_out_of_range_are_refused(argument: dict[str, float], message: str) -> None:
    arguments = {"hours": 1, "x_real_time": 400, "workers": SMALL, "prices": FREE} | argument
    with pytest.raises(ValueError, match=message):
        estimate(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", sorted(path.stem for path in cost.PROFILES.glob("*.options")))
def test_every_profile_has_an_estimate(profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    workers = Workers.read(profile)
    assert workers.memory_gb == 4 * workers.cores
    assert bool(workers.gpus) == profile.startswith("gpu")
    assert cost.main(["--hours=1000", f"--profile={profile}"]) == 0
    output = capsys.readouterr().out
    assert "never checked on Google Cloud" in output
    assert ("GPUs" in output) == bool(workers.gpus)


def test_the_figures_are_those_that_were_measured() -> None:
    page = (ROOT / "tests" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", page)
    assert "Two processes score the 20 h **1.90** times as fast as one, starts included (92.9 s" in text
    assert "The network takes 7.9 of 18.5 s under the profiler" in text
    assert pytest.approx(20 * 3600 / 92.9 / 2) == cost.X_REAL_TIME
    assert pytest.approx(7.9 / 18.5) == cost.NETWORK_SHARE


def test_a_gpu_saves_at_best_the_time_of_the_network() -> None:
    assert best_speed_with_gpu(100) == pytest.approx(100 * 18.5 / (18.5 - 7.9))


def test_the_speed_is_read_from_local_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The record says that two processes scored 30 s of audio in 1 s."""
    root = write_output(tmp_path / "out", [scored("a.flac", 3.0, duration_s=30.0)], options={"beam": []})
    assert cost.main(["--hours=100", f"--measured={root}", "--processes=2"]) == 0
    assert "15 x real time per process: 6.7 core hours" in capsys.readouterr().out
    (path,) = (root / "_runs").glob("*.json")
    record = json.loads(path.read_text())
    assert measured_speed([record, record], 1) == pytest.approx(30.0)
    with pytest.raises(ValueError, match="another runner"):
        measured_speed([record | {"options": {"beam": ["--runner=DataflowRunner"]}}], 1)
    with pytest.raises(ValueError, match="no audio was scored"):
        measured_speed([], 1)
    with pytest.raises(ValueError, match="--processes is 0"):
        measured_speed([record], 0)


def test_prices_are_given_by_options(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = [f"--price_{name}=0" for name in ("core", "memory", "disk", "gpu", "shuffle", "requests")]
    assert cost.main(["--hours=1000", *nothing]) == 0
    assert "0.00 US dollars ()" in capsys.readouterr().out


def test_every_option_enters_the_formula(capsys: pytest.CaptureFixture[str]) -> None:
    prices = Prices(core=1, memory=2, disk=3, gpu=4, shuffle=5, requests=6)
    price_options = [f"--price_{name}={value}" for name, value in dataclasses.asdict(prices).items()]
    options = [
        "--hours=5000",
        "--profile=gpu-l4",
        "--recording_s=5",
        "--workers=3",
        "--x_real_time=200",
        "--start_minutes=12",
    ]
    assert cost.main([*options, *price_options]) == 0
    output = capsys.readouterr().out
    result = estimate(
        5000, best_speed_with_gpu(200), Workers.read("gpu-l4"), prices, recording_s=5, num_workers=3, startup_hours=0.2
    )
    assert f"200 x real time per process, at best {best_speed_with_gpu(200):.0f} with a GPU" in output
    assert f"3 workers of gpu-l4 (8 cores, 32 GB): {result.wall_hours:.2f} h, including 12 minutes" in output
    assert f"{result.total:,.2f} US dollars" in output
    for name, dollars in result.dollars.items():
        assert f"{name} {dollars:,.2f}" in output
