"""Chooses the channel of a recording whose channels carry different sounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from model.bundle import Bundle
from model.pooling import pool
from transforms.elements import Reject, ScoredUtterance
from transforms.marks import NO_SPEECH, UNLIKE, VOICE_PER_CHANNEL

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
    best = order[0]
    least = scores[best] - VOICE_WITHIN * bundle.label_scale.span
    if UNLIKE not in scored[best].utterance.marks:
        return scored[best]  # the channels carry the same voice
    if not any(speaks[other] and scores[other] >= least for other in order[1:]):
        return scored[best]
    utterance = scored[best].utterance
    with_mark = dataclasses.replace(utterance, marks=(*utterance.marks, VOICE_PER_CHANNEL))
    return dataclasses.replace(scored[best], utterance=with_mark)
