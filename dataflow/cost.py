"""Estimates the time and the cost of scoring a corpus on Dataflow.

    python dataflow/cost.py --hours 10000 --profile cpu-large

The estimate is a formula over measured speeds and over prices that you look up. It was never compared with a real job on
Google Cloud.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROFILES = Path(__file__).with_name("profiles")
# Hours of audio per hour of one process on one core, including its start: two processes score 20 h in 92.9 s
# (tests/benchmarks/README.md, "How it grows").
X_REAL_TIME = 20 * 3600 / 92.9 / 2
# Share of a process's time that the network takes: 7.9 of 18.5 s under a profiler (same page, "Profile").
NETWORK_SHARE = 7.9 / 18.5
# Bytes that Beam encodes for one recording, counted twice: a shuffle writes them and reads them again.
SHUFFLED_BYTES = 2 * 256
# Requests to Cloud Storage for one short recording, counted in an emulator's log: one for its size, one for its bytes.
REQUESTS = 2
# Memory of Compute Engine's standard machines.
GB_PER_CORE = 4
# Hours of work that justify the start of another worker.
HOURS_PER_WORKER = 0.25


@dataclasses.dataclass(frozen=True)
class Prices:
    """Prices in US dollars. The defaults are examples of November 2026: look up those of your region.

    Attributes:
        core: one vCPU for an hour, batch.
        memory: one GB of memory for an hour, batch.
        disk: one GB of standard persistent disk for an hour.
        gpu: the profile's GPU for an hour.
        shuffle: one GB processed by Dataflow Shuffle.
        requests: 10,000 read requests to Cloud Storage (class B).
    """

    core: float = 0.056
    memory: float = 0.0036
    disk: float = 0.000054
    gpu: float = 0.70
    shuffle: float = 0.011
    requests: float = 0.004


@dataclasses.dataclass(frozen=True)
class Workers:
    """Size of one worker, and the limit on their number.

    Attributes:
        cores: vCPUs of a worker; it runs one process on each.
        memory_gb: memory of a worker.
        disk_gb: disk of a worker.
        gpus: GPUs of a worker.
        max_workers: upper limit on the number of workers.
    """

    cores: int
    memory_gb: int
    disk_gb: int
    gpus: int
    max_workers: int

    @classmethod
    def read(cls, profile: str) -> Workers:
        """Reads a profile from dataflow/profiles.

        Raises:
            ValueError: the machine type has another ratio of memory to cores than this estimate assumes.
        """
        lines = (PROFILES / f"{profile}.options").read_text(encoding="utf-8").splitlines()
        options = dict(line.removeprefix("--").split("=", 1) for line in lines if line.startswith("--"))
        family, kind, cores = options["machine_type"].split("-")
        if kind != "standard":
            raise ValueError(
                f"{profile}: the memory of {family}-{kind} machines is unknown to this estimate; "
                f"use a standard machine ({GB_PER_CORE} GB per core)"
            )
        gpus = int("worker_accelerator" in options.get("dataflow_service_options", ""))
        return cls(
            int(cores), int(cores) * GB_PER_CORE, int(options["disk_size_gb"]), gpus, int(options["max_num_workers"])
        )


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Time and cost of a job.

    Attributes:
        core_hours: time of the work itself on one core, without the start of the workers.
        workers: number of workers.
        wall_hours: time from the start of the job to its end.
        dollars: cost in US dollars by resource.
    """

    core_hours: float
    workers: int
    wall_hours: float
    dollars: Mapping[str, float]

    @property
    def total(self) -> float:
        """Total cost in US dollars."""
        return sum(self.dollars.values())


def estimate(
    hours: float,
    x_real_time: float,
    workers: Workers,
    prices: Prices,
    *,
    recording_s: float = 10.0,
    num_workers: int | None = None,
    startup_hours: float = 0.1,
) -> Estimate:
    """Returns the time and the cost of scoring a corpus.

    Args:
        hours: audio in the corpus.
        x_real_time: hours of audio that one process scores in an hour.
        workers: size of the workers.
        prices: prices of the resources.
        recording_s: mean length of a recording in seconds.
        num_workers: number of workers; None for as many as get a quarter of an hour of work each, within the profile's
            limit.
        startup_hours: time from the start of the job until the workers work, at least 0. It is billed.

    Raises:
        ValueError: an argument is out of range.
    """
    for name, value in (("hours", hours), ("x_real_time", x_real_time), ("recording_s", recording_s)):
        if not value > 0:
            raise ValueError(f"{name} is {value:g}; must be over 0")
    if not startup_hours >= 0:
        raise ValueError(f"the time until the workers work is {startup_hours:g} h; must be at least 0")
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"the number of workers is {num_workers}; must be at least 1")
    core_hours = hours / x_real_time
    if num_workers is None:
        num_workers = max(1, min(workers.max_workers, math.ceil(core_hours / workers.cores / HOURS_PER_WORKER)))
    wall_hours = startup_hours + core_hours / workers.cores / num_workers
    worker_hours = num_workers * wall_hours
    recordings = hours * 3600 / recording_s
    return Estimate(
        core_hours,
        num_workers,
        wall_hours,
        {
            "cores": worker_hours * workers.cores * prices.core,
            "memory": worker_hours * workers.memory_gb * prices.memory,
            "disks": worker_hours * workers.disk_gb * prices.disk,
            "GPUs": worker_hours * workers.gpus * prices.gpu,
            "shuffle": recordings * SHUFFLED_BYTES / 1e9 * prices.shuffle,
            "requests": recordings * REQUESTS / 1e4 * prices.requests,
        },
    )


