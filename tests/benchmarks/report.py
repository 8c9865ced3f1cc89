"""Measures how long it takes to make a report of a large output, and to open its page.

`python -m tests.benchmarks.report 100000 1000000` writes outputs with these numbers of utterances of about 4 s, with all their
frames and all that a model with a diagnosis hears. It makes a page of each (without audio, which does not exist) and opens it
three times in headless Chromium with the network off.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.diagnosis import HEARD_CAUSES, NO_CAUSE
from tests.support.outputs import GOOD, speech_frames, written
from transforms import schemas
from transforms.output.ledger import Ledger

FRAMES = 250
SPEAKERS = 5_000
# Utterances per write.
PART = 50_000


def write_large(root: Path, number: int) -> None:
    """Writes an output with the given number of utterances."""
    random = np.random.default_rng(0)
    ledger = Ledger(str(root), tuple(schemas.SCORE_TABLES))
    run_id = Ledger.new_run_id()
    schema = schemas.with_carried(schemas.UTTERANCES, ["speaker"])
    for part, first in enumerate(range(0, number, PART)):
        count = min(PART, number - first)
        numbers = np.arange(first, first + count)
        speaker = random.integers(SPEAKERS, size=count)
        ids = pa.array([f"{s % 10}/{s}/{n}.flac" for s, n in zip(speaker, numbers, strict=True)])
        score = np.clip(random.normal(3.4, 0.8, count), 1, 4.64).astype(np.float32)
        bad = random.random(count) < 0.05
        frames = np.repeat(score, FRAMES).reshape(count, FRAMES) + random.normal(0, 0.1, (count, FRAMES)).astype("f4")
        frames[bad, 100:150] -= 1.5
        facts = speech_frames(count * FRAMES)
        cause = np.full((count, FRAMES), NO_CAUSE, np.int8)
        cause[bad, 100:150] = random.integers(len(HEARD_CAUSES), size=(bad.sum(), 1))
        causes = [[] if index == NO_CAUSE else [HEARD_CAUSES[index]] for index in cause[:, 100].tolist()]
        columns = {
            "utterance_id": ids,
            "uri": pa.array([f"/corpus/{name}" for name in ids.to_pylist()]),
            "duration_s": random.uniform(1, 9, count),
            "format": pa.array(["FLAC/PCM_16"] * count),
            "score": score,
            "frame_score_std": frames.std(axis=1),
            "frame_score_min": frames.min(axis=1),
            "anomaly_s": np.where(bad, 0.816, 0).astype(np.float32),
            "num_anomalies": bad.astype(np.int32),
            "noise_floor_snr_db": pa.array(
                random.uniform(0, 60, count).astype(np.float32), mask=random.random(count) < 0.1
            ),
            "speech_s": random.uniform(0.5, 4, count).astype(np.float32),
            **{name: random.uniform(1, 4, count).astype(np.float32) for name in schemas.HEARD},
            "content_hash": pa.array([f"{n:032x}" for n in numbers]),
            "causes": pa.array(causes, pa.list_(pa.string())),
            "flags": pa.array([["clipped"] if n % 9 == 0 else [] for n in numbers], pa.list_(pa.string())),
            "speaker": pa.array(speaker.astype(str)),
        }
        constants = {
            "start_s": 0.0,
            "sample_rate": 16_000,
            "channels": 1,
            "channel": None,
            "size_bytes": 1,
            "source_version": "",
            "num_frames": FRAMES,
            "frame_score_p10": 1.0,
            "model_id": "some_net@0123456789ab",
            "fingerprint": [n << 24 for n in range(24)],
            **{name: getattr(GOOD, name) for name in GOOD.__slots__},
        }
        arrays = [
            pa.array(columns[f.name], f.type) if f.name in columns else pa.array([constants[f.name]] * count, f.type)
            for f in schema
        ]
        starts = np.arange(FRAMES, dtype=np.int32)
        tables = {
            "utterances": pa.Table.from_arrays(arrays, schema=schema),
            "frames": pa.table(
                {
                    "utterance_id": ids.take(pa.array(np.repeat(np.arange(count), FRAMES))),
                    "frame": np.tile(starts, count),
                    "start_s": np.tile((starts * 0.016).astype(np.float32), count),
                    "score": frames.ravel(),
                    **{field.name: getattr(facts, field.name) for field in dataclasses.fields(facts)},
                    "speech": (random.integers(21, size=count * FRAMES) / 20).astype(np.float32),
                    "cause": pa.DictionaryArray.from_arrays(
                        pa.array(cause.ravel(), mask=cause.ravel() == NO_CAUSE), pa.array(HEARD_CAUSES)
                    ),
                    "snr_db": random.integers(10, 41, count * FRAMES).astype(np.float32),
                    "c50_db": random.integers(10, 26, count * FRAMES).astype(np.float32),
                },
                schemas.FRAMES,
            ),
            "anomalies": pa.table(
                {
                    "utterance_id": ids.filter(pa.array(bad)),
                    **{
                        name: np.full(bad.sum(), value, np.float32)
                        for name, value in (("start_s", 1.6), ("end_s", 2.416), ("mean_score", 1.9), ("min_score", 1.6))
                    },
                    "cause": [HEARD_CAUSES[index] for index in cause[bad, 100].tolist()],
                },
                schemas.ANOMALIES,
            ),
        }
        for name, table in tables.items():
            path = Path(f"{ledger.prefix(name, run_id)}-{part:05d}.parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path, compression="zstd")
    record = {
        "job": "score",
        "options": {"input": "/corpus", "carry": ["speaker"]},
        "model_id": "some_net@0123456789ab",
        "label_scale": "pesq-wb",
        "counts": {"listed": number, "scored": number, "rejected": 0, "skipped": 0},
        "audio_s": 1.0,
        "timings": {"total_s": 1.0},
        "versions": {"audiosieve": "0.1.0"},
    }
    ledger.commit(run_id, record, written(ledger, run_id))


def make_page(root: Path, page: Path) -> tuple[float, float]:
    """Returns seconds and peak memory in MB of the command."""
    command = [sys.executable, "-m", "pipelines.cli", "report", str(root), "-o", str(page)]
    measured = f"import resource, subprocess; subprocess.run({command!r}, check=True, capture_output=True); "
    measured += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", measured], check=True, capture_output=True, text=True)
    return time.perf_counter() - started, int(done.stdout) / 1024


def open_page(page: Path) -> list[tuple[float, float, float]]:
    """Returns for three openings: seconds until the text and the charts are shown, and of work on the main thread."""
    from playwright.sync_api import sync_playwright

    found = []
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for _ in range(3):
            context = browser.new_context(offline=True)
            tab = context.new_page()
            session = context.new_cdp_session(tab)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            started = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_function("document.documentElement.dataset.ready === 'yes'")
            ready = time.perf_counter() - started
            painted = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
            metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
            found.append((painted, ready, metrics["TaskDuration"]))
            context.close()
        browser.close()
    return found


def main() -> None:
    """Measures outputs of the given sizes."""
    for number in map(int, sys.argv[1:] or ["100000"]):
        with tempfile.TemporaryDirectory() as scratch:
            root, page = Path(scratch) / "out", Path(scratch) / "page.html"
            write_large(root, number)
            seconds, peak_mb = make_page(root, page)
            opened = ", ".join(" / ".join(f"{value:.2f}" for value in values) for values in open_page(page))
            print(
                f"{number:,} utterances, {number * FRAMES:,} frames: made in {seconds:.1f} s, {peak_mb:.0f} MB of memory; "
                f"{page.stat().st_size / 1e6:.1f} MB; seconds to the text / to the charts / at work: {opened}",
                flush=True,
            )


if __name__ == "__main__":
    main()
