"""Makes the corpus to filter: speech of the split train, half of its hours spoiled, with the truth about each clip."""

from __future__ import annotations

import copy
import csv
import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from model.features import SAMPLE_RATE
from model.frame_truth import Distortion
from model.local_files import atomic_path, write_text
from pipelines.experiments.material import select_material
from transforms.corpus.sources import list_corpus
from transforms.errors import AudioFault
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.clip_plan import plan_clip
from transforms.synthesis.clips import make_clip
from transforms.synthesis.degradations.kinds import parse_degradations
from transforms.synthesis.materials import MUSIC, NOISE, RIR, SPEECH, Catalog, Material, assign_splits, measure_length

# Speech with less dynamic range is not clean (docs/training.md).
MIN_DYNAMIC_RANGE_DB = 38.0
SHORTEST_S, LONGEST_S = 3.0, 9.0
# Noise-gated speech: digital silence between the words.
LEFT_OUT = "corpus!=picovoice-barista"
ROOMS = "reverb=0.3:1.2"
FAULTS = (
    "hum=5:25,band_limit,upsampled,clipping=5:20,suppression,gain_control,gate,mnru=5:25,codec,packet_loss,dropouts"
)
POOL_SEED = 1
CLEAN = ClipOptions(
    seed=POOL_SEED,
    snr_db=((0.0, 20.0),),
    clean_ratio=1.0,
    duration_s=(LONGEST_S, LONGEST_S),
    peak_dbfs=(-12.0, -1.0),
    labels=(),
    noises=(1, 2),
    partial_ratio=0.25,
    noise_variation_ratio=0.5,
    degradations=parse_degradations(FAULTS),
    partial_degradation_ratio=0.25,
)
# Each spoiled clip has one of these, in turn: noise; a room, half of them with noise; one or two faults, some with music.
SPOILED = (
    dataclasses.replace(CLEAN, clean_ratio=0.0),
    dataclasses.replace(CLEAN, degradations=parse_degradations(ROOMS), degradation_ratio=1.0, clean_ratio=0.5),
    dataclasses.replace(CLEAN, degradation_ratio=1.0, music_ratio=0.15),
)


@dataclasses.dataclass(frozen=True)
class PoolClip:
    """A clip of the pool and the truth about it.

    Attributes:
        clip_id: id of the clip.
        duration_s: length in seconds.
        distortions: all noises and faults; none in a clean clip.
    """

    clip_id: str
    duration_s: float
    distortions: tuple[Distortion, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was added to the speech."""
        return not self.distortions

    def spoiled_s(self, start_s: float, end_s: float) -> float:
        """Returns how many seconds of a part of the clip any noise or fault covers."""
        total, reached = 0.0, start_s
        for one in sorted(self.distortions, key=lambda distortion: distortion.start_s):
            first, last = max(one.start_s, reached), min(one.end_s, end_s)
            if last > first:
                total, reached = total + last - first, last
        return total


@dataclasses.dataclass(frozen=True)
class Draft:
    """A clip that is to be made.

    Attributes:
        number: number of the clip, which its draws depend on.
        speech: its recording.
        options: options of the clip.
    """

    number: int
    speech: Material
    options: ClipOptions


def materials(
    manifest: str, kind: str, split: str, min_dynamic_range_db: float = MIN_DYNAMIC_RANGE_DB
) -> list[Material]:
    """Returns the usable recordings of a kind in a split, with their lengths, sorted by id."""
    conditions = [f"split={split}", *([LEFT_OUT] if kind == SPEECH else [])]
    found = []
    for item in assign_splits(select_material(list_corpus(manifest), kind, conditions), kind, None):
        try:
            found.append(measure_length(item, min_dynamic_range_db))
        except AudioFault:
            continue  # too noisy for a target
    shortest = SHORTEST_S * SAMPLE_RATE if kind == SPEECH else 0
    return [item for item in found if item.num_samples >= shortest]


def draft_clips(speech: Sequence[Material], hours: float) -> list[Draft]:
    """Returns the clips of a pool: each recording once as it is, then with other speeds and pitches, until the hours are full.

    A clip is spoiled if fewer seconds are spoiled than clean so far, so that half of the hours are.
    """
    order = np.random.default_rng(POOL_SEED).permutation(len(speech))
    drafts: list[Draft] = []
    clean_s = spoiled_s = 0.0
    spoiled = 0
    while clean_s + spoiled_s < hours * 3600:
        number = len(drafts)
        item = speech[order[number % len(order)]]
        duration_s = min(LONGEST_S, item.num_samples / SAMPLE_RATE)
        if spoiled_s < clean_s:
            options = SPOILED[spoiled % len(SPOILED)]
            spoiled, spoiled_s = spoiled + 1, spoiled_s + duration_s
        else:
            options, clean_s = CLEAN, clean_s + duration_s
        speed_ratio = 0.0 if number < len(order) else 1.0
        drafts.append(Draft(number, item, dataclasses.replace(options, speed_ratio=speed_ratio)))
    return drafts


def make_pool(manifest: str, folder: Path, hours: float, processes: int) -> list[PoolClip]:
    """Makes the pool in a folder, or reads the finished one: `clips/*.flac`, `manifest.csv` and `truth.json`."""
    truth = folder / "truth.json"
    if not truth.exists():
        speech = materials(manifest, SPEECH, "train")
        if not speech:
            raise SystemExit(f"{manifest}: the split train has no speech of {SHORTEST_S:g} s that is clean enough")
        others = [item for kind in (NOISE, MUSIC, RIR) for item in materials(manifest, kind, "train", -math.inf)]
        catalog = Catalog([*speech, *others])
        drafts = draft_clips(speech, hours)
        (folder / "clips").mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(processes, get_context("spawn")) as executor:
            chunks = [drafts[first :: processes * 4] for first in range(processes * 4)]
            made = list(executor.map(functools.partial(_make_clips, catalog, folder / "clips"), chunks))
        clips = sorted((clip for chunk in made for clip in chunk), key=lambda clip: clip.clip_id)
        _write_manifest(folder, clips)
        write_text(truth, json.dumps([dataclasses.asdict(clip) for clip in clips], indent=1))
    return [
        PoolClip(row["clip_id"], row["duration_s"], tuple(Distortion(**one) for one in row["distortions"]))
        for row in json.loads(truth.read_text(encoding="utf-8"))
    ]


def clip_path(folder: Path, clip_id: str) -> Path:
    """Returns the path of a clip in the folder of the pool."""
    return folder / "clips" / f"{clip_id}.flac"


def _make_clips(catalog: Catalog, folder: Path, drafts: Sequence[Draft]) -> list[PoolClip]:
    """Makes clips that are not there yet. A clip that cannot be made, for example of silent noise, is left out."""
    made = []
    for draft in drafts:
        only = copy.copy(catalog)
        only.speech = [[draft.speech]]
        try:
            row = make_clip(plan_clip(draft.number, only, draft.options), draft.options)
        except AudioFault:
            continue
        with atomic_path(folder / f"{row['clip_id']}.flac") as path:
            path.write_bytes(row["audio"])
        distortions = tuple(one if isinstance(one, Distortion) else Distortion(**one) for one in row["distortions"])
        made.append(PoolClip(row["clip_id"], row["duration_s"], distortions))
    return made


def _write_manifest(folder: Path, clips: Sequence[PoolClip]) -> None:
    with atomic_path(folder / "manifest.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id"])
        writer.writerows([f"clips/{clip.clip_id}.flac", clip.clip_id] for clip in clips)
