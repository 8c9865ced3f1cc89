"""Makes training clips from their plans: mixes and degrades the speech, and labels the result.

The order of the steps is that in a real recording: voice (variations), room, noise, recording chain, codec, transmission
(degradations), and level.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from model.features import SAMPLE_RATE
from model.labels import PESQ_WB
from transforms.elements import REJECTS, AudioRef, Reject
from transforms.errors import AudioFault, Reason, Stage
from transforms.progress import Progress
from transforms.synthesis.as_is import is_as_is, make_excerpt, plan_excerpt
from transforms.synthesis.clip_plan import ClipOptions, ClipPlan, NoisePlan, NoiseSegment, clip_id, plan_clip
from transforms.synthesis.degradations.base import Degradation
from transforms.synthesis.degradations.kinds import BEFORE_NOISE
from transforms.synthesis.flac import decode_flac, encode_flac
from transforms.synthesis.labels.pesq_labels import checked_frame_disturbances, label
from transforms.synthesis.labels.teachers import is_rated, rate
from transforms.synthesis.materials import Catalog, read_samples
from transforms.synthesis.mix import MixError, add_noise, blend, fit_length, set_peak, stored_reference
from transforms.synthesis.speech_variation import change_speed, samples_needed


def make_clip(plan: ClipPlan, options: ClipOptions) -> dict[str, Any]:
    """Makes a planned clip and returns its row of the training set (`schemas.CLIPS`).

    Raises:
        AudioFault: the material cannot be read or is silent in the drawn segment, PESQ fails, or the score of the frame
            disturbances differs too much from PESQ.
    """
    speech = read_samples(plan.speech.ref)[plan.speech_offset :]
    reference = change_speed(speech[: samples_needed(plan.length, plan.speed)], plan.speed, plan.length)
    for variation in plan.variations:
        reference = variation.apply(reference)
    distortions: list[dict[str, Any]] = []
    try:
        samples = _degrade(reference, [step for step in plan.degradations if step.KIND in BEFORE_NOISE], distortions)
        if plan.noise is not None:
            samples = _add_noise(samples, plan.noise, distortions)
        samples = _degrade(samples, [step for step in plan.degradations if step.KIND not in BEFORE_NOISE], distortions)
        mixture = set_peak(reference, samples, plan.peak_dbfs)
    except MixError as error:
        raise AudioFault(Stage.MIX, Reason.SILENT, str(error)) from error
    labels = {
        scale.column: label(scale, mixture, _clip_snr_db(plan), bool(plan.degradations)) for scale in options.labels
    }
    score = labels.get(PESQ_WB.column)
    frames = None if score is None else checked_frame_disturbances(mixture, score, options.max_disagreement)
    noises = [segment.material for segment in plan.noise.segments] if plan.noise else []
    return {
        "clip_id": plan.clip_id,
        "audio": encode_flac(mixture.degraded),
        "reference": encode_flac(stored_reference(mixture)) if options.keep_reference else None,
        "duration_s": plan.length / SAMPLE_RATE,
        **labels,
        "snr_db": plan.noise.snr_db if plan.noise else None,
        "disturbance": frames.symmetric.tolist() if frames else None,
        "asymmetric_disturbance": frames.asymmetric.tolist() if frames else None,
        "distortions": distortions,
        "variation": _speech_variations(plan),
        "speech_id": plan.speech.ref.utterance_id,
        "speaker": plan.speech.group,
        "corpus": plan.speech.ref.columns.get("corpus") or None,
        "noise_ids": [noise.ref.utterance_id for noise in noises],
        "noise_groups": [noise.group for noise in noises],
        "peak_dbfs": plan.peak_dbfs,
        "split": plan.speech.split,
        "seed": plan.seed,
    }


def _speech_variations(plan: ClipPlan) -> list[str]:
    speed = [] if plan.speed == 1.0 else [f"speed {plan.speed:.2f}"]
    return speed + [variation.detail for variation in plan.variations]


def _degrade(samples: np.ndarray, degradations: Sequence[Degradation], distortions: list[dict[str, Any]]) -> np.ndarray:
    """Applies degradations in order, and appends their degraded spans to `distortions`."""
    for degradation in degradations:
        degraded = degradation.apply(samples)
        samples = degraded.samples
        distortions += [_distortion(degradation.KIND, degradation.detail, *span) for span in degraded.spans]
    return samples


def _add_noise(samples: np.ndarray, plan: NoisePlan, distortions: list[dict[str, Any]]) -> np.ndarray:
    noises = [_noise_samples(segment, plan.length) for segment in plan.segments]
    noise = blend(noises, [segment.level_db for segment in plan.segments])
    end = plan.start + plan.length
    distortions += [_distortion("noise", segment.detail, plan.start, end) for segment in plan.segments]
    return add_noise(samples, noise, plan.snr_db, plan.start)


def _noise_samples(segment: NoiseSegment, length: int) -> np.ndarray:
    """Reads a segment of a noise and applies its variation: float32 [length]."""
    noise = read_samples(segment.material.ref)
    if segment.variation is None:
        return fit_length(noise, length, segment.offset)
    samples = fit_length(noise, segment.variation.samples_needed(length), segment.offset)
    return segment.variation.apply(samples, length)


def _distortion(kind: str, detail: str, start: int, end: int) -> dict[str, Any]:
    return {"kind": kind, "detail": detail, "start_s": start / SAMPLE_RATE, "end_s": end / SAMPLE_RATE}


def _clip_snr_db(plan: ClipPlan) -> float | None:
    """Returns the SNR with both powers averaged over the whole clip. It is 10 dB higher if noise covers a tenth of the clip."""
    if plan.noise is None:
        return None
    return plan.noise.snr_db + 10 * float(np.log10(plan.length / plan.noise.length))


class MakeClip(beam.DoFn):
    """Turns a clip number and the `Catalog` into a row of the training set, or into a `Reject` with the clip's id."""

    def __init__(self, options: ClipOptions) -> None:
        self.options = options
        self.setup()

    def setup(self) -> None:
        """Starts the progress counter of this process, which reports on stderr."""
        self._progress = Progress("clips made in this process")

    def process(self, number: int, catalog: Catalog) -> Iterable[Any]:
        """Plans and makes one clip."""
        ref = AudioRef(clip_id(self.options.seed, number), "", 0, "")
        try:
            if as_is := is_as_is(number, self.options):
                excerpt = plan_excerpt(number, catalog, self.options)
                ref = dataclasses.replace(excerpt.recording.ref, utterance_id=excerpt.clip_id)
                row = make_excerpt(excerpt)
            else:
                plan = plan_clip(number, catalog, self.options)
                ref = dataclasses.replace(plan.speech.ref, utterance_id=plan.clip_id)
                row = make_clip(plan, self.options)
            # Teachers rate the stored clip, as those who train on it hear it.
            if as_is or is_rated(number, self.options):
                row |= rate(self.options.teachers, decode_flac(row["audio"]))
            yield row
        except AudioFault as fault:
            yield beam.pvalue.TaggedOutput(REJECTS, Reject.of(ref, fault))
        self._progress.add()