def measured_speed(records: Iterable[Mapping[str, Any]], processes: int) -> float:
    """Returns the speed of one process in hours of audio per hour, from the records of local runs.

    Args:
        records: run records (`OUT/_runs/*.json`).
        processes: number of processes that those runs used.

    Raises:
        ValueError: no audio was scored, `processes` is under 1, or a run used another runner, whose record does not state
            the number of workers.
    """
    if processes < 1:
        raise ValueError(f"--processes is {processes}; must be at least 1")
    audio_s = total_s = 0.0
    for record in records:
        if any("--runner" in word for word in record["options"]["beam"]):
            raise ValueError(f"run {record['run_id']} used another runner; measure a local run")
        audio_s += record["audio_s"]
        total_s += record["timings"]["total_s"]
    if not audio_s or not total_s:
        raise ValueError("no audio was scored there; score a corpus first")
    return audio_s / total_s / processes


def best_speed_with_gpu(x_real_time: float) -> float:
    """Returns an upper bound of the speed with a GPU: the network takes no time, and all other work as long as before."""
    return x_real_time / (1 - NETWORK_SHARE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n\n")[0],
        epilog="The prices are examples in US dollars: look up those of your region.",
    )

    def add(name: str, text: str, default: Any = None, **keywords: Any) -> None:
        default_text = "" if default is None else f" (default: {default})"
        parser.add_argument(name, help=text + default_text, default=default, **keywords)

    add("--hours", "hours of audio in the corpus", type=float, required=True)
    add("--recording_s", "mean length of a recording in seconds", 10.0, type=float)
    profiles = sorted(path.stem for path in PROFILES.glob("*.options"))
    add("--profile", "size of the workers", "cpu-small", choices=profiles)
    add("--workers", "number of workers (default: as many as get a quarter of an hour of work each)", type=int)
    add("--x_real_time", "hours of audio that one process scores in an hour", round(X_REAL_TIME), type=float)
    add("--measured", "take the speed from the local runs that wrote this output folder", metavar="OUT")
    add("--processes", "processes that those runs used (--direct_num_workers)", 1, type=int)
    add("--start_minutes", "minutes until the workers work; a guess, not measured", 6.0, type=float)
    units = {
        "core": "one vCPU for an hour",
        "memory": "one GB of memory for an hour",
        "disk": "one GB of disk for an hour",
        "gpu": "one GPU for an hour",
        "shuffle": "one GB shuffled",
        "requests": "10,000 read requests to Cloud Storage",
    }
    for field in dataclasses.fields(Prices):
        add(f"--price_{field.name}", f"price of {units[field.name]}", field.default, type=float)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints an estimate; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    speed = options.x_real_time
    if options.measured:
        # The ledger loads Beam, which an estimate without --measured does not need.
        from transforms.output.ledger import Job, Ledger

        try:
            speed = measured_speed(Ledger(options.measured, ()).runs(Job.SCORE), options.processes)
        except ValueError as error:
            parser.error(f"--measured {options.measured}: {error}")
    workers = Workers.read(options.profile)
    prices = Prices(**{name: getattr(options, f"price_{name}") for name in Prices.__dataclass_fields__})
    speed_text = f"{speed:.0f} x real time per process"
    if workers.gpus:
        speed = best_speed_with_gpu(speed)
        speed_text += f", at best {speed:.0f} with a GPU"
    try:
        result = estimate(
            options.hours,
            speed,
            workers,
            prices,
            recording_s=options.recording_s,
            num_workers=options.workers,
            startup_hours=options.start_minutes / 60,
        )
    except ValueError as error:
        parser.error(str(error))
    print(f"{options.hours:,.0f} h of audio at {speed_text}: {result.core_hours:,.1f} core hours")
    print(
        f"{result.workers} {'worker' if result.workers == 1 else 'workers'} of {options.profile} "
        f"({workers.cores} cores, {workers.memory_gb} GB): {result.wall_hours:.2f} h, "
        f"including {options.start_minutes:g} minutes to start"
    )
    parts = ", ".join(f"{name} {dollars:,.2f}" for name, dollars in result.dollars.items() if dollars)
    print(f"{result.total:,.2f} US dollars ({parts}), {1000 * result.total / options.hours:,.2f} per 1,000 h")
    print("Prices are examples unless you set them. The estimate was never checked on Google Cloud.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
