"""Tables fit the terminal: whatever their cells are, no line is wider, and nothing but text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.analysis.text_tables import ELLIPSIS, _width, aligned, score_row, score_table, unscored_row, wrapped

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=60)
NUMBERS = st.integers(-1000, 10**6).map(str)


@given(st.lists(st.tuples(TEXTS, NUMBERS, TEXTS), max_size=6), st.integers(45, 120), st.booleans())
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str, str]], width: int, wraps: bool) -> None:
    head, right = ("name", "count", "remarks"), (False, True, False)
    lines = aligned(head, rows, right, width, wraps=wraps).splitlines()
    assert max(map(_width, lines)) <= width
    if not wraps:
        assert len(lines) == len(rows) + 2
    full = aligned(head, rows, right)
    if max(map(_width, full.splitlines())) <= width and not wraps:
        assert "\n".join(lines) == full
    for row, line in zip(rows, lines[2:], strict=False):
        assert wraps or row[1] in line


@given(TEXTS, st.integers(2, 30))
def test_wrapping_loses_no_character(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(_width(line) <= width for line in lines)


def test_the_middle_of_a_text_is_left_out() -> None:
    text = aligned(["uri"], [["/data/speech/speaker-1/recording-0001.flac"]], width=21)
    assert text.splitlines()[-1] == f"/data/spee{ELLIPSIS}-0001.flac"


def test_words_of_the_header_stay_whole() -> None:
    text = aligned(["name", "worst frame"], [["x" * 40, "1.0"]], (False, True), 20)
    assert text.splitlines() == [
        "name           worst",
        "               frame",
        "-" * 20,
        f"xxxx{ELLIPSIS}xxxx        1.0",
    ]


ROW = {"score": 3.25, "frame_score_min": 1.0, "duration_s": 4.0, "flags": []}


@pytest.mark.parametrize("width", [None, 60])
def test_remarks_of_a_score_continue_below_themselves(width: int | None) -> None:
    row = score_row("take1.flac", {**ROW, "flags": ["clipped", "narrow_band"]}, [(0.5, 1.25, None), (2, 3, None)])
    lines = score_table([row], width).splitlines()
    remarks = [line[lines[0].index("remarks") :] for line in lines[2:]]
    assert " ".join(remarks) == "clipped, narrow_band, bad 0.5-1.2 s, bad 2.0-3.0 s"
    assert (len(remarks) == 1) == (width is None)


def test_causes_snr_and_c50_have_columns_if_a_recording_has_them() -> None:
    plain, failed = (
        score_row("a.wav", {**ROW, "causes": [], "snr_db": None}, []),
        unscored_row("c.wav", "corrupt: no header"),
    )
    assert score_table([plain, failed], None).splitlines()[0].split() == [
        "recording",
        "score",
        "worst",
        "frame",
        "length",
        "remarks",
    ]
    values = {"causes": ["second_voice", "noise"], "snr_db": 12.34, "c50_db": None}
    heard = score_row("b.wav", {**ROW, **values}, [(0.5, 1.25, "second_voice")])
    assert score_table([plain, heard, failed], None).splitlines() == [
        "recording  score  worst frame  length      SNR  causes               remarks",
        "-" * 97,
        "a.wav       3.25         1.00   4.0 s",
        "b.wav       3.25         1.00   4.0 s  12.3 dB  second voice, noise  bad 0.5-1.2 s (second voice)",
        "c.wav          -            -       -                                corrupt: no header",
    ]
