"""Plans training clips: draws the speech, the added sounds and the degradations of each clip, without reading audio.

A clip depends only on the seed, its number, the material and the options, so the clips are the same on any number of workers.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from model.features import SAMPLE_RATE
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.added_sounds import (
    SoundPlan,
    choose,
    draw_music,
    draw_noise,
    draw_part,
    draw_second_voice,
    music_segments,
    noise_segments,
)
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.degradations.base import Degradation
from transforms.synthesis.degradations.kinds import BEFORE_NOISE, DEGRADATIONS, Range, draw_degradations
from transforms.synthesis.degradations.partial import Partial
from transforms.synthesis.degradations.recording import Hum
from transforms.synthesis.degradations.transmission import Dropouts
from transforms.synthesis.materials import Catalog, Material
from transforms.synthesis.no_speech import FLOOR_PEAK_DBFS, QuietSound, draw_floor, draw_tones
from transforms.synthesis.rooms import FAR_M, RecordedRoom, Room, bank
from transforms.synthesis.speech_variation import (
    Variation,
    draw_expander,
    draw_speed,
    draw_variations,
    samples_needed,
)

# Each purpose has its own random generator, so that changing one option does not change the other draws.
_MAIN, _VARIATION, _DEGRADATIONS, _NOISE, _SPEED, _EXPANDER, _MUSIC, _SECOND_VOICE, _NO_SPEECH, _PARTS = range(10)
# Purposes of other modules.
AS_IS, TEACHER_RATINGS = 10, 11
# Probabilities of the sounds of a clip without speech.
NO_SPEECH_WEIGHTS = {"music": 0.4, "noise": 0.3, "silence": 0.15, "tones": 0.1, "hum": 0.05}
# SNR in dB of a noise floor to hum that is heard alone.
HUM_ALONE_DB = (-50.0, -10.0)
# Kinds of degradations that are never limited to a part: a room does not change, and dropouts are short by themselves.
NEVER_PARTIAL = BEFORE_NOISE | {Dropouts.KIND}


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
    speech = choose(rng, choose(rng, catalog.speech))
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
    return draw_noise(rng, _generator(options.seed, number, _NOISE), length, split, catalog, options)


def _plan_music(number: int, length: int, split: str, catalog: Catalog, options: ClipOptions) -> SoundPlan | None:
    rng = _generator(options.seed, number, _MUSIC)
    return draw_music(rng, length, split, catalog, options) if rng.random() < options.music_ratio else None


def _plan_second_voice(
    number: int, length: int, speech: Material, catalog: Catalog, options: ClipOptions
) -> SoundPlan | None:
    rng = _generator(options.seed, number, _SECOND_VOICE)
    is_drawn = rng.random() < options.second_voice_ratio
    return draw_second_voice(rng, length, speech, catalog, options) if is_drawn else None


def _without_speech(plan: ClipPlan, number: int, catalog: Catalog, options: ClipOptions) -> ClipPlan:
    """Replaces the speech of a share of the clips by other sounds. Degradations of noise and music are kept, but no room."""
    rng = _generator(options.seed, number, _NO_SPEECH)
    if rng.random() >= options.no_speech_ratio:
        return plan
    split, degradations = plan.speech.split, plan.degradations
    noise = music = None
    quiet: QuietSound | None = None
    peak_dbfs = plan.peak_dbfs
    match _draw_sound(rng, split, catalog):
        case "noise":
            noise = SoundPlan(noise_segments(rng, rng, split, catalog, options), 0, plan.length, 0.0)
        case "music":
            music = SoundPlan(music_segments(rng, split, catalog), 0, plan.length, 0.0)
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
            return RecordedRoom(choose(rng, choose(rng, recorded)).ref)
        return choose(rng, bank(options.seed, split, rt60_s, FAR_M))

    if rng.random() >= options.degradation_ratio:
        return ()
    drawn = draw_degradations(rng, options.degradations, options.max_degradations, draw_room)
    rng = _generator(options.seed, number, _PARTS)
    return tuple(_limited(rng, degradation, length, options) for degradation in drawn)


def _limited(rng: np.random.Generator, degradation: Degradation, length: int, options: ClipOptions) -> Degradation:
    """Limits a share of the degradations to a part of the clip."""
    start, covered = draw_part(rng, length, options.partial_degradation_ratio, options.partial_s)
    if covered == length or degradation.KIND in NEVER_PARTIAL:
        return degradation
    return Partial(degradation, start, start + covered)


def _generator(seed: int, number: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, purpose])
