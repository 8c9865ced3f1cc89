"""Splits the material of `audiosieve reproduce` into `train`, `val` and `test`. No speaker is in two splits.

Noise is one collection for all splits, as published, or is split by its groups. `val` takes some of the
training groups. It selects the epoch, so that `test` selects nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from model.features import SAMPLE_RATE
from transforms.elements import AudioRef, Span
from transforms.errors import AudioFault
from transforms.synthesis.materials import NOISE, SPEECH, TRAIN, VAL, Material, assign_splits, measure_length

TEST = "test"
# Split of noise that all splits draw from.
SHARED = "shared"
VALIDATION_SHARE = 0.1


class SplitError(ValueError):
    """The material leaves a split empty.

    Attributes:
        kind: kind of the material, "speech" or "noise".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def train_test_material(refs: Sequence[AudioRef], kind: str, holdout: float | None) -> list[Material]:
    """Sorts recordings into groups and the splits "train" and "test".

    Args:
        refs: recordings of one kind.
        kind: "speech" or "noise".
        holdout: share of the groups for "test", 0 to 1. None takes the recordings that the manifest puts into "val" or "test",
            or a tenth of the groups if the manifest has no splits.
    """
    items = assign_splits(refs, kind, holdout)
    return [dataclasses.replace(item, split=TEST if item.split in (VAL, TEST) else item.split) for item in items]


def measure_material(items: Iterable[Material], min_dynamic_range_db: float) -> tuple[list[Material], Counter[str]]:
    """Measures recordings and removes unusable ones.

    Args:
        items: recordings.
        min_dynamic_range_db: smallest dynamic range of usable speech, in dB.

    Returns:
        The usable recordings, in order, and the number of unusable ones by reason.
    """
    usable, unusable = [], Counter[str]()
    for item in items:
        try:
            usable.append(measure_length(item, min_dynamic_range_db))
        except AudioFault as fault:
            unusable[fault.reason] += 1
    return usable, unusable


