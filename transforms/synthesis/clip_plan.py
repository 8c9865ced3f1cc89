"""Plans training clips: draws the speech, the noise and the degradations of each clip, without reading audio.

A clip depends only on the seed, its number, the material and the options, so the clips are the same on any number of workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.features import SAMPLE_RATE
from model.labels import LabelScale
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.degradations.base import Degradation
from transforms.synthesis.degradations.kinds import Range, draw_degradations
from transforms.synthesis.materials import Catalog, Material
from transforms.synthesis.noise_variation import NoiseVariation, draw_noise_variation
from transforms.synthesis.rooms import FAR_M, RecordedRoom, Room, bank
from transforms.synthesis.speech_variation import (
    Variation,
    draw_expander,
    draw_speed,
    draw_variations,
    samples_needed,
)

# Largest difference in level between two noises of a clip, in dB.
MAX_LEVEL_DIFFERENCE_DB = 6.0
# Each purpose has its own random generator, so that changing one option does not change the other draws.
_MAIN, _VARIATION, _DEGRADATIONS, _NOISE, _SPEED, _EXPANDER = range(6)
# Purposes of other modules.
AS_IS, TEACHER_RATINGS = 100, 101


@dataclasses.dataclass(frozen=True, slots=True)
class ClipOptions:
    """Options that determine how clips are made.

    Attributes:
        seed: seed of the whole set.
        snr_db: ranges (low, high) of SNRs in dB. For each clip, a range is drawn, then an SNR within it. A range may have equal
            ends.
        clean_ratio: share of clips without noise, 0 to 1.
        duration_s: shortest and longest clip in seconds; shorter speech is used whole.
        peak_dbfs: lowest and highest peak level in dB of full scale.
        labels: scales of the labels to compute.
        noises: smallest and largest number of noises in a noisy clip.
        partial_ratio: share of the noisy clips whose noise covers only a part, 0 to 1.
        partial_s: shortest and longest such part in seconds; noise covers the whole of a shorter clip.
        variation_ratio: share of clips whose clean speech is varied, 0 to 1.
        speed_ratio: share of clips whose speech is slower or faster, 0 to 1.
        expander_ratio: share of clips whose soft sounds are attenuated, 0 to 1.
        noise_variation_ratio: share of noises that are varied, 0 to 1.
        degradation_ratio: share of clips with degradations, 0 to 1.
        max_degradations: largest number of degradations in a clip, at least 1.
        degradations: kinds to draw from, with the ranges of their strengths (`parse_degradations`).
        keep_reference: whether a row contains the clean reference too.
        max_disagreement: largest difference between PESQ and the score of the frame disturbances, in MOS.
        teachers: names of the models that rate clips (`teachers.TEACHERS`).
        teacher_ratio: share of the made clips that teachers rate, 0 to 1; they rate all parts of recordings.
        as_is_ratio: share of clips that are unchanged parts of recordings, 0 to 1.
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
    degradation_ratio: float = 0.0
    max_degradations: int = 2
    degradations: tuple[tuple[str, Range], ...] = ()
    keep_reference: bool = False
    max_disagreement: float = 0.3
    teachers: tuple[str, ...] = ()
    teacher_ratio: float = 1.0
    as_is_ratio: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class NoiseSegment:
    """A segment of a noise recording in a clip.

    Attributes:
        material: the recording.
        offset: first sample of the segment; a recording that is too short is repeated.
        level_db: level relative to the other noises of the clip, in dB.
        variation: variation of the noise; None for the unchanged recording.
    """

    material: Material
    offset: int
    level_db: float
    variation: NoiseVariation | None

    @property
    def detail(self) -> str:
        """Id of the noise, with its variation."""
        name = self.material.ref.utterance_id
        return f"{name}, {self.variation.detail}" if self.variation else name


@dataclasses.dataclass(frozen=True, slots=True)
class NoisePlan:
    """The noise of a clip.

    Attributes:
        segments: noises that are added up.
        start: first sample of the clip with noise.
        length: number of samples with noise.
        snr_db: SNR of the speech to the sum of the noises, in dB.
    """

    segments: tuple[NoiseSegment, ...]
    start: int
    length: int
    snr_db: float


@dataclasses.dataclass(frozen=True, slots=True)
class ClipPlan:
    """Everything that was drawn for a clip.

    Attributes:
        clip_id: id of the clip.
        seed: seed of the set.
        speech: speech recording.
        speech_offset: first sample of the speech, at 16 kHz.
        speed: factor of speed and pitch; 1 for the unchanged recording.
        length: number of samples of the clip, at 16 kHz.
        variations: variations of the clean speech, in order.
        noise: noise of the clip; None for a clip without noise.
        degradations: degradations in order.
        peak_dbfs: peak level in dB of full scale.
    """

    clip_id: str
    seed: int
    speech: Material
    speech_offset: int
    speed: float
    length: int
    variations: tuple[Variation, ...]
    noise: NoisePlan | None
    degradations: tuple[Degradation, ...]
    peak_dbfs: float


