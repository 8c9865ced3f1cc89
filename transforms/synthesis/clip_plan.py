"""Plans training clips: draws the speech, the added sounds and the degradations of each clip, without reading audio.

A clip depends only on the seed, its number, the material and the options, so the clips are the same on any number of workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.features import SAMPLE_RATE
from model.labels import LabelScale
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.degradations.base import Degradation
from transforms.synthesis.degradations.kinds import BEFORE_NOISE, DEGRADATIONS, Range, draw_degradations
from transforms.synthesis.degradations.partial import Partial
from transforms.synthesis.degradations.recording import Hum
from transforms.synthesis.degradations.transmission import Dropouts
from transforms.synthesis.materials import Catalog, Material
from transforms.synthesis.no_speech import FLOOR_PEAK_DBFS, QuietSound, draw_floor, draw_tones
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
_MAIN, _VARIATION, _DEGRADATIONS, _NOISE, _SPEED, _EXPANDER, _MUSIC, _SECOND_VOICE, _NO_SPEECH, _PARTS = range(10)
# Probabilities of the sounds of a clip without speech.
NO_SPEECH_WEIGHTS = {"music": 0.4, "noise": 0.3, "silence": 0.15, "tones": 0.1, "hum": 0.05}
# SNR in dB of a noise floor to hum that is heard alone.
HUM_ALONE_DB = (-50.0, -10.0)
# Kinds of degradations that are never limited to a part: a room does not change, and dropouts are short by themselves.
NEVER_PARTIAL = BEFORE_NOISE | {Dropouts.KIND}


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
        music_ratio: share of clips with music behind the speech, 0 to 1.
        music_snr_db: lowest and highest SNR of the speech to the music, in dB.
        second_voice_ratio: share of clips with a second voice, 0 to 1.
        second_voice_snr_db: lowest and highest level of the speech over the second voice, in dB.
        no_speech_ratio: share of clips without speech, 0 to 1.
        partial_degradation_ratio: share of degradations that cover only a part, 0 to 1.
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
    music_ratio: float = 0.0
    music_snr_db: Range = (-5.0, 30.0)
    second_voice_ratio: float = 0.0
    second_voice_snr_db: Range = (0.0, 20.0)
    no_speech_ratio: float = 0.0
    partial_degradation_ratio: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class SoundSegment:
    """A segment of a recording of noise, music or a second voice in a clip.

    Attributes:
        material: the recording.
        offset: first sample of the segment; a recording that is too short is repeated.
        level_db: level relative to the other segments, in dB.
        variation: variation of the sound; None for the unchanged recording.
    """

    material: Material
    offset: int
    level_db: float
    variation: NoiseVariation | None

    @property
    def detail(self) -> str:
        """Id of the recording, with its variation."""
        name = self.material.ref.utterance_id
        return f"{name}, {self.variation.detail}" if self.variation else name


@dataclasses.dataclass(frozen=True, slots=True)
class SoundPlan:
    """The noise, the music or the second voice of a clip.

    Attributes:
        segments: segments that are added up.
        start: first sample of the clip with the sound.
        length: number of samples with the sound.
        snr_db: SNR of the speech to the sum of the segments, in dB; 0 in a clip without speech.
    """

    segments: tuple[SoundSegment, ...]
    start: int
    length: int
    snr_db: float


@dataclasses.dataclass(frozen=True, slots=True)
class ClipPlan:
    """Everything that was drawn for a clip.

    Attributes:
        clip_id: id of the clip.
        seed: seed of the set.
        speech: speech recording; gives only the split of a clip without speech.
        speech_offset: first sample of the speech, at 16 kHz.
        speed: factor of speed and pitch; 1 for the unchanged recording.
        length: number of samples of the clip, at 16 kHz.
        variations: variations of the clean speech, in order.
        noise: noise of the clip; None for a clip without noise.
        degradations: degradations in order.
        peak_dbfs: peak level in dB of full scale.
        music: music of the clip; None without music.
        second_voice: voice of another speaker; None without one.
        has_speech: whether the clip has speech.
        quiet: sound of a clip without speech that needs no recording; None for other clips.
    """

    clip_id: str
    seed: int
    speech: Material
    speech_offset: int
    speed: float
    length: int
    variations: tuple[Variation, ...]
    noise: SoundPlan | None
    degradations: tuple[Degradation, ...]
    peak_dbfs: float
    music: SoundPlan | None = None
    second_voice: SoundPlan | None = None
    has_speech: bool = True
    quiet: QuietSound | None = None


def clip_id(seed: int, number: int) -> str:
    """Returns the id of a clip; ids sort by number."""
    return f"{seed}-{number:08d}"


def plan_clip(number: int, catalog: Catalog, options: ClipOptions) -> ClipPlan:
    """Draws a clip: a speaker and one of their recordings, then noise of the speaker's split, then everything else.

    Raises:
        AudioFault: the catalog has no speech, or no noise or music in the speaker's split.
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
    plan = ClipPlan(
        clip_id=clip_id(options.seed, number),
        seed=options.seed,
        speech=speech,
        speech_offset=int(rng.integers(speech.num_samples - used + 1)),
        speed=speed,
        length=length,
        peak_dbfs=float(rng.uniform(*options.peak_dbfs)),
        noise=_plan_noise(rng, number, length, speech.split, catalog, options),
        variations=_plan_variations(number, speech.split, options),
        degradations=_plan_degradations(number, speech.split, length, catalog, options),
        music=_plan_music(number, length, speech.split, catalog, options),
        second_voice=_plan_second_voice(number, length, speech, catalog, options),
    )
    return _without_speech(plan, number, catalog, options)


