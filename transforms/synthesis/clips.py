"""Makes training clips from their plans: mixes and degrades the speech, and labels the result.

The order of the steps is that in a real recording: voice (variations), room, noise, recording chain, codec, transmission
(degradations), and level. A clip without speech begins with its noise, music or other sound.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import numpy as np
from scipy.signal import fftconvolve

from model.features import SAMPLE_RATE
from model.labels import PESQ_WB
from transforms.elements import REJECTS, AudioRef, Reject
from transforms.errors import AudioFault, Reason, Stage
from transforms.progress import Progress
from transforms.synthesis.as_is import is_as_is, make_excerpt, plan_excerpt
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.clip_plan import ClipPlan, clip_id, plan_clip
from transforms.synthesis.degradations.kinds import BEFORE_NOISE
from transforms.synthesis.degradations.recording import Reverb
from transforms.synthesis.flac import decode_flac, encode_flac
from transforms.synthesis.labels.pesq_labels import checked_frame_disturbances, label
from transforms.synthesis.labels.teachers import is_rated, rate
from transforms.synthesis.materials import Catalog, read_samples
from transforms.synthesis.mix import MixError, Mixture, set_peak, stored_reference
from transforms.synthesis.rooms import clarity_db, impulse_response
from transforms.synthesis.scene import Scene, seconds
from transforms.synthesis.speech_variation import SmallRoom, change_speed, samples_needed


def make_clip(plan: ClipPlan, options: ClipOptions) -> dict[str, Any]:
    """Makes a planned clip and returns its row of the training set (`schemas.CLIPS`).

    Raises:
        AudioFault: the material cannot be read or is silent in the drawn segment, PESQ fails, or the score of the frame
            disturbances differs too much from PESQ.
    """
    reference = _reference(plan) if plan.has_speech else None
    try:
        scene = _speech_scene(plan, reference) if reference is not None else _speechless_scene(plan)
        mixture = set_peak(scene.samples if reference is None else reference, scene.samples, plan.peak_dbfs)
    except MixError as error:
        raise AudioFault(Stage.MIX, Reason.SILENT, str(error)) from error
    noises = [segment.material for segment in plan.noise.segments] if plan.noise else []
    return {
        "clip_id": plan.clip_id,
        "audio": encode_flac(mixture.degraded),
        "reference": encode_flac(stored_reference(mixture)) if options.keep_reference and plan.has_speech else None,
        "duration_s": plan.length / SAMPLE_RATE,
        **(_labels(plan, mixture, options) if plan.has_speech else {}),
        "distortions": scene.distortions,
        "speech": [seconds(span) for span in scene.spans],
        "speech_snr_db": scene.speech_snr_db(),
        "c50_db": _clarity_db(plan),
        "variation": _speech_variations(plan),
        "speech_id": plan.speech.ref.utterance_id if plan.has_speech else "",
        "speaker": plan.speech.group if plan.has_speech else "",
        "corpus": (plan.speech.ref.columns.get("corpus") or None) if plan.has_speech else None,
        "noise_ids": [noise.ref.utterance_id for noise in noises],
        "noise_groups": [noise.group for noise in noises],
        "peak_dbfs": plan.peak_dbfs,
        "split": plan.speech.split,
        "seed": plan.seed,
    }


def _reference(plan: ClipPlan) -> np.ndarray:
    """Returns the clean speech of a clip with its variations: float32 [n]."""
    speech = read_samples(plan.speech.ref)[plan.speech_offset :]
    reference = change_speed(speech[: samples_needed(plan.length, plan.speed)], plan.speed, plan.length)
    for variation in plan.variations:
        reference = variation.apply(reference)
    return reference


def _speech_scene(plan: ClipPlan, reference: np.ndarray) -> Scene:
    scene = Scene(reference)
    scene.place_in_room(plan.degradations)
    for kind, sound in (("noise", plan.noise), ("music", plan.music)):
        if sound is not None:
            scene.add_background(kind, sound)
    if plan.second_voice is not None:
        scene.add_voice(plan.second_voice, plan.degradations)
    scene.degrade([step for step in plan.degradations if step.KIND not in BEFORE_NOISE])
    scene.leave_masked_open()
    return scene


def _speechless_scene(plan: ClipPlan) -> Scene:
    scene = Scene(np.zeros(plan.length, np.float32))
    for kind, sound in (("noise", plan.noise), ("music", plan.music)):
        if sound is not None:
            scene.play(kind, sound)
    if plan.quiet is not None:
        scene.play_quiet(plan.quiet)
    scene.degrade(plan.degradations)
    return scene


def _labels(plan: ClipPlan, mixture: Mixture, options: ClipOptions) -> dict[str, Any]:
    """Returns the columns of a clip with speech that compare it to its reference."""
    is_degraded = bool(plan.degradations or plan.music or plan.second_voice)
    labels = {scale.column: label(scale, mixture, _clip_snr_db(plan), is_degraded) for scale in options.labels}
    score = labels.get(PESQ_WB.column)
    frames = None if score is None else checked_frame_disturbances(mixture, score, options.max_disagreement)
    return {
        **labels,
        "snr_db": plan.noise.snr_db if plan.noise else None,
        "disturbance": frames.symmetric.tolist() if frames else None,
        "asymmetric_disturbance": frames.asymmetric.tolist() if frames else None,
    }


def _clarity_db(plan: ClipPlan) -> float | None:
    """Returns the C50 of the rooms of a clip; None without a room. The rooms of speech played in two rooms are convolved."""
    steps = [step for step in (*plan.variations, *plan.degradations) if isinstance(step, SmallRoom | Reverb)]
    if not steps:
        return None
    return clarity_db(functools.reduce(fftconvolve, [impulse_response(step.room) for step in steps]))


def _speech_variations(plan: ClipPlan) -> list[str]:
    speed = [] if plan.speed == 1.0 else [f"speed {plan.speed:.2f}"]
    return speed + [variation.detail for variation in plan.variations]


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
