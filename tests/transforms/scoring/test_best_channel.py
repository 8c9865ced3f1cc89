"""The best channel of a recording with unlike channels is scored."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from model.bundle import DEFAULT, open_bundle
from transforms.elements import Reject, ScoredUtterance
from transforms.errors import AudioFault, Reason, Stage
from transforms.marks import NO_SPEECH, VOICE_PER_CHANNEL
from transforms.scoring.best_channel import best_channel


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(DEFAULT)


@pytest.fixture
def channel(make_utterance):
    def make(number: int, score: float, *marks: str) -> ScoredUtterance:
        utterance = dataclasses.replace(
            make_utterance(num_frames=100), channel=number, marks=("unlike_channels", *marks)
        )
        return ScoredUtterance(utterance, np.full(100, score, np.float32))

    return make


def chosen(result: ScoredUtterance | Reject) -> tuple[int | None, bool]:
    """Number of the channel, and whether another one has a voice."""
    assert isinstance(result, ScoredUtterance)
    return result.utterance.channel, VOICE_PER_CHANNEL in result.utterance.marks


def test_the_channel_with_the_best_score_is_chosen(bundle, channel):
    assert chosen(best_channel([channel(0, 1.2), channel(1, 4.3)], bundle)) == (1, False)
    assert chosen(best_channel([channel(0, 4.3), channel(1, 1.2)], bundle)) == (0, False)


def test_two_channels_that_score_alike_have_a_voice_each(bundle, channel):
    assert chosen(best_channel([channel(0, 4.0), channel(1, 4.3)], bundle)) == (1, True)


def test_channels_of_the_same_voice_have_no_second_one(bundle, channel):
    channels = [channel(0, 4.0), channel(1, 4.3)]
    late = [
        dataclasses.replace(result, utterance=dataclasses.replace(result.utterance, marks=("delayed_channels",)))
        for result in channels
    ]
    assert chosen(best_channel(late, bundle)) == (1, False)


def test_a_channel_without_speech_is_never_better(bundle, channel):
    assert chosen(best_channel([channel(0, 4.5, NO_SPEECH), channel(1, 2.0)], bundle)) == (1, False)


def test_a_reject_is_returned_only_if_all_are_rejected(bundle, channel, make_ref):
    reject = Reject.of(make_ref(), AudioFault(Stage.SCORE, Reason.MODEL_FAILED, "out of memory"))
    assert chosen(best_channel([reject, channel(1, 2.0)], bundle)) == (1, False)
    assert best_channel([reject, reject], bundle) is reject
