"""The signal of a clip while it is made: the speech, the sounds that are added to it, and the truth about both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.features import SAMPLE_RATE
from transforms.synthesis.added_sounds import SoundPlan, SoundSegment
from transforms.synthesis.degradations.base import Degradation, HeardCause, SampleSpan, audible, heard_spans
from transforms.synthesis.degradations.kinds import ADDITIVE, BEFORE_NOISE, CHANGES_SNR
from transforms.synthesis.materials import read_samples
from transforms.synthesis.mix import blend, fit_length, gain_at, power
from transforms.synthesis.no_speech import QuietSound
from transforms.synthesis.speech_activity import speech_mask, speech_power, speech_spans

# SNRs in dB above which an added sound is inaudible, and up to which it is audible. The references count as clean, and their
# own noise is up to 38 dB under the speech. Between 30 and 38 dB, it depends on the listener and on the sound.
INAUDIBLE_ABOVE_DB, AUDIBLE_TO_DB = 38.0, 30.0
# Causes whose sounds may be removed by noise suppression and gates, or made audible by an automatic gain.
STEADY_CAUSES = {"noise", "hum"}
# Causes that loud sounds hide, and the SNR in dB below which they may.
MASKED_CAUSES, MASKED_BELOW_DB = {"reverberation", "codec"}, 5.0


class Scene:
    """A clip while it is made.

    Args:
        speech: clean speech: float [n]; zeros for a clip without speech.

    Attributes:
        samples: the clip so far: float32 [n].
        spans: parts with speech.
        distortions: rows of `schemas.CLIPS.distortions`.
    """

    def __init__(self, speech: np.ndarray) -> None:
        self.samples = speech.astype(np.float32, copy=False)
        self.spans = speech_spans(speech)
        self.distortions: list[dict[str, Any]] = []
        self._speech = self.samples
        self._added = np.zeros(len(speech))
        self._has_added = False
        self._has_speech = bool(np.any(speech))
        self._is_snr_known = True

    def place_in_room(self, degradations: Sequence[Degradation]) -> None:
        """Applies the degradations that precede all added sounds."""
        self.degrade([item for item in degradations if item.KIND in BEFORE_NOISE])
        self._speech = self.samples

    def degrade(self, degradations: Sequence[Degradation]) -> None:
        """Applies degradations in order."""
        for degradation in degradations:
            degraded = degradation.apply(self.samples)
            if _adds_sound(degradation):
                self._note(degraded.samples - self.samples, 0)
            if degradation.KIND in CHANGES_SNR:
                self._forget_snr()
            self.distortions += [
                distortion(degradation.KIND, degradation.detail, span, self._heard(degradation, heard))
                for span, heard in heard_spans(degradation.heard, self.samples, degraded)
            ]
            self.samples = degraded.samples

    def add_background(self, kind: str, plan: SoundPlan) -> None:
        """Adds noise or music. Its SNR compares the mean power of the speech over the whole clip with that of the sound.

        Args:
            kind: "noise" or "music", which is also the cause.
            plan: the sound.

        Raises:
            MixError: the speech or the sound is silent.
            AudioFault: a recording cannot be read.
        """
        sound = background(plan)
        speech = power(self._speech)
        self._add(sound, plan, speech, power(sound))
        # Loudness is that of the syllables, not of the pauses.
        offset_db = 10 * math.log10((speech_power(self._speech, self.spans) or speech) / speech)
        shares = 10 ** (np.array([segment.level_db for segment in plan.segments]) / 10)
        for segment, share in zip(plan.segments, shares / shares.sum(), strict=True):
            heard = heard_at(kind, plan.snr_db + offset_db - 10 * math.log10(share))
            self.distortions.append(distortion(kind, segment.detail, (plan.start, plan.start + plan.length), heard))

    def play(self, kind: str, plan: SoundPlan) -> None:
        """Makes a clip of noise or music alone.

        Args:
            kind: "noise" or "music", which is also the cause.
            plan: the sound, over the whole clip.

        Raises:
            MixError: a recording is silent in the drawn segment.
            AudioFault: a recording cannot be read.
        """
        self.samples = background(plan).astype(np.float32)
        self.distortions += [
            distortion(kind, segment.detail, (0, plan.length), HeardCause(kind)) for segment in plan.segments
        ]

    def play_quiet(self, sound: QuietSound) -> None:
        """Makes a clip of a sound that needs no recording."""
        self.samples = sound.make(len(self.samples))
        heard = HeardCause(sound.CAUSE, sound.CAUSE is not None)
        self.distortions += [
            distortion(sound.KIND, sound.detail, span, heard) for span in sound.spans(len(self.samples))
        ]

    def add_voice(self, plan: SoundPlan, degradations: Sequence[Degradation]) -> None:
        """Adds a second voice in the same room, if it speaks in the drawn segment.

        Its SNR compares the powers of both voices while they speak. Its speech is found in the whole recording, because the
        segment may be a pause.

        Args:
            plan: the voice.
            degradations: those of the clip.

        Raises:
            MixError: one of the voices is silent.
            AudioFault: a recording cannot be read.
        """
        (segment,) = plan.segments
        recording = read_samples(segment.material.ref)
        voice = recording[segment.offset : segment.offset + plan.length]
        spans = shifted(speech_spans(recording), -segment.offset, len(voice))
        if not spans:
            return
        for degradation in degradations:
            voice = degradation.apply(voice).samples if degradation.KIND in BEFORE_NOISE else voice
        self._add(voice, plan, speech_power(self._speech, self.spans), speech_power(voice, spans))
        detail = f"{segment.detail}, {plan.snr_db:.1f} dB"
        heard = heard_at("second_voice", plan.snr_db)
        self.distortions += [
            distortion("second_voice", detail, span, heard) for span in shifted(spans, plan.start, len(self.samples))
        ]

    def leave_masked_open(self) -> None:
        """Makes reverberation and coding uncertain where loud sounds were added to the speech."""
        speaks = speech_mask(self.spans, len(self.samples))
        for row in self.distortions:
            if row["cause"] in MASKED_CAUSES and row["audible"]:
                part = slice(round(row["start_s"] * SAMPLE_RATE), round(row["end_s"] * SAMPLE_RATE))
                speech, added = (power(signal[part][speaks[part]]) for signal in (self._speech, self._added))
                if speech < added * 10 ** (MASKED_BELOW_DB / 10):
                    row["audible"] = None

    def speech_snr_db(self) -> float | None:
        """Returns the ratio of the power of the speech to that of all added sounds, both while there is speech, in dB.

        It is None without added sounds or speech in the same place, and after a degradation that changes it.
        """
        if not self._is_snr_known or not self._has_added:
            return None
        speech, added = speech_power(self._speech, self.spans), speech_power(self._added, self.spans)
        return 10 * math.log10(speech / added) if min(speech, added) > 0.0 else None

    def _heard(self, degradation: Degradation, heard: HeardCause) -> HeardCause:
        """Returns a cause, which is uncertain if there is no speech to be damaged."""
        is_certain = self._has_speech or heard.cause is None or _adds_sound(degradation)
        return heard if is_certain else HeardCause(heard.cause, None)

    def _forget_snr(self) -> None:
        """Makes the audibility of the noise and hum so far uncertain. Music and voices remain audible."""
        self._is_snr_known = False
        for row in self.distortions:
            if row["cause"] in STEADY_CAUSES:
                row["audible"] = None

    def _add(self, sound: np.ndarray, plan: SoundPlan, speech_level: float, sound_level: float) -> None:
        scaled = sound * gain_at(plan.snr_db, speech_level, sound_level)
        self.samples = self.samples.copy()
        self.samples[plan.start : plan.start + plan.length] += scaled
        self._note(scaled, plan.start)

    def _note(self, sound: np.ndarray, start: int) -> None:
        self._added[start : start + len(sound)] += sound
        self._has_added = True


def _adds_sound(degradation: Degradation) -> bool:
    is_reverberant = any(heard.cause == "reverberation" for heard in degradation.heard)
    return degradation.KIND in ADDITIVE and not is_reverberant


def background(plan: SoundPlan) -> np.ndarray:
    """Returns the noise or music of a clip: float64 [plan.length], at any level.

    Raises:
        MixError: a recording is silent in the drawn segment.
        AudioFault: a recording cannot be read.
    """
    sounds = [segment_samples(segment, plan.length) for segment in plan.segments]
    return blend(sounds, [segment.level_db for segment in plan.segments])


def segment_samples(segment: SoundSegment, length: int) -> np.ndarray:
    """Reads a segment of a recording and applies its variation: float32 [length].

    Raises:
        AudioFault: the recording cannot be read.
    """
    sound = read_samples(segment.material.ref)
    if segment.variation is None:
        return fit_length(sound, length, segment.offset)
    samples = fit_length(sound, segment.variation.samples_needed(length), segment.offset)
    return segment.variation.apply(samples, length)


def heard_at(cause: str, snr_db: float) -> HeardCause:
    """Returns a cause with its audibility, from the SNR of the speech to an added sound in dB."""
    return HeardCause(cause, audible(-snr_db, -INAUDIBLE_ABOVE_DB, -AUDIBLE_TO_DB))


def distortion(kind: str, detail: str, span: SampleSpan, heard: HeardCause) -> dict[str, Any]:
    """Returns a row of `schemas.CLIPS.distortions`; the span is in samples."""
    return {"kind": kind, "detail": detail, **seconds(span), "cause": heard.cause, "audible": heard.audible}


def shifted(spans: Sequence[SampleSpan], by: int, length: int) -> tuple[SampleSpan, ...]:
    """Returns spans moved by a number of samples, and cut at 0 and `length`. Those outside are left out."""
    moved = ((max(start + by, 0), min(end + by, length)) for start, end in spans)
    return tuple((start, end) for start, end in moved if start < end)


def seconds(span: SampleSpan) -> dict[str, float]:
    """Returns a span of samples in seconds."""
    return {"start_s": span[0] / SAMPLE_RATE, "end_s": span[1] / SAMPLE_RATE}
