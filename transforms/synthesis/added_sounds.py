"""Draws the sounds that are added to the speech of a clip: noise, music and second voices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.features import SAMPLE_RATE
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.degradations.kinds import Range
from transforms.synthesis.materials import Catalog, Material
from transforms.synthesis.noise_variation import NoiseVariation, draw_noise_variation

# Largest difference in level between two noises of a clip, in dB.
MAX_LEVEL_DIFFERENCE_DB = 6.0


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


def draw_noise(
    rng: np.random.Generator,
    variation_rng: np.random.Generator,
    length: int,
    split: str,
    catalog: Catalog,
    options: ClipOptions,
) -> SoundPlan:
    """Draws the noise of a clip of `length` samples.

    Args:
        rng: random generator.
        variation_rng: random generator of the variations.
        length: number of samples of the clip.
        split: split of the clip.
        catalog: material.
        options: options of the clips.

    Raises:
        AudioFault: there is no noise in the split.
    """
    segments = noise_segments(rng, variation_rng, split, catalog, options)
    snr_db = float(rng.uniform(*choose(rng, options.snr_db)))
    return SoundPlan(segments, *draw_part(rng, length, options.partial_ratio, options.partial_s), snr_db)


def noise_segments(
    rng: np.random.Generator, variation_rng: np.random.Generator, split: str, catalog: Catalog, options: ClipOptions
) -> tuple[SoundSegment, ...]:
    """Draws the recordings of the noise of a clip. Arguments and errors are those of `draw_noise`."""
    groups = _groups(catalog.noise, split, "noise")
    segments = []
    for _ in range(rng.integers(options.noises[0], options.noises[1] + 1)):
        material = choose(rng, choose(rng, groups))
        level_db = rng.uniform(-MAX_LEVEL_DIFFERENCE_DB / 2, MAX_LEVEL_DIFFERENCE_DB / 2)
        is_varied = variation_rng.random() < options.noise_variation_ratio
        variation = draw_noise_variation(variation_rng) if is_varied else None
        segments.append(SoundSegment(material, int(rng.integers(material.num_samples)), float(level_db), variation))
    return tuple(segments)


def draw_music(rng: np.random.Generator, length: int, split: str, catalog: Catalog, options: ClipOptions) -> SoundPlan:
    """Draws the music behind the speech of a clip of `length` samples.

    Raises:
        AudioFault: there is no music in the split.
    """
    segments = music_segments(rng, split, catalog)
    snr_db = float(rng.uniform(*options.music_snr_db))
    return SoundPlan(segments, *draw_part(rng, length, options.partial_ratio, options.partial_s), snr_db)


def music_segments(rng: np.random.Generator, split: str, catalog: Catalog) -> tuple[SoundSegment, ...]:
    """Draws a recording of music.

    Raises:
        AudioFault: there is no music in the split.
    """
    music = choose(rng, choose(rng, _groups(catalog.music, split, "music")))
    return (SoundSegment(music, int(rng.integers(music.num_samples)), 0.0, None),)


def draw_second_voice(
    rng: np.random.Generator, length: int, speech: Material, catalog: Catalog, options: ClipOptions
) -> SoundPlan | None:
    """Draws a recording of another speaker of the split; None if there is no other. A voice is never repeated.

    Args:
        rng: random generator.
        length: number of samples of the clip.
        speech: recording of the first speaker.
        catalog: material.
        options: options of the clips.
    """
    others = [group for group in catalog.speech if group[0].split == speech.split and group[0].group != speech.group]
    if not others:
        return None
    voice = choose(rng, choose(rng, others))
    snr_db = float(rng.uniform(*options.second_voice_snr_db))
    start, covered = draw_part(rng, length, options.partial_ratio, options.partial_s)
    if voice.num_samples < covered:
        start += int(rng.integers(covered - voice.num_samples + 1))
        covered = voice.num_samples
    offset = int(rng.integers(voice.num_samples - covered + 1))
    return SoundPlan((SoundSegment(voice, offset, 0.0, None),), start, covered, snr_db)


def draw_part(rng: np.random.Generator, length: int, ratio: float, part_s: Range) -> tuple[int, int]:
    """Draws a part of a clip with a probability of `ratio`, else the whole clip.

    Args:
        rng: random generator.
        length: number of samples of the clip.
        ratio: probability of a part.
        part_s: shortest and longest part in seconds.

    Returns:
        First sample and number of samples.
    """
    covered = length
    if rng.random() < ratio:
        covered = min(length, round(rng.uniform(*part_s) * SAMPLE_RATE))
    return int(rng.integers(length - covered + 1)), covered


def choose(rng: np.random.Generator, items: Sequence[Any]) -> Any:
    """Draws one of the items."""
    return items[int(rng.integers(len(items)))]


def _groups(by_split: Mapping[str, list[list[Material]]], split: str, kind: str) -> list[list[Material]]:
    if not by_split.get(split):
        detail = f"there is no {kind} to draw from in the split {split!r}, because all of it was rejected"
        raise AudioFault(Stage.MIX, Reason.NO_MATERIAL, detail)
    return by_split[split]
