"""A recording worked through in parts scores as it does at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.features import NUM_BINS, WHOLE_FRAMES
from model.inference.scorer import Scorer
from model.inference.streaming import ATTENTION_MARGIN, WINDOW, LongRecordings
from tests.support.random_bundles import random_network

CARRYING = ["quality_net", "l_1dcnn", "disturbance_net"]
ATTENDING = ["l_att", "lc_att"]


def spectrogram(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (frames, NUM_BINS)).astype(np.float32)


def at_once(network, frames: np.ndarray) -> np.ndarray:
    inputs = {"spectrogram": frames[np.newaxis], "mask": np.ones((1, len(frames)), bool)}
    return network(inputs)["frame_score"].numpy()[0]


@pytest.fixture(scope="module")
def networks() -> dict:
    return {name: random_network(name) for name in CARRYING + ATTENDING}


@pytest.fixture(scope="module")
def taken_apart(networks) -> dict[str, LongRecordings]:
    return {name: LongRecordings(network) for name, network in networks.items()}


@pytest.mark.parametrize("name", CARRYING)
@pytest.mark.parametrize(("frames", "window"), [(1, 1), (7, 3), (64, 64), (65, 64), (130, 64), (300, 41), (50, 200)])
def test_wherever_it_is_cut_the_scores_are_those_of_the_whole(networks, taken_apart, name, frames, window):
    whole = spectrogram(frames, seed=frames)
    taken_apart[name].window = window
    found = taken_apart[name].frame_scores(whole)
    np.testing.assert_allclose(found, at_once(networks[name], whole), atol=1e-4)


@pytest.mark.parametrize("name", ATTENDING)
def test_attention_looks_over_its_window_and_so_far_beyond_it(networks, taken_apart, name):
    frames = spectrogram(WINDOW + 2 * ATTENTION_MARGIN)
    found = taken_apart[name].frame_scores(frames)
    assert np.abs(found - at_once(networks[name], frames)).max() > 1e-3, "it attended over everything"
    within = taken_apart[name].frame_scores(frames[:WINDOW])
    np.testing.assert_allclose(within, at_once(networks[name], frames[:WINDOW]), atol=1e-4)


def test_only_parts_are_ever_read(taken_apart):
    class Parts:
        longest = 0

        def __len__(self) -> int:
            return 3 * WINDOW + 5

        def __getitem__(self, part: slice) -> np.ndarray:
            first, last, _ = part.indices(len(self))
            Parts.longest = max(Parts.longest, last - first)
            return spectrogram(last - first, seed=first)

    taken_apart["disturbance_net"].window = WINDOW
    found = taken_apart["disturbance_net"].frame_scores(Parts())
    assert found.shape == (3 * WINDOW + 5,)
    assert Parts.longest < WINDOW + 100


def test_the_scorer_gives_long_and_short_ones_of_a_batch_in_their_order(random_bundles: dict[str, Path]):
    scorer = Scorer(random_bundles["disturbance_net"])
    members = [spectrogram(20, 1), spectrogram(WHOLE_FRAMES + 50, 2), spectrogram(31, 3)]
    found = scorer.score(members)
    assert [len(scores) for scores in found] == [20, WHOLE_FRAMES + 50, 31]
    for scores, member in zip(found[::2], members[::2], strict=True):
        np.testing.assert_allclose(scores, scorer.score([member])[0], atol=1e-5)


@pytest.mark.parametrize("name", ["disturbance_net", "lc_att"])
def test_in_steps_the_scorer_gives_the_same_and_never_works_for_long(random_bundles: dict[str, Path], name):
    scorer = Scorer(random_bundles[name])
    whole = spectrogram(4 * WINDOW + 9)
    steps = list(scorer.score_in_parts(whole))
    assert [len(step) for step in steps] == [0] * 4 + [WINDOW] * 4 + [9]
    np.testing.assert_array_equal(np.concatenate(steps), scorer.score([whole])[0])
