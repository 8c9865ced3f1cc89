"""Training clips: which speech, what is done to it, and the labelled clip itself.

A clip is decided by the seed, its number, the material and the options alone, so it is the same bytes on any number of
workers. Its plan is made without audio; what it says is then done in the order of a recording's life: the voice as it is
(`variation`), the room, noise, the recording chain, the coder, the line (`faults`), and the level.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import soundfile

from model.features import SAMPLE_RATE
from model.labels import PESQ_WB, LabelScale
from transforms.elements import REJECTS, AudioRef, Reject
from transforms.errors import AudioFault, Reason, Stage
from transforms.progress import Progress
from transforms.synthesis.degradation_kinds import BEFORE_NOISE, Range, draw_degradations
from transforms.synthesis.degradations import Degradation
from transforms.synthesis.materials import Catalog, Material, read_samples
from transforms.synthesis.mix import MixError, add_noise, blend, fit_length, set_peak, stored_reference
from transforms.synthesis.noise_variation import NoiseVariation, draw_noise_variation
from transforms.synthesis.pesq_labels import checked_frame_truth, label
from transforms.synthesis.rooms import FAR_M, RecordedRoom, Room, bank
from transforms.synthesis.speech_variation import (
    Variation,
    draw_expander,
    draw_speed,
    draw_variations,
    play,
    samples_needed,
)

# One noise of several is at most so much louder or softer than another, in dB.
BLEND_DB = 6.0
# What is drawn by generators of its own, so that more of one thing changes nothing of another.
_MAIN, _VARIATION, _FAULTS, _NOISE, _SPEED, _EXPANDER = range(6)


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
        noises: fewest and most noises in a noisy clip.
        partial_ratio: share of the noisy clips whose noise covers only a part.
        partial_s: shortest and longest such part; all of a shorter clip.
        variation_ratio: share of clips whose clean speech is varied.
        speed_ratio: share of clips whose speech is played slower or faster, as by another speaker.
        expander_ratio: share of clips whose speech is made softer where it is soft.
        noise_variation_ratio: share of noises that are varied.
        fault_ratio: share of clips with faults.
        max_faults: most faults of a clip.
        faults: which faults, with the ranges of their strengths (`fault_kinds.parse_faults`).
        keep_reference: whether a row holds its reference too.
        max_disagreement: how far the score of the frames' truth may be from PESQ.
    """

    seed: int
    snr_db: tuple[Range, ...]
    clean_ratio: float
    duration_s: Range
    peak_dbfs: Range
    labels: tuple[LabelScale, ...]
    noises: tuple[int, int] = (1, 1)
    partial_ratio: float = 0.0
    partial_s: Range = (0.5, 3.0)
    variation_ratio: float = 0.0
    speed_ratio: float = 0.0
    expander_ratio: float = 0.0
    noise_variation_ratio: float = 0.0
    fault_ratio: float = 0.0
    max_faults: int = 2
    faults: tuple[tuple[str, Range], ...] = ()
    keep_reference: bool = False
    max_disagreement: float = 0.3


@dataclasses.dataclass(frozen=True, slots=True)
class NoisePiece:
    """A noise from a sample of its own on, its level in dB beside the others of the clip, and how it is varied."""

    material: Material
    offset: int
    level_db: float
    variation: NoiseVariation | None

    @property
    def detail(self) -> str:
        """The noise and its variation."""
        name = self.material.ref.utterance_id
        return f"{name}, {self.variation.detail}" if self.variation else name

    def samples(self, length: int) -> np.ndarray:
        """So many samples of it: float32 [length]."""
        noise = read_samples(self.material.ref)
        if self.variation is None:
            return fit_length(noise, length, self.offset)
        return self.variation.apply(fit_length(noise, self.variation.needed(length), self.offset), length)


@dataclasses.dataclass(frozen=True, slots=True)
class NoisePlan:
    """The noise of a clip: its pieces together have the SNR, over [start, start + length) of the clip's samples."""

    pieces: tuple[NoisePiece, ...]
    start: int
    length: int
    snr_db: float


@dataclasses.dataclass(frozen=True, slots=True)
class ClipPlan:
    """One clip before it is made. Offsets and lengths are in samples at 16 kHz; `length` is the clip's, at its speed."""

    clip_id: str
    seed: int
    speech: Material
    speech_offset: int
    speed: float
    length: int
    variations: tuple[Variation, ...]
    noise: NoisePlan | None
    faults: tuple[Degradation, ...]
    peak_dbfs: float


def clip_id(seed: int, number: int) -> str:
    """The id of a clip."""
    return f"{seed}-{number:08d}"