def cut_utterances(speech: Iterable[Material], max_duration_s: float) -> tuple[list[Material], Counter[str]]:
    """Cuts recordings into utterances of at most `max_duration_s`, one after the other.

    A rest of less than half this length is left out. A shorter recording is one utterance. Cutting gives enough utterances of
    the published length from one corpus of longer recordings.

    Args:
        speech: measured recordings.
        max_duration_s: longest utterance in seconds, at least 0.25.

    Returns:
        The measured utterances with the ids `RECORDING#N`, in order, and the number of unusable ones by reason.
    """
    longest = round(max_duration_s * SAMPLE_RATE)
    parts = [
        _part(item, number, longest)
        for item in speech
        for number in range(max(1, (2 * item.num_samples + longest) // (2 * longest)))
    ]
    return measure_material(parts, -math.inf)


def _part(item: Material, number: int, longest: int) -> Material:
    """Returns part `number` of a recording, counted from 0, with at most `longest` samples at 16 kHz."""
    start, end = number * longest, min((number + 1) * longest, item.num_samples)
    before_s = item.ref.span.start_s
    span = Span(before_s + start / SAMPLE_RATE, before_s + end / SAMPLE_RATE)
    ref = dataclasses.replace(item.ref, utterance_id=f"{item.ref.utterance_id}#{number}", span=span)
    return dataclasses.replace(item, ref=ref)


def share_noise(noise: Iterable[Material]) -> list[Material]:
    """Returns noise that all splits draw from, in order."""
    return [dataclasses.replace(item, split=SHARED) for item in noise]


def draw_utterances(speech: Iterable[Material], split: str, count: int, seed: int) -> list[Material]:
    """Draws utterances of a split.

    Args:
        speech: utterances of all splits, in any order.
        split: split to draw from.
        count: number of utterances; all are taken if there are fewer.
        seed: seed of the draw.

    Returns:
        The utterances, ordered by id.
    """
    of_split = sorted((item for item in speech if item.split == split), key=lambda item: item.ref.utterance_id)
    drawn = np.random.default_rng(seed).permutation(len(of_split))[:count]
    return [of_split[i] for i in sorted(drawn.tolist())]


def with_validation(items: Sequence[Material], seed: int) -> list[Material]:
    """Moves some training groups to the split "val".

    The drawn groups together hold at most a tenth of the training recordings. If each group holds more, the smallest one is
    moved. A single group is not moved.

    Args:
        items: speech or noise of the splits "train" and "test".
        seed: seed of the draw.

    Returns:
        The same recordings in the same order.
    """
    sizes = Counter(item.group for item in items if item.split == TRAIN)
    groups = sorted(sizes)
    order = [groups[i] for i in np.random.default_rng([seed, 1]).permutation(len(groups)).tolist()]
    moved: set[str] = set()
    for group in order:
        if sum(sizes[moved_group] for moved_group in moved) + sizes[group] <= VALIDATION_SHARE * sizes.total():
            moved.add(group)
    if not moved and len(groups) > 1:
        moved = {min(order, key=lambda group: sizes[group])}
    return [
        dataclasses.replace(item, split=VAL) if item.split == TRAIN and item.group in moved else item for item in items
    ]


def check_splits(speech: Iterable[Material], noise: Iterable[Material]) -> None:
    """Checks that each split has speech and noise.

    Args:
        speech: speech of all splits.
        noise: noise of all splits.

    Raises:
        SplitError: a split has no speech or no noise.
    """
    for kind, items, groups in ((SPEECH, speech, "speakers"), (NOISE, noise, "groups")):
        splits = {item.split for item in items}
        missing = set() if splits == {SHARED} else {TRAIN, VAL, TEST} - splits
        if missing:
            raise SplitError(
                kind,
                f"training, validation and test need {groups} of their own, at least three in all; the {groups} at hand "
                f"leave none for {sorted(missing)[0]!r}",
            )


def split_material(
    speech: Sequence[Material], noise: Sequence[Material], utterances: Mapping[str, int], seed: int
) -> tuple[list[Material], list[Material]]:
    """Draws the utterances, and moves training groups of both kinds to the split "val".

    Args:
        speech: measured speech of the splits "train" and "test".
        noise: measured noise of the splits "train" and "test", or shared.
        utterances: number of utterances by split; all are taken if there are fewer.
        seed: seed of the draws.

    Returns:
        The drawn speech, split by split, and all noise.

    Raises:
        SplitError: a split has no speech or no noise.
    """
    drawn = [item for split, count in utterances.items() for item in draw_utterances(speech, split, count, seed)]
    divided = with_validation(drawn, seed), with_validation(noise, seed)
    check_splits(*divided)
    return divided


def material_facts(speech: Sequence[Material], noise: Sequence[Material]) -> dict[str, Any]:
    """Returns counts and a hash of the material, because a run can be continued only with the same material.

    Args:
        speech: speech of all splits.
        noise: noise of all splits.

    Returns:
        Numbers of "utterances", "speakers", "noises" and "noise_groups" by split; the "corpora" of the speech; and the
        "sha256", which does not depend on the order or the folder of the recordings.
    """
    lines = sorted(f"{m.kind}\t{m.split}\t{m.group}\t{m.ref.utterance_id}\t{m.num_samples}" for m in (*speech, *noise))

    def by_split(items: Sequence[Material], value: Callable[[Material], str]) -> dict[str, int]:
        pairs = {(item.split, value(item)) for item in items}
        splits = (SHARED,) if any(item.split == SHARED for item in items) else (TRAIN, VAL, TEST)
        return {split: sum(pair[0] == split for pair in pairs) for split in splits}

    return {
        "utterances": by_split(speech, lambda item: item.ref.utterance_id),
        "speakers": by_split(speech, lambda item: item.group),
        "noises": by_split(noise, lambda item: item.ref.utterance_id),
        "noise_groups": by_split(noise, lambda item: item.group),
        "corpora": sorted({item.ref.columns.get("corpus") or "unknown" for item in speech}),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }
