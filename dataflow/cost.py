"""What a corpus would take on Dataflow.

    python dataflow/cost.py --hours 10000 --profile cpu-large

A formula over measurements made elsewhere and prices that you look up. Nothing of it was tried on Google Cloud.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROFILES = Path(__file__).with_name("profiles")
# Of one process on one core, its start included: 20 h in 92.9 s by two (tests/benchmarks/README.md, "How it grows").
X_REAL_TIME = 20 * 3600 / 92.9 / 2
# Of a process's time that the network takes: 7.9 of 18.5 s under a profiler (ibid., "Where the rest goes").
NETWORK_SHARE = 7.9 / 18.5
# Bytes of a recording that cross a shuffle, as Beam encodes it; twice, since what is written is read again.
SHUFFLED_BYTES = 2 * 256
# Requests to Cloud Storage that a short recording takes: what it is, and its bytes (counted in an emulator's log).
REQUESTS = 2
# Of Compute Engine's standard machines.
GB_PER_CORE = 4


@dataclasses.dataclass(frozen=True)
class Prices:
    """In US dollars. Examples to reckon with, of November 2026: look up those of your region and day in Dataflow's price list.

    Attributes:
        core: of a vCPU for an hour, batch.
        memory: of a GB for an hour, batch.
        disk: of a GB of standard persistent disk for an hour.
        gpu: of the profile's GPU for an hour.
        shuffle: of a GB that Dataflow Shuffle processes.
        requests: of 10,000 requests that read from Cloud Storage (class B).
    """

    core: float = 0.056
    memory: float = 0.0036
    disk: float = 0.000054
    gpu: float = 0.70
    shuffle: float = 0.011
    requests: float = 0.004


@dataclasses.dataclass(frozen=True)
class Workers:
    """A profile.

    Attributes:
        cores: of a worker, and so its processes.
        memory_gb: of a worker.
        disk_gb: of a worker.
        gpus: of a worker.
        most: workers at most.
    """

    cores: int
    memory_gb: int
    disk_gb: int
    gpus: int
    most: int

    @classmethod
    def read(cls, profile: str) -> Workers:
        """Of a file in dataflow/profiles."""
        lines = (PROFILES / f"{profile}.options").read_text(encoding="utf-8").splitlines()
        options = dict(line.removeprefix("--").split("=", 1) for line in lines if line.startswith("--"))
        family, kind, cores = options["machine_type"].split("-")
        if kind != "standard":
            raise ValueError(f"{profile}: {family}-{kind} machines have other memory than is reckoned with here")
        gpus = int("worker_accelerator" in options.get("dataflow_service_options", ""))
        return cls(
            int(cores), int(cores) * GB_PER_CORE, int(options["disk_size_gb"]), gpus, int(options["max_num_workers"])
        )


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a job takes.

    Attributes:
        core_hours: of work, starts left out.
        workers: at work.
        wall_hours: from the start of the job to its end.
        dollars: by what they are for.
    """

    core_hours: float
    workers: int
    wall_hours: float
    dollars: Mapping[str, float]

    @property
    def total(self) -> float:
        """All dollars."""
        return sum(self.dollars.values())


