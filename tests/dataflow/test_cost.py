"""dataflow/cost.py: a formula, and that it is fed by what was measured."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow import cost
from dataflow.cost import Prices, Workers, estimate, measured, with_gpu
from tests.support.outputs import scored, write_output
from tests.support.staged_job import ROOT

SMALL = Workers(cores=4, memory_gb=16, disk_gb=50, gpus=0, most=10)
FREE = Prices(0, 0, 0, 0, 0, 0)


def test_a_job_of_round_numbers() -> None:
    """4,000 h at 400 x real time are 10 hours of a core: two workers of four cores take 1.25 h."""
    found = estimate(4_000, 400, SMALL, Prices(1, 0.1, 0.01, 5, 2, 3), recording_s=10, number=2, start_hours=0.25)
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


def test_as_many_workers_as_are_worth_it() -> None:
    assert estimate(1, 400, SMALL, FREE).workers == 1
    assert estimate(400 * 4, 400, SMALL, FREE).workers == 4
    assert estimate(1e6, 400, SMALL, FREE).workers == SMALL.most


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
        return estimate(hours, speed, SMALL, Prices(), recording_s=recording_s, number=number)

    one = of(hours, number)
    assert of(2 * hours, number).total > one.total
    assert of(hours, 2 * number).wall_hours < one.wall_hours
    assert one.wall_hours > 0.1  # the start
    # The work itself costs the same however many do it; what more workers cost is their starts.
    start = 0.1 * (SMALL.cores * 0.056 + SMALL.memory_gb * 0.0036 + SMALL.disk_gb * 0.000054)
    assert of(hours, 2 * number).total - one.total == pytest.approx(number * start, rel=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"hours": 0}, {"x_real_time": 0}, {"recording_s": -1}, {"number": 0}, {"start_hours": -1}]
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    asked = {"hours": 1, "x_real_time": 400, "workers": SMALL, "prices": FREE} | wrong
    with pytest.raises(ValueError, match="must be over 0"):
        estimate(**asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", sorted(path.stem for path in cost.PROFILES.glob("*.options")))
def test_every_profile_can_be_reckoned_with(profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    workers = Workers.read(profile)
    assert workers.memory_gb == 4 * workers.cores
    assert bool(workers.gpus) == profile.startswith("gpu")
    assert cost.main(["--hours=1000", f"--profile={profile}"]) == 0
    told = capsys.readouterr().out
    assert "nothing of this was tried on Google Cloud" in told
    assert ("GPUs" in told) == bool(workers.gpus)


def test_the_figures_are_those_that_were_measured() -> None:
    told = (ROOT / "tests" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", told)
    assert "Two processes over the 20 h, starts included, are **1.90** times as fast as one (92.9 s" in text
    assert "of 18.5 s under the profiler 7.9 are the network" in text
    assert pytest.approx(20 * 3600 / 92.9 / 2) == cost.X_REAL_TIME
    assert pytest.approx(7.9 / 18.5) == cost.NETWORK_SHARE


def test_a_gpu_does_at_best_the_networks_part() -> None:
    assert with_gpu(100) == pytest.approx(100 * 18.5 / (18.5 - 7.9))


def test_the_speed_is_read_from_local_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """30 s of audio by two processes in 1 s, as the record says."""
    root = write_output(tmp_path / "out", [scored("a.flac", 3.0, duration_s=30.0)], options={"beam": []})
    assert cost.main(["--hours=100", f"--measured={root}", "--processes=2"]) == 0
    assert "15 x real time a process: 6.7 hours of a core" in capsys.readouterr().out
    (path,) = (root / "_runs").glob("*.json")
    record = json.loads(path.read_text())
    assert measured([record, record], 1) == pytest.approx(30.0)
    with pytest.raises(ValueError, match="another runner"):
        measured([record | {"options": {"beam": ["--runner=DataflowRunner"]}}], 1)
    with pytest.raises(ValueError, match="nothing was scored"):
        measured([], 1)
    with pytest.raises(ValueError, match="--processes is 0"):
        measured([record], 0)


def test_prices_are_given_by_options(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = [f"--price_{name}=0" for name in ("core", "memory", "disk", "gpu", "shuffle", "requests")]
    assert cost.main(["--hours=1000", *nothing]) == 0
    assert "0.00 US dollars ()" in capsys.readouterr().out


def test_all_that_is_asked_for_gets_into_the_formula(capsys: pytest.CaptureFixture[str]) -> None:
    prices = Prices(core=1, memory=2, disk=3, gpu=4, shuffle=5, requests=6)
    given = [f"--price_{name}={value}" for name, value in dataclasses.asdict(prices).items()]
    asked = [
        "--hours=5000",
        "--profile=gpu-l4",
        "--recording_s=5",
        "--workers=3",
        "--x_real_time=200",
        "--start_minutes=12",
    ]
    assert cost.main([*asked, *given]) == 0
    told = capsys.readouterr().out
    found = estimate(5000, with_gpu(200), Workers.read("gpu-l4"), prices, recording_s=5, number=3, start_hours=0.2)
    assert f"200 x real time a process, {with_gpu(200):.0f} at best" in told
    assert f"3 of gpu-l4 (8 cores, 32 GB): {found.wall_hours:.2f} h, 12 minutes" in told
    assert f"{found.total:,.2f} US dollars" in told
    for name, dollars in found.dollars.items():
        assert f"{name} {dollars:,.2f}" in told
