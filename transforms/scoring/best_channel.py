"""Chooses the channel of a recording whose channels carry different sounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from model.bundle import Bundle
from model.pooling import pool
from transforms.elements import Reject, ScoredUtterance
from transforms.marks import NO_SPEECH, VOICE_PER_CHANNEL

# A channel within this share of the label scale below the best one carries speech, too. Noise alone scores lower.
VOICE_WITHIN = 0.25


def best_channel(results: Sequence[ScoredUtterance | Reject], bundle: Bundle) -> ScoredUtterance | Reject:
    """Returns the channel with the best score; a channel without speech only if there is no other.

    Args:
        results: results of the channels, at least one.
        bundle: bundle of the model.
    """
    scored = [result for result in results if isinstance(result, ScoredUtterance)]
    if len(results) == 1 or not scored:
        return results[0]
    speaks = [NO_SPEECH not in result.utterance.marks for result in scored]
    scores = [
        pool(result.frame_score[result.utterance.frame_facts.activity.counted], bundle.pooling) for result in scored
    ]
    order = sorted(range(len(scored)), key=lambda n: (speaks[n], scores[n]), reverse=True)
    best, second = scored[order[0]], order[1] if len(order) > 1 else None
    if (
        second is None
        or not speaks[second]
        or scores[second] < scores[order[0]] - VOICE_WITHIN * bundle.label_scale.span
    ):
        return best
    marks = (*best.utterance.marks, VOICE_PER_CHANNEL)
    return dataclasses.replace(best, utterance=dataclasses.replace(best.utterance, marks=marks))
