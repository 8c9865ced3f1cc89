"""An utterance is found by its id or its recording; an unknown name gets suggestions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.diagnosis import HEARD_CAUSES, NO_CAUSE
from tests.support.outputs import diagnosis_of, rejected, scored, write_output
from transforms.analysis.lookup import find_utterance, load
from transforms.errors import OutputError
from transforms.output.results import Results, open_results

BAD_MIDDLE = np.array([4.0] * 400 + [1.0] * 100 + [4.0] * 400, np.float32)
RISING = np.linspace(3.5, 4, 500, dtype=np.float32)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    root = tmp_path_factory.mktemp("lookup") / "out"
    heard = diagnosis_of(500, spans={"hum": [(10, 20)]})
    rising = scored("rising", RISING, diagnosis=heard)
    write_output(root, [scored("speaker/burst.flac", BAD_MIDDLE), rising], [rejected("lost.flac")])
    long = [scored(f"long#{n}", 3.0, uri="/corpus/long.flac", start_s=4.0 * n) for n in range(5)]
    return open_results(str(write_output(root, long)))


def test_an_utterance_is_found_with_all_its_rows(results):
    for name in ("speaker/burst.flac", "/corpus/speaker/burst.flac"):
        found = find_utterance(results, name)
        assert found.row["utterance_id"] == "speaker/burst.flac"
        assert np.array_equal(found.frame_score, BAD_MIDDLE)
        ((start, end),) = found.anomalies
        assert (start, end) == pytest.approx((6.4, 8.0), abs=0.1)


def test_several_utterances_are_loaded_in_the_order_of_their_ids(results):
    found = load(results, ["rising", "speaker/burst.flac"])
    assert list(found) == ["rising", "speaker/burst.flac"]
    assert np.array_equal(found["rising"].frame_score, RISING)
    assert found["rising"].anomalies == []
    causes = np.full(500, NO_CAUSE)
    causes[10:20] = HEARD_CAUSES.index("hum")
    assert np.array_equal(found["rising"].frame_causes, causes)
    assert found["speaker/burst.flac"].frame_causes is None
    assert load(results, []) == {}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("burst.flac", r"\(did you mean 'speaker/burst.flac'\?\)"),
        ("speaker/brst.flac", r"\(did you mean 'speaker/burst.flac'\?\)"),
        ("rissing", r"\(did you mean 'rising'\?\)"),
        ("0000", "no such utterance or recording in .*out$"),
        ("lost.flac", r"was rejected in .*: corrupt \(decode: for people\)"),
        ("/corpus/lost.flac", r"was rejected in .*: corrupt \(decode: for people\)"),
        (
            "/corpus/long.flac",
            r"has 5 utterances in .*; give the id of one, such as 'long#0', 'long#1', 'long#2', \.\.\.",
        ),
    ],
)
def test_an_unknown_rejected_or_ambiguous_name_is_an_error(results, name, message):
    with pytest.raises(OutputError, match=message):
        find_utterance(results, name)


def test_a_path_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    results = open_results(str(write_output(tmp_path / "out", [scored("a", 3.0, uri=f"{tmp_path}/audio/a.wav")])))
    monkeypatch.chdir(tmp_path)
    assert find_utterance(results, "audio/a.wav").row["utterance_id"] == "a"
