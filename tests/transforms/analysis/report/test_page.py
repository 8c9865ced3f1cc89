"""The page of a report: whole in itself, and harmless whatever the names in it are."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.labels import PESQ_WB
from tests.support.outputs import rejected, scored, write_output
from transforms.analysis.report.examples import choose, show
from transforms.analysis.report.numbers import measure
from transforms.analysis.report.page import Heading, Html, element, escape, hours, packed, page
from transforms.output.results import open_results

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 2</script>",
    "<!--<script>",
    "\"'><img src=x onerror='window.hacked = 3'>",
    "a&lt;b&amp;\n\t\u202etxt.\\u003c",
    "<a href='javascript:window.hacked = 4'>b</a>",
    "$title ${data} %s {0}",
]
HEADING = Heading(
    HOSTILE[0],
    HOSTILE[1],
    HOSTILE[3],
    "some_net@0123456789ab",
    PESQ_WB,
    1,
    ("2026-01-01", "2026-01-02"),
    ["0.1.0"],
    "now",
)


class Elements(HTMLParser):
    """All elements of a page with their attributes, and the text in those of some kinds."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.within: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "input", "source", "meta"):
            self.within.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.within.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self.within:
            self.text[self.within[-1]][-1] += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page in which everything that has a name has a hostile one."""
    utterances = [scored(name, 2.0 + n / 5, columns={HOSTILE[3]: name}, format=name) for n, name in enumerate(HOSTILE)]
    rejects = [dataclasses.replace(rejected(name), detail=name) for name in ("lost" + name for name in HOSTILE)]
    root = write_output(tmp_path_factory.mktemp("page") / "out", utterances, rejects, carry=[HOSTILE[3]])
    results = open_results(str(root))
    data = measure(results.connect(), results.carried, PESQ_WB)
    chosen, found = choose(results, 2)
    return page(HEADING, data, chosen, show(found, list(found), PESQ_WB, 5.0, 0), 2.5)


@pytest.fixture(scope="module")
def elements(written: str) -> Elements:
    return Elements(written)


def test_nothing_of_the_page_is_elsewhere(elements):
    for tag, attributes in elements.found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "href", "data", "action", "poster"):
                assert value is not None
                assert value.startswith(("data:", "#")), (tag, name, value[:80])
    (style,) = elements.text["style"]
    assert "url(" not in style
    assert "@import" not in style


def test_only_our_scripts_may_run_and_nothing_may_be_fetched(elements):
    scripts = [a for tag, a in elements.found if tag == "script"]
    assert [script.get("type") for script in scripts] == ["application/json", None, None]
    (policy,) = [a["content"] for tag, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|'unsafe-eval'|script-src[^;]*'unsafe-inline'", policy)
    for code in elements.text["script"][1:]:
        assert base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() in policy


def test_hostile_names_are_text_and_nothing_else(elements):
    assert not [a for tag, a in elements.found if a.get("src") == "x"]
    shown = " ".join(text for texts in elements.text.values() for text in texts)
    for name in HOSTILE[:4]:
        assert name in shown
    assert "\u202e" not in shown
    assert "\\u202e" in shown
    data = json.loads(elements.text["script"][0])
    assert {group["name"] for group in data["groups"][1]} == set(HOSTILE)


def test_all_that_is_shown_has_a_name(elements):
    ids = {a["id"] for _, a in elements.found if "id" in a}
    assert len(ids) == sum("id" in a for _, a in elements.found), "an id stands twice"
    labelled = {a["for"] for tag, a in elements.found if tag == "label" and "for" in a}
    for tag, attributes in elements.found:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attributes.get(name) or "").split()) <= ids
        if tag == "img":
            assert attributes["alt"]
        if tag in ("input", "select", "audio") and attributes.get("type") != "radio":
            assert attributes.get("aria-label") or attributes["id"] in labelled
        if attributes.get("role") == "img":
            assert attributes["aria-labelledby"]
            assert attributes["aria-describedby"]
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
@example("<>&\"'\n\t")
@example("\u0646\u200c\u0645")
def test_text_comes_through_as_it_is(text):
    parsed = Elements(element("p", text, title=text))
    assert parsed.text["p"] == [text]
    assert parsed.found == [("p", {"title": text})]
    assert escape(Html("<b>")) == "<b>"


@pytest.mark.parametrize("sign", ["\0", "\r", "\x1b", "\x9f", "\u202e", "\u2066", "\ud800", "\ufeff"])
def test_what_would_hide_a_name_is_shown(sign):
    assert escape(f"a{sign}b") == f"a\\u{ord(sign):04x}b"


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_numbers_are_packed_as_their_bytes(values):
    unpacked = np.frombuffer(base64.b64decode(packed(np.array(values, np.int64), "<u4")), "<u4")
    assert unpacked.tolist() == values


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0000"), (31.92, "0.0089"), (3600, "1.00"), (360_000, "100.0"), (4e9, "1,111,111.1")]
)
def test_hours_have_the_digits_they_need(seconds, text):
    assert hours(seconds) == text
