"""Measures of what a diagnostic model hears: speech, causes of damage, music, second voices, and causes that are not there.

The input is one `DiagnosedClip` for each clip of the set, in the order of the resamples. Unknown frames and clips are left out.
Causes are measured over the frames that count for the score, speech over all frames.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.diagnosis import HEARD_CAUSES, SPEECH_THRESHOLD
from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.diagnosed_clips import OTHER_SOUNDS, DiagnosedClip
from model.evaluation.metrics import precision_recall_f1, weighted_auc, weighted_mean
from model.evaluation.scored_clips import STEP_DB
from model.frame_truth import NO, UNKNOWN, YES

# Probabilities of frames are compared in steps of a thousandth, so that equal ones can be counted together.
STEPS = 1000
# Bins of a reliability curve.
BINS = 10
BAND_LIMIT = "band_limit"


def measure_speech(clips: Sequence[DiagnosedClip], resamples: Resamples) -> dict[str, Any]:
    """Measures how well speech is told from no speech, over the frames of clips with known speech.

    Returns:
        Numbers of "clips", "frames" and "speech_frames"; "precision", "recall" and "f1" of frames with speech, and "auc".
        Empty if no speech is known.
    """
    items = [n for n, clip in enumerate(clips) if (clip.speech != UNKNOWN).any()]
    if not items:
        return {}
    known = [clips[n].speech != UNKNOWN for n in items]
    truth = [clips[n].speech[frames] == YES for n, frames in zip(items, known, strict=True)]
    value = [clips[n].diagnosis.speech[frames] for n, frames in zip(items, known, strict=True)]
    return {
        "clips": len(items),
        "frames": sum(map(len, truth)),
        "speech_frames": int(sum(map(np.count_nonzero, truth))),
        **_detection(truth, [values >= SPEECH_THRESHOLD for values in value], np.array(items), resamples),
        "auc": frame_auc(truth, value, np.array(items), resamples),
    }


def measure_causes(clips: Sequence[DiagnosedClip], resamples: Resamples) -> dict[str, Any]:
    """Measures how well causes are found, in whole clips and in frames.

    Returns:
        "clips" with known causes; "macro_f1" and "frame_macro_f1", the means of F1 over the causes that occur in the set; and
        "by_cause", with the measures of each cause that occurs, in "clips" and in "frames". Causes that the model was not
        trained on are left out. Empty if no causes are known.
    """
    items = [n for n, clip in enumerate(clips) if clip.clip.names_causes]
    by_cause = {}
    for index, cause in enumerate(HEARD_CAUSES):
        if any(clips[n].causes[index] == YES and cause in clips[n].diagnosis.trained for n in items):
            by_cause[cause] = {
                "clips": _in_clips(clips, index, resamples),
                "frames": _in_frames(clips, index, resamples),
            }
    if not by_cause:
        return {}
    return {
        "clips": len(items),
        "macro_f1": _mean([measured["clips"]["f1"] for measured in by_cause.values()]),
        "frame_macro_f1": _mean([measured["frames"]["f1"] for measured in by_cause.values()]),
        "by_cause": by_cause,
    }


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    """Returns the mean of measures on the same resamples, in each resample over those that are defined."""
    resampled = np.ma.masked_invalid([estimate.resampled for estimate in estimates]).mean(axis=0)
    values = np.ma.masked_invalid([estimate.value for estimate in estimates])
    return Estimate(float(np.ma.filled(values.mean(), np.nan)), np.ma.filled(resampled, np.nan))


def _in_clips(clips: Sequence[DiagnosedClip], index: int, resamples: Resamples) -> dict[str, Any]:
    """Measures a cause in clips."""
    items = np.array([n for n, clip in enumerate(clips) if clip.causes[index] != UNKNOWN])
    truth = np.array([clips[n].causes[index] == YES for n in items.tolist()])
    heard = np.array([clips[n].hears[index] for n in items.tolist()])
    reached = np.array([clips[n].reached[index] for n in items.tolist()])
    return {
        "known": len(items),
        "with_cause": int(truth.sum()),
        **_detection(list(truth[:, np.newaxis]), list(heard[:, np.newaxis]), items, resamples),
        **resamples.estimate(lambda weight: {"auc": weighted_auc(truth, reached, weight)}, items),
    }


def _in_frames(clips: Sequence[DiagnosedClip], index: int, resamples: Resamples) -> dict[str, Any]:
    """Measures a cause in frames."""
    truth, heard, value, items = [], [], [], []
    for n, clip in enumerate(clips):
        frames = clip.counted & (clip.frame_causes[:, index] != UNKNOWN)
        if frames.any():
            items.append(n)
            truth.append(clip.frame_causes[frames, index] == YES)
            heard.append(clip.diagnosis.hears()[frames, index])
            value.append(clip.diagnosis.cause_probabilities[frames, index])
    return {
        "known": sum(map(len, truth)),
        "with_cause": int(sum(map(np.count_nonzero, truth))),
        **_detection(truth, heard, np.array(items), resamples),
        "auc": frame_auc(truth, value, np.array(items), resamples),
        "reliability": reliability(np.concatenate(truth), np.concatenate(value)),
    }


def _detection(
    truth: Sequence[np.ndarray], found: Sequence[np.ndarray], items: np.ndarray, resamples: Resamples
) -> dict[str, Estimate]:
    """Returns "precision", "recall" and "f1" over the frames of clips.

    Args:
        truth: whether each frame of each clip is positive, bool [T_i] each.
        found: whether it was found, bool [T_i] each.
        items: indices of the clips in the set.
        resamples: resamples of the set.
    """
    pairs = list(zip(truth, found, strict=True))
    true_positives = np.array([np.count_nonzero(a & b) for a, b in pairs])
    false_positives = np.array([np.count_nonzero(~a & b) for a, b in pairs])
    false_negatives = np.array([np.count_nonzero(a & ~b) for a, b in pairs])
    return resamples.estimate(
        lambda weight: precision_recall_f1(weight @ true_positives, weight @ false_positives, weight @ false_negatives),
        items,
    )


def frame_auc(
    truth: Sequence[np.ndarray], value: Sequence[np.ndarray], items: np.ndarray, resamples: Resamples
) -> Estimate:
    """Returns the AUC over the frames of clips. Values are rounded to 0.001.

    Args:
        truth: whether each frame of each clip is positive, bool [T_i] each.
        value: value of each frame of each clip, 0 to 1, float [T_i] each.
        items: indices of the clips in the set.
        resamples: resamples of the set.
    """
    # Frames of a speaker have the same weight. Those with the same truth and value are one item, which saves time and memory.
    speaker_clip = resamples.first_of_speaker(items)
    clip = np.repeat(speaker_clip, [len(frames) for frames in truth])
    positive = np.concatenate(truth)
    step = np.round(np.concatenate(value) * STEPS).astype(np.int64)
    keys = (clip.astype(np.int64) * (STEPS + 1) + step) * 2 + positive
    distinct, count = np.unique(keys, return_counts=True)
    positive, step, clip = distinct % 2 == 1, distinct // 2 % (STEPS + 1), distinct // (2 * (STEPS + 1))
    return resamples.estimate(lambda weight: {"auc": weighted_auc(positive, step, weight * count)}, clip)["auc"]


def reliability(truth: np.ndarray, probability: np.ndarray) -> list[dict[str, Any]]:
    """Returns how often frames are positive, by their predicted probability, in ten bins. Empty bins are left out.

    Args:
        truth: whether each frame is positive, bool [T].
        probability: predicted probability [T].

    Returns:
        Mean "probability", "share" of positive frames, and number of "frames" of each bin.
    """
    number = np.minimum((probability * BINS).astype(int), BINS - 1)
    return [
        {
            "probability": float(probability[number == n].mean(dtype=np.float64)),
            "share": float(truth[number == n].mean()),
            "frames": int(np.count_nonzero(number == n)),
        }
        for n in range(BINS)
        if (number == n).any()
    ]


def measure_music(clips: Sequence[DiagnosedClip], resamples: Resamples) -> dict[str, Any]:
    """Measures how well music alone is told from speech without music: "alone" with its "auc"; and `behind_speech`.

    The value of a clip is the probability of music that the required share of its frames reaches.
    """
    without = _speech_without("music", clips)
    alone = [n for n, clip in enumerate(clips) if clip.clip.speech == () and clip.truth("music") == YES]
    measured: dict[str, Any] = {}
    if alone and without:
        measured["alone"] = _against("music", alone, without, clips, resamples)
    if bands := measure_behind_speech("music", clips, resamples):
        measured["behind_speech"] = bands
    return measured


def measure_behind_speech(
    cause: str, clips: Sequence[DiagnosedClip], resamples: Resamples
) -> dict[str, dict[str, Any]]:
    """Measures how well speech with music or a second voice is told from speech without, by the level of the speech over it.

    Clips with other sounds are left out, because they may mask the music or the voice.

    Args:
        cause: "music" or "second_voice".
        clips: clips of the set.
        resamples: resamples of the set.

    Returns:
        Measures by level, rounded to 5 dB: numbers of "clips" with and "without" it, and "auc".
    """
    without = _speech_without(cause, clips)
    bands: dict[float, list[int]] = defaultdict(list)
    for n, clip in enumerate(clips):
        others = {clip.truth(sound) for sound in OTHER_SOUNDS if sound != cause}
        level_db = clip.level_over(cause)
        if clip.has_speech and clip.truth(cause) == YES and others == {NO} and level_db is not None:
            bands[STEP_DB * np.floor(level_db / STEP_DB + 0.5)].append(n)
    if not without:
        return {}
    return {f"{band:g} dB": _against(cause, bands[band], without, clips, resamples) for band in sorted(bands)}


def _speech_without(cause: str, clips: Sequence[DiagnosedClip]) -> list[int]:
    return [n for n, clip in enumerate(clips) if clip.has_speech and clip.truth(cause) == NO]


def _against(
    cause: str, positive: list[int], negative: list[int], clips: Sequence[DiagnosedClip], resamples: Resamples
) -> dict[str, Any]:
    """Measures how well some clips, which have a cause, are told from others without it."""
    items, index = np.array([*positive, *negative]), HEARD_CAUSES.index(cause)
    truth = np.arange(len(items)) < len(positive)
    reached = np.array([clips[n].reached[index] for n in items.tolist()])
    auc = resamples.estimate(lambda weight: {"auc": weighted_auc(truth, reached, weight)}, items)
    return {"clips": len(positive), "without": len(negative), **auc}


def measure_false_causes(clips: Sequence[DiagnosedClip], resamples: Resamples) -> dict[str, dict[str, Any]]:
    """Measures how often causes are heard that are not there, in clean clips and in clips with a band limit only.

    Returns:
        For "clean" and "band_limit_only": number of "clips"; "share" of clips in which any other cause is heard; and "causes",
        the number of clips by such cause. Kinds of clips that do not occur are left out.
    """
    chosen = {
        "clean": [n for n, clip in enumerate(clips) if clip.clip.clean],
        "band_limit_only": [n for n, clip in enumerate(clips) if _is_only_band_limited(clip)],
    }
    measured = {}
    for name, items in chosen.items():
        allowed = {BAND_LIMIT} if name != "clean" else set()
        false = [sorted(set(clips[n].heard.causes) - allowed) for n in items]
        if items:
            share = resamples.estimate(functools.partial(_share, np.array(list(map(bool, false)))), np.array(items))
            counts = Counter(cause for causes in false for cause in causes)
            measured[name] = {"clips": len(items), **share, "causes": dict(counts.most_common())}
    return measured


def _share(has_any: np.ndarray, weight: np.ndarray) -> dict[str, np.ndarray]:
    return {"share": weighted_mean(has_any, weight)}


def _is_only_band_limited(clip: DiagnosedClip) -> bool:
    audible = {
        (distortion.cause, distortion.audible)
        for distortion in clip.clip.distortions
        if distortion.audible is not False
    }
    return clip.has_speech and clip.clip.names_causes and audible == {(BAND_LIMIT, True)}
