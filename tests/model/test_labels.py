"""Labels: the scales and the pseudo-score."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.labels import LABEL_SCALES, PESQ_NB, PESQ_WB, PSEUDO, LabelScale, pseudo_score

decibels = st.floats(allow_nan=False, allow_infinity=True)


@pytest.mark.parametrize(
    ("snr_db", "published"), [(-10.0, 1.0), (-5.0, 2.0), (5.0, 4.0), (10.0, 5.0), (20.0, 7.0), (None, 8.0)]
)
def test_the_pseudo_score_has_the_published_values(snr_db: float | None, published: float) -> None:
    assert pseudo_score(snr_db) == published


@given(decibels, decibels)
def test_a_higher_snr_never_lowers_the_pseudo_score(first: float, second: float) -> None:
    assert pseudo_score(min(first, second)) <= pseudo_score(max(first, second))


@given(st.floats(-9.9, 24.8))
def test_the_pseudo_score_rises_within_the_scale(snr_db: float) -> None:
    assert pseudo_score(snr_db) < pseudo_score(snr_db + 0.1)


@given(st.none() | decibels)
def test_the_pseudo_score_stays_on_its_scale(snr_db: float | None) -> None:
    assert PSEUDO.low <= pseudo_score(snr_db) <= PSEUDO.high


@given(decibels)
def test_a_noisy_clip_is_never_better_than_a_clean_one(snr_db: float) -> None:
    assert pseudo_score(snr_db) <= pseudo_score(None)


def test_the_scales_have_the_names_of_the_options() -> None:
    assert {"pesq-wb": PESQ_WB, "pesq-nb": PESQ_NB, "pseudo": PSEUDO} == LABEL_SCALES
    assert [scale.name for scale in LABEL_SCALES.values()] == list(LABEL_SCALES)


def test_the_scales_have_the_columns_of_the_training_set() -> None:
    assert [scale.column for scale in (PESQ_WB, PESQ_NB, PSEUDO)] == ["pesq_wb", "pesq_nb", "pseudo"]


@pytest.mark.parametrize(
    ("scale", "low", "high", "anchor"),
    [(PESQ_WB, 1.0, 4.64, 4.5), (PESQ_NB, 1.0, 4.55, 4.5), (PSEUDO, 1.0, 8.0, 8.0)],
)
def test_the_ends_and_anchors_of_the_scales(scale: LabelScale, low: float, high: float, anchor: float) -> None:
    assert (scale.low, scale.high, scale.anchor) == (low, high, anchor)
    assert scale.span == pytest.approx(high - low)


def test_every_scale_has_its_own_title() -> None:
    titles = [scale.title for scale in LABEL_SCALES.values()]
    assert all(titles)
    assert len(set(titles)) == len(titles)
