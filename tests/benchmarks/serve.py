"""Measures the service under load against the batch pipeline on the same cores: `python -m tests.benchmarks.serve`.

1 to 64 clients send clips of 5 s, cut from the recordings below AUDIOSIEVE_CORPUS/speech (or from the samples). Each client
sends its next clip when it has its answer. The service, one process with one TensorFlow thread, has one core to itself, and so
has the pipeline that scores the same clips before and after, its start excluded. The clients run on another core if there is
one. One process then answers many requests, for its memory. Finally two workers behind nginx share all cores with the clients,
and are compared with two processes of the pipeline there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import numpy as np
import soundfile

from tests.support.paths import SAMPLES
from tests.support.web.service import Server, serving

CLIP_S = 5.0
RATE = 16_000
LEVELS = (1, 2, 4, 8, 16, 32, 64)


def write_clips(folder: Path, count: int) -> list[Path]:
    """Writes clips of 5 s, cut from speech, as FLAC; returns their paths."""
    place = os.environ.get("AUDIOSIEVE_CORPUS")
    sources = sorted((Path(place) / "speech").rglob("*.flac")) if place else sorted(SAMPLES.glob("[!c]*.flac"))
    random = np.random.default_rng(0)
    speech = np.concatenate([_read(sources[index]) for index in random.permutation(len(sources))[:400]])
    length = round(CLIP_S * RATE)
    paths = []
    for number in range(count):
        start = int(random.integers(len(speech) - length))
        paths.append(folder / f"{number:04d}.flac")
        soundfile.write(paths[-1], speech[start : start + length], RATE)
    return paths


def _read(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return samples[:, 0] if rate == RATE else np.empty(0, np.float32)


# --- the pipeline -------------------------------------------------------------------------------------------------------


def batch_clips_a_second(folder: Path, cores: Sequence[int]) -> tuple[float, float]:
    """Returns clips per second of pipeline processes, one on each core, and milliseconds of CPU per clip."""
    command = [sys.executable, "-m", "tests.benchmarks.serve", "--batch", str(folder)]
    running = [subprocess.Popen([*pinned(core), *command], stdout=subprocess.PIPE, text=True) for core in cores]
    found = [json.loads(process.communicate()[0]) for process in running]
    return sum(speed for speed, _ in found), statistics.mean(cpu for _, cpu in found)


def batch(folder: Path) -> None:
    """Scores in this process and prints its result for `batch_clips_a_second`."""
    from model.bundle import DEFAULT, open_bundle
    from model.runtime import start_tensorflow
    from tests.benchmarks.throughput import pipeline, wave_of
    from transforms.corpus.sources import list_corpus
    from transforms.scoring.batching import BatchLimits

    logging.disable(logging.WARNING)
    start_tensorflow(threads=1)
    bundle, limits = open_bundle(DEFAULT), BatchLimits()
    refs = list_corpus(str(folder))
    with tempfile.TemporaryDirectory() as output:

        def run(name: str, count: int) -> tuple[float, float]:
            worked = time.process_time()
            seconds = pipeline(wave_of(refs[:count]), bundle, limits, Path(output) / name)
            return seconds, time.process_time() - worked

        # The first run also loads the model. The others measure the start of a pipeline only.
        start = np.min([run(f"start{i}", 1) for i in range(3)], axis=0)
        seconds, cpu = np.median([run(f"all{i}", len(refs)) for i in range(3)], axis=0) - start
    print(json.dumps([len(refs) / seconds, 1000 * cpu / len(refs)]))


def pinned(core: int | None) -> list[str]:
    """Returns the prefix of a command that pins it to a core."""
    return [] if core is None else ["taskset", "-c", str(core)]


# --- the clients --------------------------------------------------------------------------------------------------------


class Load:
    """Clients that send requests, and their results.

    Attributes:
        seconds: duration of each request.
        wrong: statuses other than 200.
    """

    def __init__(self, url: str, bodies: Sequence[bytes]) -> None:
        self.host, self.port = re.fullmatch(r"http://([^:]+):(\d+)", url).groups()  # type: ignore[union-attr]
        head = "POST /v1/score HTTP/1.1\r\nHost: benchmark\r\nContent-Length: {}\r\n\r\n"
        self.requests = [head.format(len(body)).encode() + body for body in bodies]
        self.seconds: list[float] = []
        self.wrong: list[int] = []
        self._begun = 0

    async def client(self, ends: float, most: int) -> None:
        """Sends requests until the time is over, or all clients together have begun the given number."""
        reader, writer = await asyncio.open_connection(self.host, int(self.port))
        while time.monotonic() < ends and self._begun < most:
            request = self.requests[self._begun % len(self.requests)]
            self._begun += 1
            begun = time.monotonic()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1]))  # type: ignore[index]
            status = int(head.split(maxsplit=2)[1])
            self.seconds.append(time.monotonic() - begun)
            if status != 200:
                self.wrong.append(status)
        writer.close()

    def run(self, clients: int, seconds: float = 1e9, most: int = 1 << 60) -> float:
        """Runs the given number of clients; returns the answered requests per second."""

        async def all_clients() -> None:
            ends = time.monotonic() + seconds
            await asyncio.gather(*(self.client(ends, most) for _ in range(clients)))

        begun, before = time.monotonic(), len(self.seconds)
        asyncio.run(all_clients())
        return (len(self.seconds) - before) / (time.monotonic() - begun)

    def percentiles(self) -> tuple[float, float]:
        """Returns the median and the 99th percentile in milliseconds."""
        return tuple(1000 * float(np.percentile(self.seconds, share)) for share in (50, 99))  # type: ignore[return-value]


def measure(server: Server, bodies: Sequence[bytes], seconds: float, levels: Sequence[int], to: float) -> list[str]:
    """Prints throughput and latency by clients, relative to `to` clips per second; returns the errors."""
    wrong: list[str] = []
    Load(server.url, bodies).run(8, 3.0)  # warm
    print(f"{'clients':>7} {'clips/s':>8} {'of batch':>8} {'p50 ms':>7} {'p99 ms':>7} {'a batch':>7} {'CPU ms':>7}")
    for clients in levels:
        before = _counted(server)
        load = Load(server.url, bodies)
        speed = load.run(clients, seconds)
        calls, recordings, cpu = (after - then for after, then in zip(_counted(server), before, strict=True))
        p50, p99 = load.percentiles()
        print(
            f"{clients:>7} {speed:8.1f} {speed / to:8.2f} {p50:7.0f} {p99:7.0f} {recordings / calls:7.1f} "
            f"{1000 * cpu / recordings:7.1f}",
            flush=True,
        )
        wrong += map(str, load.wrong)
    return wrong


def _counted(server: Server) -> list[float]:
    """Returns the totals of all service processes so far: calls of the model, recordings in them, seconds of CPU."""
    ports = re.findall(r"\d+", server.said.partition("workers on ports")[2]) or [server.url.rpartition(":")[2]]
    text = "\n".join(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60).text for port in ports)
    names = ("audiosieve_batch_recordings_count", "audiosieve_batch_recordings_sum", "process_cpu_seconds_total")
    return [sum(map(float, re.findall(rf"^{name} (\S+)", text, re.MULTILINE))) for name in names]


@contextlib.contextmanager
def on(cores: Sequence[int]) -> Iterator[None]:
    """Pins this process and its children to cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _said(where: str, found: tuple[float, float]) -> float:
    speed, cpu = found
    print(
        f"\n{where}: the pipeline scores {speed:.1f} clips/s ({speed * CLIP_S:.0f} x real time), {cpu:.1f} ms of CPU each",
        flush=True,
    )
    return speed