def _plan_noise(
    rng: np.random.Generator, number: int, length: int, split: str, catalog: Catalog, options: ClipOptions
) -> SoundPlan | None:
    if rng.random() < options.clean_ratio:
        return None
    segments = _noise_segments(rng, _generator(options.seed, number, _NOISE), split, catalog, options)
    snr_db = float(rng.uniform(*_choose(rng, options.snr_db)))
    return SoundPlan(segments, *_draw_part(rng, length, options.partial_ratio, options), snr_db)


def _noise_segments(
    rng: np.random.Generator, variation_rng: np.random.Generator, split: str, catalog: Catalog, options: ClipOptions
) -> tuple[SoundSegment, ...]:
    groups = _groups(catalog.noise, split, "noise")
    segments = []
    for _ in range(rng.integers(options.noises[0], options.noises[1] + 1)):
        material = _choose(rng, _choose(rng, groups))
        level_db = rng.uniform(-MAX_LEVEL_DIFFERENCE_DB / 2, MAX_LEVEL_DIFFERENCE_DB / 2)
        is_varied = variation_rng.random() < options.noise_variation_ratio
        variation = draw_noise_variation(variation_rng) if is_varied else None
        segments.append(SoundSegment(material, int(rng.integers(material.num_samples)), float(level_db), variation))
    return tuple(segments)


def _groups(by_split: Mapping[str, list[list[Material]]], split: str, kind: str) -> list[list[Material]]:
    if not by_split.get(split):
        detail = f"there is no {kind} to draw from in the split {split!r}, because all of it was rejected"
        raise AudioFault(Stage.MIX, Reason.NO_MATERIAL, detail)
    return by_split[split]


def _draw_part(rng: np.random.Generator, length: int, ratio: float, options: ClipOptions) -> tuple[int, int]:
    """Draws the start and the length of a part of a clip, in samples; with a probability of 1 - `ratio`, it is the whole."""
    covered = length
    if rng.random() < ratio:
        covered = min(length, round(rng.uniform(*options.partial_s) * SAMPLE_RATE))
    return int(rng.integers(length - covered + 1)), covered


def _plan_music(number: int, length: int, split: str, catalog: Catalog, options: ClipOptions) -> SoundPlan | None:
    rng = _generator(options.seed, number, _MUSIC)
    if rng.random() >= options.music_ratio:
        return None
    segments = _music_segments(rng, split, catalog)
    snr_db = float(rng.uniform(*options.music_snr_db))
    return SoundPlan(segments, *_draw_part(rng, length, options.partial_ratio, options), snr_db)


def _music_segments(rng: np.random.Generator, split: str, catalog: Catalog) -> tuple[SoundSegment, ...]:
    music = _choose(rng, _choose(rng, _groups(catalog.music, split, "music")))
    return (SoundSegment(music, int(rng.integers(music.num_samples)), 0.0, None),)


def _plan_second_voice(
    number: int, length: int, speech: Material, catalog: Catalog, options: ClipOptions
) -> SoundPlan | None:
    """Draws a recording of another speaker of the split; none if there is no other. A voice is never repeated."""
    rng = _generator(options.seed, number, _SECOND_VOICE)
    if rng.random() >= options.second_voice_ratio:
        return None
    others = [group for group in catalog.speech if group[0].split == speech.split and group[0].group != speech.group]
    if not others:
        return None
    voice = _choose(rng, _choose(rng, others))
    snr_db = float(rng.uniform(*options.second_voice_snr_db))
    start, covered = _draw_part(rng, length, options.partial_ratio, options)
    if voice.num_samples < covered:
        start += int(rng.integers(covered - voice.num_samples + 1))
        covered = voice.num_samples
    offset = int(rng.integers(voice.num_samples - covered + 1))
    return SoundPlan((SoundSegment(voice, offset, 0.0, None),), start, covered, snr_db)


