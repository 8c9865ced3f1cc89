"""Selects the same number of seconds of the pool in several ways ("arms")."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

from model.features import SAMPLE_RATE
from pipelines.cli import main as audiosieve
from tests.benchmarks.downstream.pool import PoolClip, clip_path
from transforms.synthesis.labels.teachers import DNSMOS_INPUT_S, rate

PRESET = "enhancement"
RANDOM, PRESET_ARM, TRIM_ARM, DNSMOS, ORACLE = "random", PRESET, f"{PRESET}, trimmed", "DNSMOS", "oracle"
ARMS = (RANDOM, PRESET_ARM, TRIM_ARM, DNSMOS, ORACLE)
# Name of DNSMOS as a teacher (docs/training.md).
TEACHER = "dnsmos"
# Clips between two writes of the ratings.
RATED_AT_A_TIME = 16


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a clip of the pool.

    Attributes:
        clip_id: id of the clip.
        start_s: start in the clip in seconds.
        end_s: end in the clip in seconds.
    """

    clip_id: str
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


def whole(clip: PoolClip) -> Piece:
    """Returns all of a clip."""
    return Piece(clip.clip_id, 0.0, clip.duration_s)


def take(ordered: Sequence[Piece], seconds: float) -> list[Piece]:
    """Returns the first pieces of a list, of exactly this length: the last one is cut.

    Raises:
        SystemExit: they are shorter than that.
    """
    taken: list[Piece] = []
    missing = seconds
    for piece in ordered:
        if missing <= 1e-6:
            break
        taken.append(dataclasses.replace(piece, end_s=min(piece.end_s, piece.start_s + missing)))
        missing -= taken[-1].duration_s
    if missing > 1e-6:
        raise SystemExit(f"a selection has {missing:.1f} s less than the {seconds:.1f} s of each arm; lower --share")
    return taken


def shuffled(clips: Sequence[PoolClip], seed: int) -> list[PoolClip]:
    """Returns the clips in a random order."""
    return [clips[index] for index in np.random.default_rng([seed, 0]).permutation(len(clips))]


def oracle(clips: Sequence[PoolClip], seed: int) -> list[Piece]:
    """Returns the clean clips in a random order, then the spoiled ones, the least spoiled first."""
    order = shuffled(clips, seed)
    spoiled = sorted(
        (clip for clip in order if not clip.clean),
        key=lambda clip: clip.spoiled_s(0, clip.duration_s) / clip.duration_s,
    )
    return [whole(clip) for clip in (*(clip for clip in order if clip.clean), *spoiled)]


def by_rating(clips: Sequence[PoolClip], ratings: Mapping[str, float]) -> list[Piece]:
    """Returns the clips, the best rated first."""
    return [whole(clip) for clip in sorted(clips, key=lambda clip: (-ratings[clip.clip_id], clip.clip_id))]


def preset_first(kept: Sequence[tuple[float, Piece]], everything: Sequence[tuple[float, Piece]]) -> list[Piece]:
    """Returns what a preset keeps, then what it drops, the best score first in both.

    Args:
        kept: score and piece of all that the preset keeps.
        everything: score and piece of all that the same filter without rules keeps.
    """
    pieces = {piece for _, piece in kept}
    return [piece for _, piece in (*_best_first(kept), *_best_first(one for one in everything if one[1] not in pieces))]


def _best_first(scored: Iterable[tuple[float, Piece]]) -> list[tuple[float, Piece]]:
    return sorted(scored, key=lambda one: (-one[0], one[1].clip_id, one[1].start_s))


def score_pool(pool: Path, scores: Path, model: str) -> None:
    """Scores the pool with the command line; what is scored already is not scored again."""
    _run("score", "--input", pool / "manifest.csv", "--output", scores, "--model", model)


def filtered(scores: Path, output: Path, *options: str) -> list[tuple[float, Piece]]:
    """Returns score and piece of what `audiosieve filter` keeps with some options."""
    _run("filter", scores, "--output", output, "--overwrite", *options)
    columns = ["uri", "start_s", "duration_s", "score"]
    rows = pq.read_table(output / "kept.parquet", columns=columns).to_pylist()
    return [
        (row["score"], Piece(Path(row["uri"]).stem, row["start_s"], row["start_s"] + row["duration_s"])) for row in rows
    ]


def _run(*words: object) -> None:
    # Exit status 3 says that a filter keeps nothing.
    if (status := audiosieve([str(word) for word in words])) not in (0, 3):
        raise SystemExit(status)


def rate_pool(pool: Path, clips: Sequence[PoolClip], path: Path, processes: int) -> dict[str, float]:
    """Returns the overall rating of each clip by DNSMOS, in one window that the repeated clip fills.

    Args:
        pool: folder of the pool.
        clips: its clips.
        path: JSON lines of the ratings; only clips that are not in it are rated.
        processes: number of processes.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    ratings: dict[str, float] = dict(json.loads(line) for line in lines if line.endswith("]"))
    missing = [clip.clip_id for clip in clips if clip.clip_id not in ratings]
    groups = [missing[first : first + RATED_AT_A_TIME] for first in range(0, len(missing), RATED_AT_A_TIME)]
    with ProcessPoolExecutor(processes, get_context("spawn")) as executor, path.open("a", encoding="utf-8") as file:
        for number, found in enumerate(executor.map(functools.partial(_rate_clips, pool), groups), 1):
            file.write("".join(f"\n{json.dumps(pair)}" for pair in found.items()))
            file.flush()
            ratings |= found
            if number % 10 == 0:
                print(f"{len(ratings)} of {len(clips)} clips are rated", flush=True)
    return ratings


def _rate_clips(pool: Path, clip_ids: Sequence[str]) -> dict[str, float]:
    return {clip_id: overall(soundfile.read(clip_path(pool, clip_id), dtype="float32")[0]) for clip_id in clip_ids}


def overall(samples: np.ndarray) -> float:
    """Returns the overall rating by DNSMOS (OVRL) of one window, which the repeated recording fills."""
    return rate([TEACHER], np.resize(samples, int(DNSMOS_INPUT_S * SAMPLE_RATE)))["mos_ovrl"]


def contents(pieces: Sequence[Piece], clips: Mapping[str, PoolClip]) -> dict[str, float]:
    """Returns the hours of an arm, the share of them in spoiled clips, and the share that noise or faults cover."""
    total_s = sum(piece.duration_s for piece in pieces)
    in_spoiled = sum(piece.duration_s for piece in pieces if not clips[piece.clip_id].clean)
    covered = sum(clips[piece.clip_id].spoiled_s(piece.start_s, piece.end_s) for piece in pieces)
    return {"hours": total_s / 3600, "in_spoiled_clips": in_spoiled / total_s, "spoiled_seconds": covered / total_s}
