"""A recording that is scored in parts gets the same scores as at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.features import NUM_BINS, WHOLE_FRAMES
from model.frame_estimates import FrameEstimates
from model.inference.scorer import Scorer
from model.inference.streaming import ATTENTION_MARGIN, WINDOW, LongRecordings, frames_per_step
from tests.support.training.random_bundles import random_network

WITHOUT_ATTENTION = ["quality_net", "l_1dcnn", "disturbance_net", "diagnostic_net", "diagnostic_net_16ms"]
WITH_ATTENTION = ["l_att", "lc_att"]


def make_spectrogram(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (frames, NUM_BINS)).astype(np.float32)


def values_at_once(network, frames: np.ndarray) -> np.ndarray:
    inputs = {"spectrogram": frames[np.newaxis], "mask": np.ones((1, len(frames)), bool)}
    outputs = network(inputs)
    diagnosis = outputs.get("diagnosis", tf.zeros((1, len(frames), 0)))
    return tf.concat([outputs["frame_score"][..., tf.newaxis], diagnosis], axis=-1).numpy()[0]


@pytest.fixture(scope="module")
def networks() -> dict:
    return {name: random_network(name) for name in WITHOUT_ATTENTION + WITH_ATTENTION}


@pytest.fixture(scope="module")
def long_recordings(networks) -> dict[str, LongRecordings]:
    return {name: LongRecordings(network) for name, network in networks.items()}


@pytest.mark.parametrize("name", WITHOUT_ATTENTION)
@pytest.mark.parametrize(("frames", "window"), [(1, 1), (7, 3), (64, 64), (65, 64), (130, 64), (300, 41), (50, 200)])
def test_windows_give_the_scores_of_the_whole_recording(networks, long_recordings, name, frames, window):
    whole = make_spectrogram(frames, seed=frames)
    long_recordings[name].window = window + window % frames_per_step(networks[name])
    scored = long_recordings[name].frame_values(whole)
    np.testing.assert_allclose(scored, values_at_once(networks[name], whole), atol=1e-4)


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_attention_covers_its_window_and_a_margin(networks, long_recordings, name):
    frames = make_spectrogram(WINDOW + 2 * ATTENTION_MARGIN)
    scored = long_recordings[name].frame_values(frames)
    assert np.abs(scored - values_at_once(networks[name], frames)).max() > 1e-3, "attention covered the whole recording"
    within = long_recordings[name].frame_values(frames[:WINDOW])
    np.testing.assert_allclose(within, values_at_once(networks[name], frames[:WINDOW]), atol=1e-4)


@pytest.mark.parametrize("name", [*WITHOUT_ATTENTION, *WITH_ATTENTION])
def test_another_thread_than_that_of_the_network_prepares_it(name):
    # Keras numbers the default names of layers separately in each thread. The service has a thread for the model.
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        network = first.submit(random_network, name).result()
        long_recordings = second.submit(LongRecordings, network).result()
    whole = make_spectrogram(5)
    np.testing.assert_allclose(long_recordings.frame_values(whole), values_at_once(network, whole), atol=1e-4)


def test_the_spectrogram_is_read_in_parts(long_recordings):
    class Parts:
        longest = 0

        def __len__(self) -> int:
            return 3 * WINDOW + 5

        def __getitem__(self, part: slice) -> np.ndarray:
            first, last, _ = part.indices(len(self))
            Parts.longest = max(Parts.longest, last - first)
            return make_spectrogram(last - first, seed=first)

    long_recordings["disturbance_net"].window = WINDOW
    scored = long_recordings["disturbance_net"].frame_values(Parts())
    assert scored.shape == (3 * WINDOW + 5, 1)
    assert Parts.longest < WINDOW + 100


def test_the_scorer_keeps_the_order_of_long_and_short_recordings(random_bundles: dict[str, Path]):
    scorer = Scorer(random_bundles["disturbance_net"])
    members = [make_spectrogram(20, 1), make_spectrogram(WHOLE_FRAMES + 50, 2), make_spectrogram(31, 3)]
    scored = scorer.score(members)
    assert [len(estimates.score) for estimates in scored] == [20, WHOLE_FRAMES + 50, 31]
    for estimates, member in zip(scored[::2], members[::2], strict=True):
        np.testing.assert_allclose(estimates.score, scorer.score([member])[0].score, atol=1e-5)


@pytest.mark.parametrize("name", ["diagnostic_net", "lc_att"])
def test_the_scorer_gives_the_same_scores_in_steps_of_one_window(random_bundles: dict[str, Path], name):
    scorer = Scorer(random_bundles[name])
    whole = make_spectrogram(4 * WINDOW + 9)
    steps = list(scorer.score_in_parts(whole))
    assert [len(step.score) for step in steps] == [0] * 4 + [WINDOW] * 4 + [9]
    joined, (at_once,) = FrameEstimates.joined(steps), scorer.score([whole])
    np.testing.assert_array_equal(joined.score, at_once.score)
    assert (joined.diagnosis is None) == (at_once.diagnosis is None) == (name == "lc_att")
    if joined.diagnosis and at_once.diagnosis:
        np.testing.assert_array_equal(joined.diagnosis.values, at_once.diagnosis.values)
