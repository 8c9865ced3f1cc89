"""Types of options: what they read, and what they say about other text."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.common.argument_types import (
    Range,
    channels,
    existing_file,
    fraction,
    names_of,
    number,
    number_range,
    path_ending_in,
    positive_int,
    ranges,
    whole_number,
)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (positive_int, "1", 1),
        (whole_number(at_least=0, at_most=65_535), "0", 0),
        (whole_number(), "-7", -7),
        (fraction, "1", 1.0),
        (number(over=0), "1e-9", 1e-9),
        (number(over=0, infinite=True), "inf", float("inf")),
        (number_range(), "-10:30", (-10.0, 30.0)),
        (number_range(), "1:", (1.0, 1.0)),
        (number_range(at_least=1, whole=True), "2", (2, 2)),
        (ranges, "-5,0:20", ((-5.0, -5.0), (0.0, 20.0))),
        (names_of(["a", "b"]), "b,a", ("b", "a")),
        (channels(), "12", "12"),
        (channels(each=True), "each", "each"),
        (path_ending_in(".png", ".svg"), "a.b.PNG", "a.b.PNG"),
    ],
)
def test_text_within_the_limits_is_read(read: Callable[[str], Any], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (positive_int, "0", "is 0; must be at least 1"),
        (positive_int, "many", "is 'many'; must be a whole number, at least 1"),
        (whole_number(at_least=0, at_most=65_535), "65536", "is 65536; must be from 0 to 65535"),
        (whole_number(), "1.5", "is '1.5'; must be a whole number"),
        (fraction, "1.01", "is 1.01; must be from 0 to 1"),
        (number(over=0, under=1), "1", "is 1; must be over 0 and under 1"),
        (number(over=0, at_most=1), "0", "is 0; must be over 0 and at most 1"),
        (number(), "nan", "is nan; must be a finite number"),
        (number(over=0), "inf", "is inf; must be a finite number, over 0"),
        (number(over=0, infinite=True), "nan", "is nan; must be a finite number, over 0"),
        (number(at_least=0), "", "is ''; must be a number, at least 0"),
        (number_range(), "loud", "is 'loud'; must be a number or LOW:HIGH"),
        (number_range(), "2:1", "is '2:1'; the lower end must come first"),
        (number_range(), "nan", "is 'nan'; both ends must be finite"),
        (number_range(at_most=0, because="of noise"), "-1:1", "is '-1:1'; must be at most 0, because of noise"),
        (number_range(whole=True), "1.5", "is '1.5'; both ends must be whole numbers"),
        (ranges, "1,", "is ''; must be a number or LOW:HIGH"),
        (names_of(["a", "b"]), "a,c", "is 'a,c'; 'c' is unknown, choose from a, b"),
        (
            channels(advice="not here"),
            "each",
            "is 'each'; must be auto, mix, first or the number of a channel from 0; not here",
        ),
        (channels(), "-1", "is '-1'; must be auto, mix, first or the number of a channel from 0"),
        (path_ending_in(".png", ".svg"), "png", "is 'png'; its name must end in .png or .svg"),
    ],
)
def test_other_text_is_refused_with_its_limits(read: Callable[[str], Any], text: str, message: str) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        read(text)
    assert str(caught.value) == message


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e6))
def test_a_range_is_read_as_it_is_spelled(low: float, length: float) -> None:
    one = Range(low, low + length)
    assert number_range()(str(one)) == one


def test_a_file_must_exist(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert existing_file(str(tmp_path / "a")) == str(tmp_path / "a")
    with pytest.raises(ArgumentTypeError, match="is a folder; name files"):
        existing_file(str(tmp_path))
    with pytest.raises(ArgumentTypeError, match="there is no such file"):
        existing_file(str(tmp_path / "b"))
