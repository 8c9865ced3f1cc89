"""The Python API: its scores are those of the command, its examples work, and its import is light."""

from __future__ import annotations

import doctest
import pydoc
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile

import audiosieve
from model.bundle import DEFAULT, open_bundle
from tests.support.command import Output
from tests.support.paths import ROOT
from transforms.errors import Reason

pytestmark = pytest.mark.slow
TOLERANCE = 1e-3
PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_the_examples_of_the_docstrings_work(sample_run: Output, samples: Path, tmp_path: Path) -> None:
    names = {"samples": samples, "output": sample_run.root, "folder": tmp_path}
    tests = doctest.DocTestFinder(recurse=True).find(audiosieve, extraglobs=names)
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False) == (0, runner.tries)
    assert {test.name.rpartition(".")[2] for test in tests if test.examples} >= {"score", "plot", "open_run", "filter"}


def test_the_examples_of_the_pages_work(
    sample_run: Output, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scores").symlink_to(sample_run.root)
    (tmp_path / "take1.flac").symlink_to(samples / "burst.flac")
    monkeypatch.chdir(tmp_path)
    count = 0
    for page in PAGES:
        names: dict = {}
        for example in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            if "import audiosieve" in example:
                exec(compile(example, str(page), "exec"), names)
                count += 1
    assert count >= 4


def test_an_output_is_shown_in_one_line_and_in_a_notebook_as_a_table(sample_run: Output, tmp_path: Path) -> None:
    run = audiosieve.open_run(sample_run.root)
    model = open_bundle(DEFAULT).model_id
    assert repr(run) == f"<Results of {sample_run.root}: {model}, 1 run>"
    shown = run._repr_html_()
    cells = dict(re.findall("<tr><th>(.*?)</th><td>(.*?)</td></tr>", shown))
    assert cells["model"] == model
    assert cells["corpus"] == run.source
    assert cells["utterances"] == f"{len(sample_run.utterances)} rows"
    assert cells["frames"] == f"{len(sample_run.frames):,} rows"
    assert len(shown) < 2_000
    # Names come from the corpus and the disk, and a table may be lost.
    copy = tmp_path / "a<b>&c"
    shutil.copytree(sample_run.root, copy)
    run = audiosieve.open_run(copy)
    shutil.rmtree(copy / "frames")
    shown = run._repr_html_()
    assert "a&lt;b&gt;&amp;c</caption>" in shown
    assert "<b>" not in shown
    assert re.search("<th>frames</th><td>cannot be read .*</td>", shown)


def in_a_process(code: str) -> str:
    """Runs Python code in a new process and returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_loads_nothing_heavy_and_shows_its_documentation() -> None:
    code = """
        import pydoc, sys
        import audiosieve
        assert {*audiosieve.__all__} <= {*dir(audiosieve)}
        print(pydoc.render_doc(audiosieve.score, renderer=pydoc.plaintext))
        print("loaded:", {"tensorflow", "keras", "apache_beam", "duckdb", "pyarrow", "matplotlib"} & {*sys.modules})
    """
    printed = in_a_process(code)
    assert "score(recording" in printed
    assert "Scores a recording." in printed
    assert printed.endswith("loaded: set()\n")


def test_every_public_name_is_there_and_others_are_not() -> None:
    assert all(getattr(audiosieve, name) for name in audiosieve.__all__)
    assert issubclass(audiosieve.RuleError, ValueError)
    assert audiosieve.Reason.CORRUPT == "corrupt"
    with pytest.raises(AttributeError, match="no attribute 'scoer'"):
        _ = audiosieve.scoer  # type: ignore[attr-defined]
    for name in audiosieve.__all__:
        assert name in pydoc.plaintext.document(audiosieve) or name == "__version__"


def test_the_types_are_known_to_a_type_checker(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(
        textwrap.dedent("""
            import audiosieve
            from audiosieve import AudioFault, Results, Score

            def scores(paths: list[str]) -> list[Score]:
                return [audiosieve.score(path, model="quality_net_v1") for path in paths]

            def kept(run: Results) -> int:
                return len(audiosieve.filter(run, where="score > 3"))

            reveal_type(audiosieve.score("a.flac").anomalies[0].start_s)
            audiosieve.score(5)
            audiosieve.scoer("a.flac")
        """)
    )
    mypy = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        "pyproject.toml",
        "--no-incremental",
        str(tmp_path / "user.py"),
    ]
    done = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.search(r'Revealed type is "(builtins\.)?float"', done.stdout)
    assert 'has incompatible type "int"' in done.stdout
    assert 'Module has no attribute "scoer"' in done.stdout
    assert "Found 2 errors in 1 file" in done.stdout


def test_the_module_runs_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "audiosieve", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == f"audiosieve {audiosieve.__version__}\n"


def test_a_score_is_that_of_the_command(sample_run: Output, samples: Path) -> None:
    frames = sample_run.frame_scores
    for row in sample_run.utterances:
        found = audiosieve.score(samples / row["utterance_id"])
        assert found.score == pytest.approx(row["score"], abs=TOLERANCE)
        np.testing.assert_allclose(found.frame_score, frames[row["utterance_id"]], atol=TOLERANCE)
        assert found.flags == row["flags"]
        assert found.duration_s == pytest.approx(row["duration_s"])
        assert (found.sample_rate, found.channels) == (row["sample_rate"], row["channels"])
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
def test_an_array_scores_like_its_file(samples: Path, name: str, kind: str) -> None:
    audio, rate = soundfile.read(samples / name, dtype=kind)
    of_array, of_file = audiosieve.score(audio, rate), audiosieve.score(samples / name)
    np.testing.assert_allclose(of_array.frame_score, of_file.frame_score, atol=TOLERANCE)
    assert (of_array.score, of_array.facts) == (pytest.approx(of_file.score, abs=TOLERANCE), of_file.facts)


def test_a_long_array_scores_like_its_file(samples: Path, tmp_path: Path) -> None:
    clean, burst = (soundfile.read(samples / f"{name}.flac", dtype="int16")[0] for name in ("clean", "burst"))
    audio, rate = np.tile(np.concatenate([clean, burst]), 17), 16_000
    soundfile.write(tmp_path / "long.flac", audio, rate)
    of_array, of_file = audiosieve.score(audio, rate), audiosieve.score(str(tmp_path / "long.flac"))
    assert of_array.duration_s > 120
    np.testing.assert_allclose(of_array.frame_score, of_file.frame_score, atol=TOLERANCE)
    assert len(of_array.anomalies) == len(of_file.anomalies) == 17


def test_a_model_can_be_selected(samples: Path) -> None:
    path = open_bundle("quality_net_v1").path
    by_name, by_path = (audiosieve.score(samples / "clean.flac", model=model) for model in ("quality_net_v1", path))
    assert by_name.model_id == by_path.model_id == open_bundle("quality_net_v1").model_id
    assert by_name.score == by_path.score
    with pytest.raises(audiosieve.BundleError, match="no model 'nothing'"):
        audiosieve.score(samples / "clean.flac", model="nothing")


def test_a_score_is_shown_in_one_line(samples: Path) -> None:
    text = repr(audiosieve.score(samples / "clipped.flac"))
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
def test_a_recording_that_cannot_be_scored_is_a_fault_with_its_reason(recording: object, reason: Reason) -> None:
    with pytest.raises(audiosieve.AudioFault) as fault:
        audiosieve.score(recording, *([16_000] if isinstance(recording, np.ndarray) else []))  # type: ignore[arg-type]
    assert fault.value.reason == reason


@pytest.mark.parametrize(
    ("recording", "rate", "error", "said"),
    [
        (np.ones(16_000), None, TypeError, "sample_rate is missing"),
        ("some.flac", 16_000, TypeError, "sample_rate is only for arrays"),
        (np.ones(16_000), 0, ValueError, "sample_rate is 0"),
        (np.ones(16_000), 44_100.5, ValueError, "sample_rate is 44100.5"),
        (np.ones((2, 16_000)), 16_000, ValueError, "transpose them"),
        (np.ones((9, 9, 9)), 16_000, ValueError, r"have the shape \[9, 9, 9\]"),
        (np.ones(16_000, complex), 16_000, TypeError, "samples are complex128"),
        (np.ones(16_000, np.int64), 16_000, TypeError, "samples are int64"),
    ],
)
def test_invalid_arguments_are_refused(recording, rate, error, said) -> None:
    with pytest.raises(error, match=said):
        audiosieve.score(recording, rate)
