"""Makes the pool, selects from it, trains, judges and writes the report."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from model.local_files import atomic_path, write_text
from tests.benchmarks.downstream import selection
from tests.benchmarks.downstream.judging import MEASURES, judge
from tests.benchmarks.downstream.mixing import NoisyClip, mix_test, read_arm, write_training_noise
from tests.benchmarks.downstream.pool import PoolClip, make_pool
from tests.benchmarks.downstream.report import as_json, markdown
from tests.benchmarks.downstream.selection import ARMS, PRESET, Piece
from transforms.synthesis.degradations.media_codecs import missing_encoders
from transforms.synthesis.labels.pesq_labels import pesq_installed
from transforms.synthesis.labels.teachers import missing_packages
from transforms.synthesis.rooms import simulation_installed


class Training(NamedTuple):
    """A training and the judgement of its enhancer.

    Attributes:
        arm: name of the selection.
        seed: seed of the training.
        pieces: training speech.
        out: folder of the run.
        steps: number of training steps.
        rated: number of test clips that DNSMOS rates.
    """

    arm: str
    seed: int
    pieces: Sequence[Piece]
    out: Path
    steps: int
    rated: int

    @property
    def result(self) -> Path:
        """File of the measures."""
        return self.out / "results" / f"{ARMS.index(self.arm)}-{self.seed}.json"


def selections(
    arguments: argparse.Namespace, clips: Sequence[PoolClip]
) -> tuple[dict[tuple[str, int], list[Piece]], str]:
    """Returns the pieces of each arm and seed, all with the same hours, and a sentence about what the preset keeps."""
    out: Path = arguments.out
    ratings = selection.rate_pool(out / "pool", clips, out / "dnsmos.jsonl", arguments.processes)
    selection.score_pool(out / "pool", out / "scores", arguments.model)
    orders: dict[str, list[Piece]] = {selection.DNSMOS: selection.by_rating(clips, ratings)}
    kept_hours = {}
    for arm, options in ((selection.PRESET_ARM, ()), (selection.TRIM_ARM, ("--trim", "anomalies"))):
        folder = out / "filtered" / f"{ARMS.index(arm)}"
        kept = selection.filtered(out / "scores", folder / PRESET, "--preset", PRESET, *options)
        everything = selection.filtered(out / "scores", folder / "all", "--rules", "none", *options)
        orders[arm] = selection.preset_first(kept, everything)
        kept_hours[arm] = sum(piece.duration_s for _, piece in kept) / 3600
    seconds = arguments.share * sum(clip.duration_s for clip in clips)
    found = {}
    for seed in range(arguments.seeds):
        orders[selection.RANDOM] = [selection.whole(clip) for clip in selection.shuffled(clips, seed)]
        orders[selection.ORACLE] = selection.oracle(clips, seed)
        found |= {(arm, seed): selection.take(orders[arm], seconds) for arm in ARMS}
    hours = " and ".join(f"{kept_hours[arm]:.2f} h (`{arm}`)" for arm in kept_hours)
    clean_s = sum(clip.duration_s for clip in clips if clip.clean)
    note = (
        f"The pool has {len(clips)} clips, {sum(clip.duration_s for clip in clips) / 3600:.2f} h, "
        f"{clean_s / 3600:.2f} h of them clean. The preset keeps {hours}."
    )
    return found, note


def run_training(training: Training) -> str:
    """Trains and judges an enhancer, writes its measures, and returns a line about it."""
    from model.runtime import start_tensorflow

    start_tensorflow(1)
    from tests.benchmarks.downstream.enhancer import enhance, train

    started = time.monotonic()
    title = f"{training.arm}, seed {training.seed}"
    noise = np.load(training.out / "noise.npy", mmap_mode="r")
    speech = read_arm(training.out / "pool", training.pieces)

    def report(step: int, loss: float) -> None:
        print(f"{title}: step {step} of {training.steps}, loss {loss:.4f}", flush=True)

    network = train(speech, noise, training.seed, training.steps, report)
    trained_s = time.monotonic() - started
    clips = read_test(training.out)
    measures = judge(clips, training.rated, lambda noisy: enhance(network, noisy))
    total_s = time.monotonic() - started
    row = {"arm": training.arm, "seed": training.seed, "trained_s": trained_s, "total_s": total_s, "measures": measures}
    write_text(training.result, json.dumps(row))
    means = ", ".join(f"{name} {np.mean([v for v in measures[name] if v is not None]):.2f}" for name in MEASURES)
    return f"{title}: {means} after {trained_s:.0f} s of training and {total_s - trained_s:.0f} s of judging"


def judge_noisy(out: Path, rated: int) -> str:
    """Judges the noisy test clips themselves, writes their measures, and returns a line about it."""
    write_text(noisy_result(out), json.dumps({"measures": judge(read_test(out), rated, lambda noisy: noisy)}))
    return "the noisy input is judged"


def noisy_result(out: Path) -> Path:
    """Returns the path of the measures of the noisy test clips."""
    return out / "results" / "noisy.json"


def write_test(arguments: argparse.Namespace) -> list[NoisyClip]:
    """Makes the test clips, or reads those that are there."""
    path = arguments.out / "test.npz"
    if not path.exists():
        clips = mix_test(arguments.manifest, arguments.test_clips)
        arrays = {f"{kind}{n}": getattr(clip, kind) for n, clip in enumerate(clips) for kind in ("clean", "noisy")}
        with atomic_path(path) as draft:
            np.savez(draft, speakers=[clip.speaker for clip in clips], **arrays)
    return read_test(arguments.out)


def read_test(out: Path) -> list[NoisyClip]:
    """Returns the test clips of a run."""
    stored = np.load(out / "test.npz")
    return [
        NoisyClip(str(speaker), stored[f"clean{number}"], stored[f"noisy{number}"])
        for number, speaker in enumerate(stored["speakers"])
    ]


def check_installed() -> None:
    """Refuses to begin without the packages that the run needs."""
    missing = [*missing_packages([selection.TEACHER]), *missing_encoders()]
    missing += [
        name for name, there in (("pesq", pesq_installed()), ("pyroomacoustics", simulation_installed())) if not there
    ]
    if missing:
        extras = "pip install 'audiosieve[train,media,teachers]'"
        raise SystemExit(f"not found: {', '.join(missing)}; {extras}")


def check_settings(arguments: argparse.Namespace) -> None:
    """Stores the settings of the run, and refuses to continue one with other settings."""
    settings = {name: value for name, value in vars(arguments).items() if name not in ("out", "processes")}
    path = arguments.out / "settings.json"
    if not path.exists():
        write_text(path, json.dumps(settings, indent=1))
    elif (earlier := json.loads(path.read_text(encoding="utf-8"))) != settings:
        raise SystemExit(f"{arguments.out} has a run with other settings: {earlier}; choose another folder")


def as_arrays(measures: Sequence[Mapping[str, Sequence[float | None]]]) -> dict[str, np.ndarray]:
    """Returns the measures of several seeds as arrays [S, N]; a missing value is NaN."""
    return {name: np.array([row[name] for row in measures], np.float64) for name in MEASURES}


def run(arguments: argparse.Namespace) -> None:
    """Runs what is missing of the experiment, and writes the report."""
    out: Path = arguments.out
    started = time.monotonic()

    def progress(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s: {text}", flush=True)

    check_installed()
    check_settings(arguments)
    clips = make_pool(arguments.manifest, out / "pool", arguments.hours, arguments.processes)
    progress(f"the pool has {len(clips)} clips")
    tested = write_test(arguments)
    write_training_noise(arguments.manifest, out / "noise.npy")
    progress(f"{len(tested)} test clips are made")
    pieces, note = selections(arguments, clips)
    progress("all arms are selected")
    trainings = [
        Training(arm, seed, pieces[arm, seed], out, arguments.steps, arguments.rated)
        for seed in range(arguments.seeds)
        for arm in ARMS
    ]
    missing = [training for training in trainings if not training.result.exists()]
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as executor:
        jobs = [executor.submit(run_training, training) for training in missing]
        if not noisy_result(out).exists():
            jobs.append(executor.submit(judge_noisy, out, arguments.rated))
        for done in as_completed(jobs):
            progress(done.result())
    finish(arguments, trainings, tested, {clip.clip_id: clip for clip in clips}, note)
    progress(f"{out / 'downstream.md'} is written")


def finish(
    arguments: argparse.Namespace,
    trainings: Sequence[Training],
    tested: Sequence[NoisyClip],
    clips: Mapping[str, PoolClip],
    note: str,
) -> None:
    """Writes the report and its figures, and prints the report."""
    rows = [json.loads(one.result.read_text(encoding="utf-8")) for one in trainings]
    arms = {arm: as_arrays([row["measures"] for row in rows if row["arm"] == arm]) for arm in ARMS}
    held = {
        arm: {
            name: float(np.mean([selection.contents(one.pieces, clips)[name] for one in trainings if one.arm == arm]))
            for name in ("hours", "in_spoiled_clips", "spoiled_seconds")
        }
        for arm in ARMS
    }
    noisy = as_arrays([json.loads(noisy_result(arguments.out).read_text(encoding="utf-8"))["measures"]])
    speakers = [clip.speaker for clip in tested]
    notes = [
        note,
        f"{arguments.seeds} trainings of {arguments.steps} steps for each arm; {len(tested)} test clips of "
        f"{len(set(speakers))} speakers, of which DNSMOS rates {min(arguments.rated, len(tested))}; model {arguments.model}.",
    ]
    text = markdown(held, noisy, arms, speakers, notes)
    write_text(arguments.out / "downstream.md", text)
    figures = as_json(held, noisy, arms, speakers) | {"notes": notes}
    write_text(arguments.out / "downstream.json", json.dumps(figures, indent=1))
    print(text, flush=True)