def one_process(
    clips: Path, bodies: Sequence[bytes], options: argparse.Namespace, core: int, elsewhere: int
) -> list[str]:
    """Measures one process of the service and one of the pipeline on one core, then the memory. Returns the errors."""
    with contextlib.ExitStack() as stack:
        with on([core]):
            server = stack.enter_context(serving("--queue", 256))
        before = _said(f"one process on core {core}", batch_clips_a_second(clips, [core]))
        stack.enter_context(on([elsewhere]))
        wrong = measure(server, bodies, options.seconds, LEVELS, before)
        _said("once more", batch_clips_a_second(clips, [core]))
        print(f"\n{options.requests:,} requests of 32 clients, resident memory:")
        load, steps = Load(server.url, bodies), 10
        for step in range(1, steps + 1):
            load.run(32, most=options.requests * step // steps)
            resident = server.metric("process_resident_memory_bytes") / 1e6
            print(f"  {len(load.seconds):>7,} {resident:7.0f} MB", flush=True)
        return wrong + list(map(str, load.wrong))


def all_cores(clips: Path, bodies: Sequence[bytes], options: argparse.Namespace, cores: Sequence[int]) -> list[str]:
    """Measures one worker per core behind nginx, with the clients on the same cores, and as many pipeline processes."""
    both = _said(f"{len(cores)} processes on all cores", batch_clips_a_second(clips, cores))
    with serving("--workers", len(cores), "--rate", 0) as server:
        return measure(server, bodies, options.seconds, (1, 8, 64), both)


def main() -> None:
    """Measures and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--clips", type=int, default=512, help="number of different clips")
    parser.add_argument("--seconds", type=float, default=15.0, help="seconds per number of clients")
    parser.add_argument("--requests", type=int, default=20_000, help="requests of the memory test")
    options = parser.parse_args()
    if options.batch:
        batch(options.batch)
        return
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        bodies = [path.read_bytes() for path in write_clips(Path(place), options.clips)]
        print(f"{options.clips} clips of {CLIP_S:g} s; cores {cores}, load {os.getloadavg()[0]:.1f}", flush=True)
        wrong = one_process(Path(place), bodies, options, cores[0], cores[-1])
        if len(cores) > 1:
            wrong += all_cores(Path(place), bodies, options, cores)
    print(f"\nanswers that were no score: {json.dumps(wrong)}")


if __name__ == "__main__":
    main()