def plan_clip(number: int, catalog: Catalog, options: ClipOptions) -> ClipPlan:
    """Draws a clip: a speaker, then speech of theirs; noise groups of the speaker's split, then noise of each; the rest.

    Raises:
        AudioFault: the material has no speech, or no noise in the speaker's split.
    """
    rng = _generator(options.seed, number, _MAIN)
    if not catalog.speech:
        raise AudioFault(Stage.MIX, Reason.NO_MATERIAL, "no speech is left to draw from: all of it was rejected")
    speech = _choose(rng, _choose(rng, catalog.speech))
    speed = _plan_speed(number, options)
    length = min(int(speech.num_samples / speed), round(rng.uniform(*options.duration_s) * SAMPLE_RATE))
    taken = min(speech.num_samples, samples_needed(length, speed))
    return ClipPlan(
        clip_id=clip_id(options.seed, number),
        seed=options.seed,
        speech=speech,
        speech_offset=int(rng.integers(speech.num_samples - taken + 1)),
        speed=speed,
        length=length,
        peak_dbfs=float(rng.uniform(*options.peak_dbfs)),
        noise=None
        if rng.random() < options.clean_ratio
        else _plan_noise(rng, number, length, speech.split, catalog, options),
        variations=_plan_variations(number, speech.split, options),
        faults=_plan_faults(number, speech.split, catalog, options),
    )


def _plan_noise(
    rng: np.random.Generator, number: int, length: int, split: str, catalog: Catalog, options: ClipOptions
) -> NoisePlan:
    if not catalog.noise.get(split):
        detail = f"no noise is left to draw from in the split {split!r}: all of it was rejected"
        raise AudioFault(Stage.MIX, Reason.NO_MATERIAL, detail)
    vary = _generator(options.seed, number, _NOISE)
    pieces = []
    for _ in range(rng.integers(options.noises[0], options.noises[1] + 1)):
        material = _choose(rng, _choose(rng, catalog.noise[split]))
        level_db = rng.uniform(-BLEND_DB / 2, BLEND_DB / 2)
        variation = draw_noise_variation(vary) if vary.random() < options.noise_variation_ratio else None
        pieces.append(NoisePiece(material, int(rng.integers(material.num_samples)), float(level_db), variation))
    snr_db = float(rng.uniform(*_choose(rng, options.snr_db)))
    covered = length
    if rng.random() < options.partial_ratio:
        covered = min(length, round(rng.uniform(*options.partial_s) * SAMPLE_RATE))
    return NoisePlan(tuple(pieces), int(rng.integers(length - covered + 1)), covered, snr_db)


def _plan_speed(number: int, options: ClipOptions) -> float:
    rng = _generator(options.seed, number, _SPEED)
    return draw_speed(rng) if rng.random() < options.speed_ratio else 1.0


def _plan_variations(number: int, split: str, options: ClipOptions) -> tuple[Variation, ...]:
    rng = _generator(options.seed, number, _VARIATION)
    found = draw_variations(rng, options.seed, split) if rng.random() < options.variation_ratio else ()
    rng = _generator(options.seed, number, _EXPANDER)
    return (draw_expander(rng), *found) if rng.random() < options.expander_ratio else found


def _plan_faults(number: int, split: str, catalog: Catalog, options: ClipOptions) -> tuple[Degradation, ...]:
    rng = _generator(options.seed, number, _FAULTS)

    def draw_room(rng: np.random.Generator, rt60_s: Range) -> Room | RecordedRoom:
        """Where there are recorded rooms, one of them half of the time."""
        recorded = catalog.rirs.get(split)
        if recorded and rng.random() < 0.5:
            return RecordedRoom(_choose(rng, _choose(rng, recorded)).ref)
        return _choose(rng, bank(options.seed, split, rt60_s, FAR_M))

    if rng.random() >= options.fault_ratio:
        return ()
    return draw_degradations(rng, options.faults, options.max_faults, draw_room)


