"""From frame scores to the score of the utterance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.pooling import pool

frame_scores = st.lists(st.floats(1, 4.625, width=32), min_size=1, max_size=50)


@given(frame_scores)
def test_an_utterances_score_is_the_mean_of_its_frames(scores: list[float]) -> None:
    pooled = pool(np.array(scores, np.float32))
    assert type(pooled) is float
    assert pooled == pytest.approx(sum(scores) / len(scores), rel=1e-6)


@given(frame_scores)
def test_an_utterances_score_lies_between_those_of_its_frames(scores: list[float]) -> None:
    assert min(scores) - 1e-9 <= pool(np.array(scores, np.float32)) <= max(scores) + 1e-9


def test_ten_hours_of_frames_lose_no_precision() -> None:
    assert pool(np.full(2_250_000, 3.3, np.float32)) == pytest.approx(np.float32(3.3), abs=1e-9)