def estimate(
    hours: float,
    x_real_time: float,
    workers: Workers,
    prices: Prices,
    *,
    recording_s: float = 10.0,
    number: int | None = None,
    start_hours: float = 0.1,
) -> Estimate:
    """Time and cost of a corpus.

    Args:
        hours: of audio.
        x_real_time: hours of audio that one process scores in an hour.
        workers: the profile.
        prices: of what they use.
        recording_s: mean length of a recording.
        number: of workers; as many as get a quarter of an hour's work each, and as the profile allows, where it is None.
        start_hours: from the start of the job until workers work, which is paid for.

    Raises:
        ValueError: a number cannot be.
    """
    if min(hours, x_real_time, recording_s) <= 0 or start_hours < 0 or (number is not None and number < 1):
        raise ValueError("hours, speed, length and the number of workers must be over 0")
    core_hours = hours / x_real_time
    if number is None:
        number = max(1, min(workers.most, math.ceil(core_hours / workers.cores / 0.25)))
    wall_hours = start_hours + core_hours / workers.cores / number
    worker_hours = number * wall_hours
    recordings = hours * 3600 / recording_s
    return Estimate(
        core_hours,
        number,
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


def measured(records: Iterable[Mapping[str, Any]], processes: int) -> float:
    """How fast one process was, in hours of audio an hour, by the records of local runs.

    Args:
        records: of the runs (`OUT/_runs/*.json`).
        processes: that were at work.

    Raises:
        ValueError: nothing was scored, or another runner did it, of which the records do not say how many worked how long;
            or no process was at work.
    """
    if processes < 1:
        raise ValueError(f"--processes is {processes}; it must be at least 1")
    audio_s = total_s = 0.0
    for record in records:
        if any("--runner" in word for word in record["options"]["beam"]):
            raise ValueError(f"run {record['run_id']} was done by another runner; measure a local run")
        audio_s += record["audio_s"]
        total_s += record["timings"]["total_s"]
    if not audio_s or not total_s:
        raise ValueError("nothing was scored there")
    return audio_s / total_s / processes


def with_gpu(x_real_time: float) -> float:
    """At best: as if the network took no time at all, and all the rest as long as before."""
    return x_real_time / (1 - NETWORK_SHARE)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints an estimate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--hours", type=float, required=True, help="of audio in the corpus")
    add("--recording_s", type=float, default=10.0, help="mean length of a recording in seconds")
    profiles = sorted(path.stem for path in PROFILES.glob("*.options"))
    add("--profile", choices=profiles, default="cpu-small", help="of the workers")
    add("--workers", type=int, help="how many; without it, as many as are worth it")
    add("--x_real_time", type=float, default=round(X_REAL_TIME), help="speed of one process")
    add("--measured", metavar="OUT", help="take the speed from the local runs into this output")
    add("--processes", type=int, default=1, help="that those runs had (--direct_num_workers)")
    add("--start_minutes", type=float, default=6.0, help="until the workers work; a guess, not measured")
    for field in dataclasses.fields(Prices):
        add(f"--price_{field.name}", type=float, default=field.default, help="in dollars; an example, look it up")
    options = parser.parse_args(argv)
    speed = options.x_real_time
    if options.measured:
        from transforms.output.ledger import Ledger

        try:
            speed = measured(Ledger(options.measured, ()).records("score"), options.processes)
        except ValueError as error:
            parser.error(f"--measured {options.measured}: {error}")
    workers = Workers.read(options.profile)
    prices = Prices(**{field.name: getattr(options, f"price_{field.name}") for field in dataclasses.fields(Prices)})
    said = f"{speed:.0f} x real time a process"
    if workers.gpus:
        speed = with_gpu(speed)
        said += f", {speed:.0f} at best where a GPU does the network"
    try:
        found = estimate(
            options.hours,
            speed,
            workers,
            prices,
            recording_s=options.recording_s,
            number=options.workers,
            start_hours=options.start_minutes / 60,
        )
    except ValueError as error:
        parser.error(str(error))
    print(f"{options.hours:,.0f} h of audio, {said}: {found.core_hours:,.1f} hours of a core")
    print(
        f"{found.workers} of {options.profile} ({workers.cores} cores, {workers.memory_gb} GB): "
        f"{found.wall_hours:.2f} h, {options.start_minutes:g} minutes of them until they work"
    )
    parts = ", ".join(f"{name} {dollars:,.2f}" for name, dollars in found.dollars.items() if dollars)
    print(f"{found.total:,.2f} US dollars ({parts}), {1000 * found.total / options.hours:,.2f} for 1,000 h")
    print("prices are examples unless you gave them, and nothing of this was tried on Google Cloud")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