def make_clip(plan: ClipPlan, options: ClipOptions) -> dict[str, Any]:
    """Makes a planned clip: a row of the training set (`schemas.CLIPS`).

    Raises:
        AudioFault: the material cannot be read, has no level at the place drawn, PESQ refuses the pair, or the frames'
            truth does not agree with it.
    """
    speech = read_samples(plan.speech.ref)[plan.speech_offset :]
    reference = play(speech[: samples_needed(plan.length, plan.speed)], plan.speed, plan.length)
    for variation in plan.variations:
        reference = variation.apply(reference)
    distortions: list[dict[str, Any]] = []
    try:
        samples = _apply([fault for fault in plan.faults if fault.KIND in BEFORE_NOISE], reference, distortions)
        if plan.noise is not None:
            samples = _add_noise(plan.noise, samples, distortions)
        samples = _apply([fault for fault in plan.faults if fault.KIND not in BEFORE_NOISE], samples, distortions)
        mixture = set_peak(reference, samples, plan.peak_dbfs)
    except MixError as error:
        raise AudioFault(Stage.MIX, Reason.SILENT, str(error)) from error
    labels = {scale.column: label(scale, mixture, _whole_snr_db(plan), bool(plan.faults)) for scale in options.labels}
    score = labels.get(PESQ_WB.column)
    truth = None if score is None else checked_frame_truth(mixture, score, options.max_disagreement)
    pieces = plan.noise.pieces if plan.noise else ()
    return {
        "clip_id": plan.clip_id,
        "audio": encode_flac(mixture.degraded),
        "reference": encode_flac(stored_reference(mixture)) if options.keep_reference else None,
        "duration_s": plan.length / SAMPLE_RATE,
        **labels,
        "snr_db": plan.noise.snr_db if plan.noise else None,
        "disturbance": truth.disturbance.tolist() if truth else None,
        "asymmetric_disturbance": truth.asymmetric_disturbance.tolist() if truth else None,
        "distortions": distortions,
        "variation": _said_of_voice(plan),
        "speech_id": plan.speech.ref.utterance_id,
        "speaker": plan.speech.group,
        "corpus": plan.speech.ref.columns.get("corpus") or None,
        "noise_ids": [piece.material.ref.utterance_id for piece in pieces],
        "noise_groups": [piece.material.group for piece in pieces],
        "peak_dbfs": plan.peak_dbfs,
        "split": plan.speech.split,
        "seed": plan.seed,
    }


def _said_of_voice(plan: ClipPlan) -> list[str]:
    speed = [] if plan.speed == 1.0 else [f"speed {plan.speed:.2f}"]
    return speed + [variation.detail for variation in plan.variations]


def _apply(faults: Sequence[Degradation], samples: np.ndarray, distortions: list[dict[str, Any]]) -> np.ndarray:
    for fault in faults:
        faulted = fault.apply(samples)
        samples = faulted.samples
        distortions += [_distortion(fault.KIND, fault.detail, *span) for span in faulted.spans]
    return samples


def _add_noise(plan: NoisePlan, samples: np.ndarray, distortions: list[dict[str, Any]]) -> np.ndarray:
    noises = [piece.samples(plan.length) for piece in plan.pieces]
    noise = blend(noises, [piece.level_db for piece in plan.pieces])
    distortions += [_distortion("noise", piece.detail, plan.start, plan.start + plan.length) for piece in plan.pieces]
    return add_noise(samples, noise, plan.snr_db, plan.start)


def _distortion(kind: str, detail: str, start: int, end: int) -> dict[str, Any]:
    return {"kind": kind, "detail": detail, "start_s": start / SAMPLE_RATE, "end_s": end / SAMPLE_RATE}


def _whole_snr_db(plan: ClipPlan) -> float | None:
    """The SNR with the noise's mean power, too, taken over the whole clip: noise of a tenth of it counts 10 dB less."""
    if plan.noise is None:
        return None
    return plan.noise.snr_db + 10 * float(np.log10(plan.length / plan.noise.length))


def encode_flac(samples: np.ndarray) -> bytes:
    """A 16-bit FLAC file of samples [n] at 16 kHz, full scale 1.0."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


class MakeClip(beam.DoFn):
    """Clip number and `Catalog` -> a row of the training set, or a `Reject` under the clip's id."""

    def __init__(self, options: ClipOptions) -> None:
        self.options = options
        self.setup()

    def setup(self) -> None:
        """Begins to count, in each process, for the lines on stderr that say how far it is."""
        self._progress = Progress("clips are made in this process")

    def process(self, number: int, catalog: Catalog) -> Iterable[Any]:
        """Makes one clip."""
        ref = AudioRef(clip_id(self.options.seed, number), "", 0, "")
        try:
            plan = plan_clip(number, catalog, self.options)
            ref = dataclasses.replace(plan.speech.ref, utterance_id=plan.clip_id)
            yield make_clip(plan, self.options)
        except AudioFault as fault:
            yield beam.pvalue.TaggedOutput(REJECTS, Reject.of(ref, fault))
        self._progress.add()


def _generator(seed: int, number: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, purpose])


def _choose(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]
