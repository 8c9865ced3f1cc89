"""The page of a report: it contains everything it shows, and hostile names in it are harmless."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.labels import PESQ_WB
from tests.benchmarks.report import write_large
from tests.support.outputs import diagnosis_of, rejected, scored, write_output
from tests.support.web.html_elements import Elements
from transforms.analysis.report.examples import choose_examples, make_examples
from transforms.analysis.report.numbers import report_data
from transforms.analysis.report.page import Heading, _digits, filter_command, length, render_page
from transforms.analysis.report.presets import preset_amounts
from transforms.output.results import open_results
from transforms.schemas import ANOMALIES, FRAMES, UTTERANCES

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


def page_of(root: Path) -> str:
    results = open_results(str(root))
    data = report_data(results.connect(), results.carried, PESQ_WB)
    chosen, utterances = choose_examples(results, 2, 2.5)
    examples = make_examples(utterances, list(utterances), PESQ_WB, 5.0, 0)
    return render_page(HEADING, data, preset_amounts(results), chosen, examples, 2.5)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page in which every name is hostile."""
    utterances = [scored(name, 2.0 + n / 5, columns={HOSTILE[3]: name}, format=name) for n, name in enumerate(HOSTILE)]
    rejects = [dataclasses.replace(rejected(name), detail=name) for name in ("lost" + name for name in HOSTILE)]
    root = write_output(tmp_path_factory.mktemp("page") / "out", utterances, rejects, carry=[HOSTILE[3]])
    return page_of(root)


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    return Elements(page)


def test_the_page_refers_to_nothing_outside(elements):
    for tag, attributes in elements.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "href", "data", "action", "poster"):
                assert value is not None
                assert value.startswith(("data:", "#")), (tag, name, value[:80])
    (style,) = elements.text["style"]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_only_the_embedded_scripts_and_no_network(elements):
    scripts = [a for tag, a in elements.elements if tag == "script"]
    assert [script.get("type") for script in scripts] == ["application/json", None, None]
    (policy,) = [a["content"] for tag, a in elements.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|'unsafe-eval'|script-src[^;]*'unsafe-inline'", policy)
    for code in elements.text["script"][1:]:
        assert base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() in policy


def test_hostile_names_are_shown_as_text(elements):
    assert not [a for tag, a in elements.elements if a.get("src") == "x"]
    shown = " ".join(text for texts in elements.text.values() for text in texts)
    for name in HOSTILE[:4]:
        assert name in shown
    assert "\u202e" not in shown
    assert "\\u202e" in shown
    data = json.loads(elements.text["script"][0])
    assert {group["name"] for group in data["groups"][1]} == set(HOSTILE)


def test_every_element_has_an_accessible_name(elements):
    ids = {a["id"] for _, a in elements.elements if "id" in a}
    assert len(ids) == sum("id" in a for _, a in elements.elements), "an id occurs twice"
    labelled = {a["for"] for tag, a in elements.elements if tag == "label" and "for" in a}
    for tag, attributes in elements.elements:
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
    levels = [int(tag[1]) for tag, _ in elements.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_causes_are_counted_and_shown_with_the_examples(tmp_path):
    root = write_output(tmp_path / "out", [scored("a", 2.0, dropout_s=0.5, hum_db=-20.0), scored("b", 4.0)])
    text = Elements(page_of(root)).text
    assert {"dropouts", "hum", "(no cause)"} <= set(text["th"])
    assert {"dropouts, hum", "none"} <= set(text["dd"])


def test_what_the_model_hears_is_shown_if_it_hears_anything(tmp_path):
    item = scored("a", 2.0, diagnosis=diagnosis_of(249, spans={"music": [(0, 200)]}, snr_db=12.0))
    heard = Elements(page_of(write_output(tmp_path / "heard", [item]))).text
    assert {"12 dB", "sig 4.0, bak 3.9, ovrl 3.5", "music"} <= set(heard["dd"])
    assert "Music (s)" in heard["th"]
    trained = frozenset({"speech", "snr_db", "mos_bak"})
    part = dataclasses.replace(item, diagnosis=dataclasses.replace(item.diagnosis, trained=trained))
    some = Elements(page_of(write_output(tmp_path / "some", [part]))).text
    assert {"12 dB", "unknown", "bak 3.9"} <= set(some["dd"])
    assert "Music (s)" not in some["th"]
    unheard = Elements(page_of(write_output(tmp_path / "unheard", [scored("a", 2.0)]))).text
    assert "40 dB" in unheard["dd"]
    assert "Music (s)" not in unheard["th"]


def test_the_made_up_output_of_the_benchmark_has_all_columns(tmp_path):
    write_large(tmp_path / "out", 60)
    results = open_results(str(tmp_path / "out"))
    for table, schema in (("utterances", UTTERANCES), ("frames", FRAMES), ("anomalies", ANOMALIES)):
        rows = results.dataset(table).to_table()
        assert rows.schema.names[: len(schema)] == schema.names
        always_null = {name for name in rows.schema.names if rows[name].null_count == len(rows)}
        assert always_null <= {"channel", "hum_db"}
    assert "Music (s)" in Elements(page_of(tmp_path / "out")).text["th"]


def test_an_output_without_the_column_of_causes_has_a_page(tmp_path):
    """Version 0.1.0 wrote no causes."""
    root = write_output(tmp_path / "out", [scored("a", 2.0)])
    (path,) = (root / "utterances").glob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["causes", "longest_gap_s", "dropout_s"]), path)
    text = Elements(page_of(root)).text
    assert "unknown" in text["dd"]
    assert "(no cause)" not in text["th"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0 s"), (31.92, "31.9 s"), (90, "1.5 min"), (3600, "1.0 h"), (4e9, "1,111,111.1 h")]
)
def test_a_length_has_the_unit_that_suits_it(seconds, text):
    assert length(seconds) == text


def test_small_numbers_keep_their_sign_and_lose_their_digits():
    numbers = (-0.000384, -3e-5, 0.0, 0.0391, 12.345, -77.23, 8_000)
    assert [_digits(value) for value in numbers] == ["-0.0004", "0", "0", "0.0391", "12.3", "-77.2", "8,000"]


def test_the_command_is_quoted_for_a_shell():
    command = filter_command("/a corpus/it's", 3.0)
    assert shlex.split(command) == [
        "audiosieve",
        "filter",
        "/a corpus/it's",
        "--output",
        "kept",
        "--where",
        "score >= 3.00",
    ]


def test_other_files_are_counted_apart(tmp_path):
    rejects = [
        rejected("a.flac"),
        rejected("b.wav"),
        *(rejected(name) for name in (".DS_Store", "c/notes.txt", "c.png")),
    ]
    text = Elements(page_of(write_output(tmp_path / "out", [scored("a", 2.0)], rejects))).text
    assert "recordings without a score; 3 other files skipped" in text["small"]
    assert "3 other files skipped, such as texts and pictures" in text["summary"]
    assert any(line.startswith("2 recordings got no score.") for line in text["p"])


def test_a_column_of_texts_is_named_but_not_offered(tmp_path):
    items = [
        scored(f"a{n}", 2.0, columns={"text": f"this is sentence number {n}", "room": f"{n % 2}"}) for n in range(4)
    ]
    text = Elements(page_of(write_output(tmp_path / "out", items, carry=["text", "room"]))).text
    assert "text" not in text["option"]
    assert "room" in text["option"]
    assert "text" in text["code"]
