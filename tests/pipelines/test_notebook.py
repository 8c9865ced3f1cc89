"""The Python API: its scores are those of the command, and its examples work."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.bundle import DEFAULT, BundleError, open_bundle
from pipelines import notebook
from tests.support.command import Output
from transforms.errors import AudioFault, Reason

pytestmark = pytest.mark.slow
TOLERANCE = 1e-3


def test_the_examples_of_the_docstrings_work(sample_run: Output, samples: Path, tmp_path: Path) -> None:
    names = {"samples": samples, "output": sample_run.root, "folder": tmp_path}
    tests = doctest.DocTestFinder(recurse=True).find(notebook, extraglobs=names)
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False) == (0, runner.tries)
    assert {test.name.rpartition(".")[2] for test in tests if test.examples} >= {"score", "plot", "open_run", "filter"}


def test_a_score_is_that_of_the_command(sample_run: Output, samples: Path) -> None:
    frames = sample_run.frame_scores
    for row in sample_run.utterances:
        found = notebook.score(samples / row["utterance_id"])
        assert found.score == pytest.approx(row["score"], abs=TOLERANCE)
        np.testing.assert_allclose(found.frame_score, frames[row["utterance_id"]], atol=TOLERANCE)
        assert found.flags == row["flags"]
        assert (found.duration_s, found.sample_rate, found.channels) == (
            pytest.approx(row["duration_s"]), row["sample_rate"], row["channels"],
        )  # fmt: skip
        assert found.facts.bandwidth_hz == pytest.approx(row["bandwidth_hz"])
        assert [(bad.start_s, bad.end_s) for bad in found.anomalies] == [
            (pytest.approx(bad["start_s"], abs=1e-4), pytest.approx(bad["end_s"], abs=1e-4))
            for bad in sample_run.anomalies
            if bad["utterance_id"] == row["utterance_id"]
        ]
        assert found.model_id == row["model_id"]
        assert np.diff(found.start_s) == pytest.approx(0.016)


@pytest.mark.parametrize("kind", ["float64", "float32", "int16", "int32"])
@pytest.mark.parametrize("name", ["stereo_48k.flac", "clipped.flac"])
def test_an_array_scores_as_its_file(samples: Path, name: str, kind: str) -> None:
    audio, rate = soundfile.read(samples / name, dtype=kind)
    of_array, of_file = notebook.score(audio, rate), notebook.score(samples / name)
    np.testing.assert_allclose(of_array.frame_score, of_file.frame_score, atol=TOLERANCE)
    assert (of_array.score, of_array.facts) == (pytest.approx(of_file.score, abs=TOLERANCE), of_file.facts)


def test_a_long_array_is_scored_as_it_is_in_a_file(samples: Path, tmp_path: Path) -> None:
    audio, rate = soundfile.read(samples / "burst.flac", dtype="int16")
    audio = np.tile(audio, 35)
    soundfile.write(tmp_path / "long.flac", audio, rate)
    of_array, of_file = notebook.score(audio, rate), notebook.score(str(tmp_path / "long.flac"))
    assert of_array.duration_s > 120
    np.testing.assert_allclose(of_array.frame_score, of_file.frame_score, atol=TOLERANCE)
    assert len(of_array.anomalies) == len(of_file.anomalies) > 30


def test_another_model_can_be_asked_for(samples: Path) -> None:
    path = open_bundle("quality_net_v1").path
    by_name, by_path = (notebook.score(samples / "clean.flac", model=model) for model in ("quality_net_v1", path))
    assert by_name.model_id == by_path.model_id == open_bundle("quality_net_v1").model_id
    assert by_name.score == by_path.score
    with pytest.raises(BundleError, match="no model 'nothing'"):
        notebook.score(samples / "clean.flac", model="nothing")


def test_it_shows_in_a_line(samples: Path) -> None:
    text = repr(notebook.score(samples / "clipped.flac"))
    assert re.fullmatch(rf"<Score \d\.\d\d of 1 to 4\.64, 4\.2 s, \d anomal(y|ies), clipped, {DEFAULT}@\w+>", text)


@pytest.mark.parametrize(
    ("recording", "reason"),
    [
        (np.zeros(16_000), Reason.SILENT),
        (np.full(16_000, np.nan), Reason.NON_FINITE),
        (np.ones(100), Reason.TOO_SHORT),
        (np.empty(0), Reason.TOO_SHORT),
        (np.empty((0, 2)), Reason.TOO_SHORT),
        ("nowhere.flac", Reason.UNREADABLE),
        (Path(__file__), Reason.UNSUPPORTED_FORMAT),
    ],
)
def test_what_cannot_be_heard_is_a_fault_with_its_reason(recording: object, reason: Reason) -> None:
    with pytest.raises(AudioFault) as fault:
        notebook.score(recording, *([16_000] if isinstance(recording, np.ndarray) else []))  # type: ignore[arg-type]
    assert fault.value.reason == reason


@pytest.mark.parametrize(
    ("recording", "rate", "error", "said"),
    [
        (np.ones(16_000), None, TypeError, "sample_rate of an array is missing"),
        ("some.flac", 16_000, TypeError, "sample_rate is for arrays"),
        (np.ones(16_000), 0, ValueError, "sample_rate is 0"),
        (np.ones(16_000), 44_100.5, ValueError, "sample_rate is 44100.5"),
        (np.ones((2, 16_000)), 16_000, ValueError, "transpose them"),
        (np.ones((9, 9, 9)), 16_000, ValueError, r"not of the shape \[9, 9, 9\]"),
        (np.ones(16_000, complex), 16_000, TypeError, "not complex128"),
        (np.ones(16_000, np.int64), 16_000, TypeError, "not int64"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(recording, rate, error, said) -> None:
    with pytest.raises(error, match=said):
        notebook.score(recording, rate)
