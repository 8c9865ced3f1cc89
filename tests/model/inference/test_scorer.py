"""Scorer: a score depends only on the spectrogram and the bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.bundle import WEIGHTS, BundleError, open_bundle
from model.features import NUM_BINS
from model.inference.scorer import Scorer, pad
from model.labels import PESQ_WB, PSEUDO
from model.networks.architectures import NETWORKS
from tests.support.training.random_bundles import complete_bundle, random_network

both = pytest.mark.parametrize("name", ["quality_net", "lc_att"])


@pytest.fixture(scope="module")
def scorers(random_bundles: dict[str, Path]) -> dict[str, Scorer]:
    return {name: Scorer(path) for name, path in random_bundles.items()}


def spectrograms(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (length, NUM_BINS)).astype(np.float32) for length in lengths]


def scores_of(scorer: Scorer, members: list[np.ndarray]) -> list[np.ndarray]:
    return [estimates.score for estimates in scorer.score(members)]


def close(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-5) for a, b in zip(first, second, strict=True)
    )


@both
def test_the_scores_have_the_order_of_the_spectrograms(scorers, name: str) -> None:
    lengths = [9, 30, 1, 14, 30]
    scored = scores_of(scorers[name], spectrograms(*lengths))
    assert [scores.shape for scores in scored] == [(length,) for length in lengths]
    assert all(scores.dtype == np.float32 for scores in scored)


@both
def test_the_scores_are_those_of_the_network_in_the_bundle(scorers, random_bundles, name: str) -> None:
    network = NETWORKS[name]()
    network.load_weights(random_bundles[name] / WEIGHTS)
    member = spectrograms(12)[0]
    expected = network({"spectrogram": member[np.newaxis], "mask": np.ones((1, 12), bool)})["frame_score"].numpy()
    assert PESQ_WB.low < expected.min() < expected.max() < PESQ_WB.high
    assert scores_of(scorers[name], [member])[0] == pytest.approx(expected[0], abs=1e-5)


@both
def test_a_recording_scores_the_same_alone_and_in_a_batch(scorers, name: str) -> None:
    members = spectrograms(9, 30, 1, 14, 61)
    alone = [scores_of(scorers[name], [member])[0] for member in members]
    assert close(scores_of(scorers[name], members), alone)


@both
def test_a_recording_scores_the_same_in_another_order(scorers, name: str) -> None:
    members = spectrograms(9, 30, 1, 14, 61)
    order = [3, 0, 4, 2, 1]
    shuffled = scores_of(scorers[name], [members[i] for i in order])
    expected = scores_of(scorers[name], members)
    assert close(shuffled, [expected[i] for i in order])


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 80))
@settings(deadline=None, max_examples=15)
def test_another_member_of_any_length_does_not_change_a_score(scorers, lengths: list[int], neighbour: int) -> None:
    members = spectrograms(*lengths)
    (loud,) = spectrograms(neighbour, seed=1)
    for scorer in scorers.values():
        assert close(scores_of(scorer, [*members, 5 * loud])[:-1], scores_of(scorer, members))


@pytest.mark.parametrize(("bias", "label_scale", "end"), [(-50, PESQ_WB, 1.0), (50, PESQ_WB, 4.64), (50, PSEUDO, 8.0)])
def test_scores_are_limited_to_the_label_scale(tmp_path: Path, bias, label_scale, end) -> None:
    network = random_network("quality_net")
    network.get_layer("frame_score").bias.assign([bias])
    network.save_weights(tmp_path / WEIGHTS)
    scorer = Scorer(complete_bundle(tmp_path, label_scale=label_scale))
    for scores in scores_of(scorer, spectrograms(9, 4)):
        assert scores.dtype == np.float32
        assert scores == pytest.approx(np.full(len(scores), end))


@both
def test_the_same_batch_scores_the_same_again(scorers, name: str) -> None:
    members = spectrograms(9, 30)
    assert close(scores_of(scorers[name], members), scores_of(scorers[name], members))


@both
def test_different_recordings_score_differently(scorers, name: str) -> None:
    first, second = scores_of(scorers[name], spectrograms(20, 20))
    assert np.abs(first - second).max() > 1e-3


@both
def test_an_empty_list_has_no_scores(scorers, name: str) -> None:
    assert scores_of(scorers[name], []) == []


@both
def test_a_single_frame_is_scored(scorers, name: str) -> None:
    (scores,) = scores_of(scorers[name], spectrograms(1))
    assert scores.shape == (1,)
    assert np.isfinite(scores).all()


@both
def test_digital_silence_has_a_finite_score(scorers, name: str) -> None:
    (scores,) = scores_of(scorers[name], [np.full((50, NUM_BINS), np.log(1e-3), np.float32)])
    assert np.isfinite(scores).all()


@both
def test_scores_share_no_memory(scorers, name: str) -> None:
    scored = scores_of(scorers[name], spectrograms(9, 30, 30))
    for scores in scored:
        assert scores.base is None
        assert scores.nbytes == 4 * len(scores)
    assert not np.shares_memory(scored[1], scored[2])
    before = scored[2].copy()
    scored[1][:] = 99
    assert np.array_equal(scored[2], before)


@both
def test_the_spectrograms_are_unchanged(scorers, name: str) -> None:
    members = spectrograms(9, 30)
    before = [member.copy() for member in members]
    scores_of(scorers[name], members)
    assert all(np.array_equal(a, b) for a, b in zip(members, before, strict=True))


def test_read_only_and_strided_spectrograms_are_scored(scorers) -> None:
    (member,) = spectrograms(20)
    member.setflags(write=False)
    strided = np.repeat(member, 2, axis=0)[::2]
    scored = scores_of(scorers["quality_net"], [member, strided])
    assert np.allclose(scored[0], scored[1], atol=1e-6)


def test_a_scorer_takes_a_bundle_a_path_or_its_string(random_bundles) -> None:
    path = random_bundles["quality_net"]
    members = spectrograms(8)
    made = [Scorer(which) for which in (path, str(path), open_bundle(path))]
    assert [scorer.bundle for scorer in made] == [open_bundle(path)] * 3
    assert all(close(scores_of(scorer, members), scores_of(made[0], members)) for scorer in made[1:])


def test_a_folder_without_a_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        Scorer(tmp_path)


def test_scoring_writes_nothing_to_the_temporary_directory(random_bundles, tmp_path: Path) -> None:
    # In a process of its own, as TensorFlow remembers what it has generated code for.
    program = """
import os, sys, tempfile
import numpy as np
from model.features import NUM_BINS
from model.inference.scorer import Scorer
scorer = Scorer(sys.argv[1])
scorer.score([np.ones((length, NUM_BINS), np.float32) for length in (9, 3, scorer.whole_frames + 1)])
print(os.listdir(tempfile.gettempdir()))
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", program, random_bundles["lc_att"]],
        env={**environment, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


# pad


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any))
@settings(deadline=None, max_examples=30)
def test_pad_stacks_spectrograms_with_zeros_after_them(lengths: list[int]) -> None:
    members = spectrograms(*lengths)
    batch, mask = pad(members)
    assert batch.shape == (len(lengths), max(lengths), NUM_BINS)
    assert (batch.dtype, mask.dtype) == (np.float32, bool)
    assert mask.sum(axis=1).tolist() == lengths
    for row, real, member in zip(batch, mask, members, strict=True):
        assert np.array_equal(row[real], member)
        assert np.array_equal(row[: len(member)], member)
        assert not row[~real].any()


def test_pad_of_equal_lengths_adds_no_padding() -> None:
    batch, mask = pad(spectrograms(7, 7))
    assert mask.all()
    assert np.array_equal(batch, np.stack(spectrograms(7, 7)))
