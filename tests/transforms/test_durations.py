"""Lengths of time have the unit that suits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.durations import duration_text

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (12.34, "12.3 s"),
        (59.94, "59.9 s"),
        (59.96, "1.0 min"),
        (2_502.0, "41.7 min"),
        (3_596.9, "59.9 min"),
        (3_597.1, "1.0 h"),
        (4_444_200.0, "1,234.5 h"),
    ],
)
def test_the_unit_suits_the_length(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.floats(0, 1e9))
def test_the_text_is_the_length_to_a_tenth_of_its_unit(seconds: float) -> None:
    number, unit = duration_text(seconds).replace(",", "").split()
    assert float(number) * SECONDS[unit] == pytest.approx(seconds, abs=0.051 * SECONDS[unit])
    assert float(number) < 60 or unit == "h"
    assert float(number) >= 1 or unit == "s"
