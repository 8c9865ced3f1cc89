"""`audiosieve score`: wrong options end the command before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MISTAKES = {
    "an empty directory": (["--input", "EMPTY", "--output", "OUT"], "the directory holds no file"),
    "no name": (["--input", "", "--output", "OUT"], "empty name"),
    "a glob that takes in the output": (["--input", "SAMPLES/**", "--output", "SAMPLES/../audio"], "lies in --input"),
    "a missing path": (["--input", "EMPTY/nowhere", "--output", "OUT"], "there is no such file or directory"),
    "a missing manifest": (["--input", "EMPTY/none.csv", "--output", "OUT"], "there is no such manifest"),
    "an unwritable output": (["--input", "SAMPLES", "--output", "/dev/null/out"], "cannot write there"),
    "an output within the input": (["--input", "SAMPLES", "--output", "SAMPLES/out"], "lies in --input"),
    "an unknown model": (["--input", "SAMPLES", "--output", "OUT", "--model", "qualty_net"], "no model 'qualty_net'"),
    "a misspelt option": (
        ["--input", "SAMPLES", "--outptu", "OUT"],
        "unknown option --outptu (did you mean --output?)",
    ),
    "a misspelt Beam option": (
        ["--input", "SAMPLES", "--output", "OUT", "--direct_num_worker=2"],
        "(did you mean --direct_num_workers?)",
    ),
    "an unknown runner": (["--input", "SAMPLES", "--output", "OUT", "--runner", "SparkleRunner"], "SparkleRunner"),
    "no workers": (["--input", "SAMPLES", "--output", "OUT", "--direct_num_workers=-1"], "is -1; must be at least 0"),
    "no output": (["--input", "SAMPLES"], "--output is missing"),
    "no input": (["--output", "OUT"], "--input"),
    "an impossible batch size": (
        ["--input", "SAMPLES", "--output", "OUT", "--batch_size", "0"],
        "--batch_size is 0; must be at least 1",
    ),
    "a word for a number": (
        ["--input", "SAMPLES", "--output", "OUT", "--batch_size", "many"],
        "--batch_size is 'many'; must be a whole number, at least 1",
    ),
}
PROBE = """
import sys
from pipelines.cli import main
status = main(sys.argv[1:])
assert "tensorflow" not in sys.modules, "TensorFlow was loaded"
sys.exit(status)
"""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_one_sentence_before_tensorflow_is_loaded(
    mistake: str, samples: Path, tmp_path: Path
) -> None:
    arguments, sentence = MISTAKES[mistake]
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": str(tmp_path / "empty"), "SAMPLES": str(samples), "OUT": str(tmp_path / "out")}
    for word, place in places.items():
        arguments = [argument.replace(word, place) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, "score", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert sentence in done.stderr
    assert done.stderr.startswith("audiosieve score: ")
    assert done.stderr.count("\n") == 1


def test_scoring_loads_no_module_of_scipy_that_takes_long_to_import() -> None:
    code = "import sys, pipelines.score; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"scipy.signal", "scipy.stats"} & set(done.stdout.split())