def clip_id(seed: int, number: int) -> str:
    """Returns the id of a clip; ids sort by number."""
    return f"{seed}-{number:08d}"


def plan_clip(number: int, catalog: Catalog, options: ClipOptions) -> ClipPlan:
    """Draws a clip: a speaker and one of their recordings, then noise of the speaker's split, then everything else.

    Raises:
        AudioFault: the catalog has no speech, or no noise in the speaker's split.
    """
    rng = _generator(options.seed, number, _MAIN)
    if not catalog.speech:
        raise AudioFault(
            Stage.MIX, Reason.NO_MATERIAL, "there is no speech to draw from, because all of it was rejected"
        )
    speech = _choose(rng, _choose(rng, catalog.speech))
    speed = _plan_speed(number, options)
    length = min(int(speech.num_samples / speed), round(rng.uniform(*options.duration_s) * SAMPLE_RATE))
    used = min(speech.num_samples, samples_needed(length, speed))
    return ClipPlan(
        clip_id=clip_id(options.seed, number),
        seed=options.seed,
        speech=speech,
        speech_offset=int(rng.integers(speech.num_samples - used + 1)),
        speed=speed,
        length=length,
        peak_dbfs=float(rng.uniform(*options.peak_dbfs)),
        noise=_plan_noise(rng, number, length, speech.split, catalog, options),
        variations=_plan_variations(number, speech.split, options),
        degradations=_plan_degradations(number, speech.split, catalog, options),
    )


def _plan_noise(
    rng: np.random.Generator, number: int, length: int, split: str, catalog: Catalog, options: ClipOptions
) -> NoisePlan | None:
    if rng.random() < options.clean_ratio:
        return None
    if not catalog.noise.get(split):
        detail = f"there is no noise to draw from in the split {split!r}, because all of it was rejected"
        raise AudioFault(Stage.MIX, Reason.NO_MATERIAL, detail)
    variation_rng = _generator(options.seed, number, _NOISE)
    segments = []
    for _ in range(rng.integers(options.noises[0], options.noises[1] + 1)):
        material = _choose(rng, _choose(rng, catalog.noise[split]))
        level_db = rng.uniform(-MAX_LEVEL_DIFFERENCE_DB / 2, MAX_LEVEL_DIFFERENCE_DB / 2)
        is_varied = variation_rng.random() < options.noise_variation_ratio
        variation = draw_noise_variation(variation_rng) if is_varied else None
        segments.append(NoiseSegment(material, int(rng.integers(material.num_samples)), float(level_db), variation))
    snr_db = float(rng.uniform(*_choose(rng, options.snr_db)))
    covered = length
    if rng.random() < options.partial_ratio:
        covered = min(length, round(rng.uniform(*options.partial_s) * SAMPLE_RATE))
    return NoisePlan(tuple(segments), int(rng.integers(length - covered + 1)), covered, snr_db)


def _plan_speed(number: int, options: ClipOptions) -> float:
    rng = _generator(options.seed, number, _SPEED)
    return draw_speed(rng) if rng.random() < options.speed_ratio else 1.0


def _plan_variations(number: int, split: str, options: ClipOptions) -> tuple[Variation, ...]:
    rng = _generator(options.seed, number, _VARIATION)
    variations = draw_variations(rng, options.seed, split) if rng.random() < options.variation_ratio else ()
    rng = _generator(options.seed, number, _EXPANDER)
    return (draw_expander(rng), *variations) if rng.random() < options.expander_ratio else variations


def _plan_degradations(number: int, split: str, catalog: Catalog, options: ClipOptions) -> tuple[Degradation, ...]:
    rng = _generator(options.seed, number, _DEGRADATIONS)

    def draw_room(rng: np.random.Generator, rt60_s: Range) -> Room | RecordedRoom:
        """Draws a recorded room with a probability of 1/2 if there are any, else a simulated one."""
        recorded = catalog.rirs.get(split)
        if recorded and rng.random() < 0.5:
            return RecordedRoom(_choose(rng, _choose(rng, recorded)).ref)
        return _choose(rng, bank(options.seed, split, rt60_s, FAR_M))

    if rng.random() >= options.degradation_ratio:
        return ()
    return draw_degradations(rng, options.degradations, options.max_degradations, draw_room)


def _generator(seed: int, number: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, purpose])


def _choose(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]
