"""Texts in HTML are escaped, and invisible characters in them are made visible."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.web.html_elements import Elements
from transforms.analysis.report.html import Html, element, escape


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
@example("<>&\"'\n\t")
@example("\u0646\u200c\u0645")
def test_text_is_shown_unchanged(text):
    parsed = Elements(element("p", text, title=text))
    assert parsed.text["p"] == [text]
    assert parsed.elements == [("p", {"title": text})]
    assert escape(Html("<b>")) == "<b>"


@pytest.mark.parametrize("character", ["\0", "\r", "\x1b", "\x9f", "\u202e", "\u2066", "\ud800", "\ufeff"])
def test_invisible_characters_are_shown_by_number(character):
    assert escape(f"a{character}b") == f"a\\u{ord(character):04x}b"
