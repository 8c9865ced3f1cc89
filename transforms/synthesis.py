"""Training clips: which speech, which noise, at which SNR, and the labelled clip itself.

A clip is decided by the seed, its number and the material alone, so it is the same bytes on any number of workers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from typing import Any

import apache_beam as beam
import numpy as np
import soundfile

from model.features import SAMPLE_RATE
from model.labels import LabelScale
from transforms.decode import read_audio
from transforms.facts import dynamic_range_db
from transforms.label import label
from transforms.mix import MixError, fit_length, mix
from transforms.records import REJECTS, AudioFault, AudioRef, Reason, Reject, Stage

TRAIN, VAL = "train", "val"
GROUP_COLUMNS = {"speech": ("speaker", "speaker_or_class"), "noise": ("group",)}


@dataclasses.dataclass(frozen=True, slots=True)
class Material:
    """One recording of speech or noise to draw clips from.

    Attributes:
        ref: where it is.
        kind: "speech" or "noise".
        group: what must not be in two splits: the speaker, or the noise group.
        split: "train" or "val".
        num_samples: at 16 kHz; 0 before it was measured.
    """

    ref: AudioRef
    kind: str
    group: str
    split: str
    num_samples: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class ClipOptions:
    """What clips are made of.

    Attributes:
        seed: of the whole set.
        snr_db: ranges (low, high) in dB, one of which is drawn for each clip, then an SNR in it; low = high for one
            SNR.
        clean_ratio: share of clips without noise.
        duration_s: shortest and longest clip; speech that is shorter than a clip is taken whole.
        peak_dbfs: lowest and highest peak level.
        labels: which labels to give.
    """

    seed: int
    snr_db: tuple[tuple[float, float], ...]
    clean_ratio: float
    duration_s: tuple[float, float]
    peak_dbfs: tuple[float, float]
    labels: tuple[LabelScale, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ClipPlan:
    """One clip before it is made. Offsets and lengths are in samples at 16 kHz; a clean clip has no noise and no SNR."""

    clip_id: str
    seed: int
    speech: Material
    speech_offset: int
    length: int
    noise: Material | None
    noise_offset: int
    snr_db: float | None
    peak_dbfs: float


def materials(refs: Sequence[AudioRef], kind: str, holdout: float | None) -> list[Material]:
    """Sorts recordings into groups and splits.

    The group is the manifest's column (`GROUP_COLUMNS`), else the first folder in which the recordings differ (as the
    speaker in speaker/chapter/1.flac), else, where they lie in no folder, the recording itself. The split is the
    manifest's column `split` where `holdout` is None and there is one; else `held_out` decides by the groups, with a
    tenth for None.

    Args:
        refs: recordings of one kind.
        kind: "speech" or "noise".
        holdout: share of the groups to put into "val".
    """
    groups = _groups(refs, kind)
    val = held_out(set(groups), 0.1 if holdout is None else holdout)
    found = []
    for ref, group in zip(refs, groups, strict=True):
        named = ref.columns.get("split") if holdout is None else None
        found.append(Material(ref, kind, group, named or (VAL if group in val else TRAIN)))
    return found


def held_out(groups: Set[str], share: float) -> set[str]:
    """The groups whose SHA-1, as a fraction of its range, is under `share`.

    So a group that is added later moves no other. But one group at least is not held out, and of two groups or
    more one at least is, unless `share` is 0.
    """
    position = {group: int.from_bytes(hashlib.sha1(group.encode()).digest()[:4], "big") / 2**32 for group in groups}
    order = sorted(groups, key=lambda group: position[group])
    count = sum(value < share for value in position.values())
    if share > 0:
        count = min(max(count, 1), len(order) - 1)
    return set(order[:count])


def _groups(refs: Sequence[AudioRef], kind: str) -> list[str]:
    """The group of each recording."""
    folders = [ref.utterance_id.split("/")[:-1] for ref in refs]
    levels = list(zip(*folders, strict=False))
    shared = next((depth for depth, names in enumerate(levels) if len(set(names)) > 1), len(levels))
    groups = []
    for ref, folder in zip(refs, folders, strict=True):
        named = (ref.columns.get(column) for column in GROUP_COLUMNS[kind])
        groups.append(next(filter(None, named), None) or "".join(folder[shared : shared + 1]) or ref.utterance_id)
    return groups


def measure(item: Material, min_dynamic_range_db: float) -> Material:
    """Reads a recording once, to learn its length and whether it can serve.

    Raises:
        AudioFault: it cannot be decoded, or it is speech whose dynamic range is under the minimum.
    """
    samples = read_audio(item.ref.uri).samples
    if item.kind == "speech" and (found := dynamic_range_db(samples)) < min_dynamic_range_db:
        detail = f"its dynamic range is {found:.1f} dB; a clean reference needs {min_dynamic_range_db:g} dB"
        raise AudioFault(Stage.REFERENCE, Reason.NOT_CLEAN, detail)
    return dataclasses.replace(item, num_samples=len(samples))


class Catalog:
    """The material that serves, by group: every speaker of every split, and every noise group of each split."""

    def __init__(self, items: Iterable[Material]) -> None:
        speech: dict[str, list[Material]] = defaultdict(list)
        noise: dict[str, dict[str, list[Material]]] = defaultdict(lambda: defaultdict(list))
        for item in sorted(items, key=lambda item: item.ref.utterance_id):
            if item.kind == "speech":
                speech[f"{item.split}/{item.group}"].append(item)
            else:
                noise[item.split][item.group].append(item)
        self.speech = [speech[key] for key in sorted(speech)]
        self.noise = {split: [groups[key] for key in sorted(groups)] for split, groups in noise.items()}


def clip_id(seed: int, number: int) -> str:
    """The id of a clip."""
    return f"{seed}-{number:08d}"


def plan_clip(number: int, catalog: Catalog, options: ClipOptions) -> ClipPlan:
    """Draws a clip: a speaker, then speech of theirs; a noise group of the speaker's split, then noise of it.

    Raises:
        AudioFault: the material has no speech, or no noise in the speaker's split.
    """
    rng = np.random.default_rng([options.seed, number])
    if not catalog.speech:
        raise AudioFault(Stage.MIX, Reason.NO_MATERIAL, "no speech is left to draw from: all of it was rejected")
    speech = _choose(rng, _choose(rng, catalog.speech))
    length = min(speech.num_samples, round(rng.uniform(*options.duration_s) * SAMPLE_RATE))
    speech_offset = int(rng.integers(speech.num_samples - length + 1))
    peak_dbfs = float(rng.uniform(*options.peak_dbfs))
    noise, noise_offset, snr_db = None, 0, None
    if rng.random() >= options.clean_ratio:
        if not catalog.noise.get(speech.split):
            detail = f"no noise is left to draw from in the split {speech.split!r}: all of it was rejected"
            raise AudioFault(Stage.MIX, Reason.NO_MATERIAL, detail)
        noise = _choose(rng, _choose(rng, catalog.noise[speech.split]))
        noise_offset = int(rng.integers(noise.num_samples))
        snr_db = float(rng.uniform(*_choose(rng, options.snr_db)))
    return ClipPlan(
        clip_id=clip_id(options.seed, number),
        seed=options.seed,
        speech=speech,
        speech_offset=speech_offset,
        length=length,
        noise=noise,
        noise_offset=noise_offset,
        snr_db=snr_db,
        peak_dbfs=peak_dbfs,
    )


def make_clip(plan: ClipPlan, labels: Sequence[LabelScale]) -> dict[str, Any]:
    """Makes a planned clip: a row of the training set (`schemas.CLIPS`).

    Raises:
        AudioFault: the material cannot be read, has no level at the place drawn, or PESQ refuses the pair.
    """
    end = plan.speech_offset + plan.length
    speech = read_audio(plan.speech.ref.uri).samples[plan.speech_offset : end]
    noise = None
    if plan.noise is not None:
        noise = fit_length(read_audio(plan.noise.ref.uri).samples, plan.length, plan.noise_offset)
    try:
        mixture = mix(speech, noise, plan.snr_db, plan.peak_dbfs)
    except MixError as error:
        raise AudioFault(Stage.MIX, Reason.SILENT, str(error)) from error
    return {
        "clip_id": plan.clip_id,
        "audio": encode_flac(mixture.degraded),
        "duration_s": plan.length / SAMPLE_RATE,
        **{scale.column: label(scale, mixture, plan.snr_db) for scale in labels},
        "snr_db": plan.snr_db,
        "speech_id": plan.speech.ref.utterance_id,
        "speaker": plan.speech.group,
        "noise_id": plan.noise.ref.utterance_id if plan.noise else None,
        "noise_group": plan.noise.group if plan.noise else None,
        "split": plan.speech.split,
        "seed": plan.seed,
    }


def encode_flac(samples: np.ndarray) -> bytes:
    """A 16-bit FLAC file of samples [n] at 16 kHz, full scale 1.0."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


class MeasureMaterial(beam.DoFn):
    """`Material` -> the same with its length (`measure`), or a `Reject`."""

    def __init__(self, min_dynamic_range_db: float) -> None:
        self.min_dynamic_range_db = min_dynamic_range_db

    def process(self, item: Material) -> Iterable[Any]:
        """Measures one recording."""
        try:
            yield measure(item, self.min_dynamic_range_db)
        except AudioFault as fault:
            yield beam.pvalue.TaggedOutput(REJECTS, Reject.of(item.ref, fault))


class MakeClip(beam.DoFn):
    """Clip number and `Catalog` -> a row of the training set, or a `Reject` under the clip's id."""

    def __init__(self, options: ClipOptions) -> None:
        self.options = options

    def process(self, number: int, catalog: Catalog) -> Iterable[Any]:
        """Makes one clip."""
        ref = AudioRef(clip_id(self.options.seed, number), "", 0, "")
        try:
            plan = plan_clip(number, catalog, self.options)
            ref = dataclasses.replace(plan.speech.ref, utterance_id=plan.clip_id)
            yield make_clip(plan, self.options.labels)
        except AudioFault as fault:
            yield beam.pvalue.TaggedOutput(REJECTS, Reject.of(ref, fault))


def _choose(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]
