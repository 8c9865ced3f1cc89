"""Options that determine how training clips are made."""

from __future__ import annotations

import dataclasses

from model.labels import LabelScale
from transforms.synthesis.degradations.kinds import Range


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
        partial_ratio: share of noises, of music and of second voices that cover only a part of the clip, 0 to 1.
        partial_s: shortest and longest such part in seconds; a shorter clip is covered whole.
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
    music_ratio: float = 0.0
    music_snr_db: Range = (-5.0, 30.0)
    second_voice_ratio: float = 0.0
    second_voice_snr_db: Range = (0.0, 20.0)
    no_speech_ratio: float = 0.0
    partial_degradation_ratio: float = 0.0
    teachers: tuple[str, ...] = ()
    teacher_ratio: float = 1.0
    as_is_ratio: float = 0.0
