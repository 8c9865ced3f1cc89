"""The places of texts on a page."""

from __future__ import annotations

import itertools
from typing import Any

# The texts of each element that the selector finds, with their boxes.
_BOXES = """(selector) => [...document.querySelectorAll(selector)].map((node) =>
    [...node.querySelectorAll("span, li")].map((text) => [text.textContent, text.getBoundingClientRect().toJSON()]))"""


def misplaced(tab: Any, selector: str, width: int) -> list[tuple[str, ...]]:
    """Returns texts outside the width of the window, and pairs of texts of the same element that cover each other.

    Args:
        tab: page of Playwright.
        selector: CSS selector of the elements; each must contain a text.
        width: width of the window.
    """
    found: list[tuple[str, ...]] = []
    for texts in tab.evaluate(_BOXES, selector):
        assert texts
        found += [(text,) for text, box in texts if box["x"] < 0 or box["right"] > width]
        for (text, one), (other_text, other) in itertools.combinations(texts, 2):
            if all(
                min(one[end], other[end]) - max(one[start], other[start]) > 1
                for start, end in (("x", "right"), ("y", "bottom"))
            ):
                found.append((text, other_text))
    return found
