"""Fonts for titles: letters that the own font lacks are drawn in fonts of the machine, or as boxes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.labels import PESQ_WB
from tests.support.figures.fonts import make_font
from transforms.analysis.figure import FigureData, draw
from transforms.analysis.title_fonts import BOX, OWN_FONT, choose_fonts


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("fonts")
    (folder / "damaged.ttf").write_bytes(b"no font")
    return [
        make_font(folder / "a.ttf", "One Letter", "世"),
        make_font(folder / "b.ttf", "Two Letters", "世界"),
        make_font(folder / "c.ttf", "Indian", "हिन्दी"),
        str(folder / "damaged.ttf"),
    ]


def test_the_font_with_the_most_letters_is_taken(fonts):
    assert choose_fonts("a世界", fonts).families == [OWN_FONT, "Two Letters"]
    assert choose_fonts("世界 हिन्दी", fonts).families == [OWN_FONT, "Indian", "Two Letters"]


def test_the_own_font_is_enough_for_its_letters(fonts):
    for text in ("take1.flac", "Übung", "запись", "ηχογράφηση", "تسجيل", ""):
        choice = choose_fonts(text, fonts)
        assert (choice.families, choice.missing, choice.hint) == ([OWN_FONT], "", "")


def test_letters_without_a_font_are_boxes_with_one_hint(fonts):
    choice = choose_fonts("a世録音録.flac", fonts)
    assert choice.missing == "録音"
    assert choice.drawable("a世録音録.flac") == f"a世{BOX}{BOX}{BOX}.flac"
    assert "'録音'" in choice.hint
    assert "install a font" in choice.hint


@settings(max_examples=30, deadline=None)
@given(st.text("a世界हिन्दी録 ", max_size=20))
def test_each_letter_has_a_font_or_is_missing(fonts, text):
    choice = choose_fonts(text, fonts)
    assert set(choice.missing) == set(text) & {"録"}
    assert set(choice.drawable(text)) - {BOX} <= set("a世界हिन्दी ")


@pytest.mark.parametrize("name", ["日本語の録音", "تسجيل صوتي", "हिन्दी रिकॉर्डिंग", "한국어", "🎤"])
def test_a_title_in_any_script_is_drawn_without_warnings(name):
    data = FigureData(name, None, 3.0, np.full(186, 4.0, np.float32), [], PESQ_WB)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw(data)
    assert len(figure.get_suptitle()) == len(name)