def _without_speech(plan: ClipPlan, number: int, catalog: Catalog, options: ClipOptions) -> ClipPlan:
    """Replaces the speech of a share of the clips by other sounds. Degradations of noise and music are kept, but no room."""
    rng = _generator(options.seed, number, _NO_SPEECH)
    if rng.random() >= options.no_speech_ratio:
        return plan
    split, degradations = plan.speech.split, plan.degradations
    noise = music = quiet = None
    peak_dbfs = plan.peak_dbfs
    match _draw_sound(rng, split, catalog):
        case "noise":
            noise = SoundPlan(_noise_segments(rng, rng, split, catalog, options), 0, plan.length, 0.0)
        case "music":
            music = SoundPlan(_music_segments(rng, split, catalog), 0, plan.length, 0.0)
        case "tones":
            quiet, degradations = draw_tones(rng, plan.length / SAMPLE_RATE), ()
        case "hum":
            quiet, degradations = draw_floor(rng), (DEGRADATIONS[Hum.KIND].draw(rng, HUM_ALONE_DB, _no_room),)
        case "silence":
            quiet, degradations, peak_dbfs = draw_floor(rng), (), float(rng.uniform(*FLOOR_PEAK_DBFS))
    return dataclasses.replace(
        plan,
        has_speech=False,
        speed=1.0,
        variations=(),
        noise=noise,
        music=music,
        second_voice=None,
        quiet=quiet,
        degradations=tuple(item for item in degradations if item.KIND not in BEFORE_NOISE),
        peak_dbfs=peak_dbfs,
    )


def _draw_sound(rng: np.random.Generator, split: str, catalog: Catalog) -> str:
    """Draws the sound of a clip without speech from those for which there is material."""
    missing = {kind for kind, groups in (("noise", catalog.noise), ("music", catalog.music)) if not groups.get(split)}
    names = [name for name in NO_SPEECH_WEIGHTS if name not in missing]
    weights = np.array([NO_SPEECH_WEIGHTS[name] for name in names])
    return str(rng.choice(names, p=weights / weights.sum()))


def _no_room(_: np.random.Generator, __: Range) -> Room | RecordedRoom:
    raise AssertionError("hum needs no room")


def _plan_speed(number: int, options: ClipOptions) -> float:
    rng = _generator(options.seed, number, _SPEED)
    return draw_speed(rng) if rng.random() < options.speed_ratio else 1.0


def _plan_variations(number: int, split: str, options: ClipOptions) -> tuple[Variation, ...]:
    rng = _generator(options.seed, number, _VARIATION)
    variations = draw_variations(rng, options.seed, split) if rng.random() < options.variation_ratio else ()
    rng = _generator(options.seed, number, _EXPANDER)
    return (draw_expander(rng), *variations) if rng.random() < options.expander_ratio else variations


def _plan_degradations(
    number: int, split: str, length: int, catalog: Catalog, options: ClipOptions
) -> tuple[Degradation, ...]:
    rng = _generator(options.seed, number, _DEGRADATIONS)

    def draw_room(rng: np.random.Generator, rt60_s: Range) -> Room | RecordedRoom:
        """Draws a recorded room with a probability of 1/2 if there are any, else a simulated one."""
        recorded = catalog.rirs.get(split)
        if recorded and rng.random() < 0.5:
            return RecordedRoom(_choose(rng, _choose(rng, recorded)).ref)
        return _choose(rng, bank(options.seed, split, rt60_s, FAR_M))

    if rng.random() >= options.degradation_ratio:
        return ()
    drawn = draw_degradations(rng, options.degradations, options.max_degradations, draw_room)
    rng = _generator(options.seed, number, _PARTS)
    return tuple(_limited(rng, degradation, length, options) for degradation in drawn)


def _limited(rng: np.random.Generator, degradation: Degradation, length: int, options: ClipOptions) -> Degradation:
    """Limits a share of the degradations to a part of the clip."""
    start, covered = _draw_part(rng, length, options.partial_degradation_ratio, options)
    if covered == length or degradation.KIND in NEVER_PARTIAL:
        return degradation
    return Partial(degradation, start, start + covered)


def _generator(seed: int, number: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, purpose])


def _choose(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]
