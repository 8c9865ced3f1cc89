"""A recording that kills or hangs its decoder costs itself only."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

HOOK = ROOT / "tests" / "support" / "crashing"


def write(path: Path, comment: str = "", seconds: float = 1.0, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        if comment:
            file.comment = comment
        file.write(np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000)))


def score(source: Path, output: Path, *options: object, status: int = 0) -> str:
    """Scores with decoders that misbehave where a comment asks for it; returns stderr."""
    command = [sys.executable, "-m", "pipelines.cli", "score", "--input", source, "--output", output, *options]
    path = os.pathsep.join([str(HOOK), str(ROOT)])
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == status, done.stderr
    return done.stderr


def scored_and_rejected(output: Path) -> tuple[list[str], dict[str, str]]:
    """Returns the ids of the scored utterances, and the reasons of the rejects, from all files in the folder."""
    rejects = pq.read_table(output / "rejects").to_pylist()
    assert len({row["utterance_id"] for row in rejects}) == len(rejects)
    scored = pq.read_table(output / "utterances").column("utterance_id").to_pylist()
    return sorted(scored), {row["utterance_id"]: row["reason"] for row in rejects}


GOOD = [f"good{number}.wav" for number in range(6)]


@pytest.fixture(scope="module")
def bad_corpus(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bad")
    for number, name in enumerate(GOOD):
        write(root / name, seconds=0.5 + number, seed=number)
    write(root / "segfault.wav", "on read: segfault", 2.2)
    write(root / "abort.wav", "on read: abort", 1.2)
    write(root / "exit.wav", "on read: exit", 0.2)
    write(root / "header.wav", "on open: segfault", 3.2)
    write(root / "hang.wav", "on read: native hang", 2.7)
    return root


REASONS = dict.fromkeys(["segfault.wav", "abort.wav", "exit.wav", "header.wav"], "crashed") | {"hang.wav": "timed_out"}


@pytest.mark.parametrize("processes", [1, 2])
def test_recordings_that_end_or_hang_their_process_are_rejected_alone(bad_corpus, tmp_path, processes):
    options = (f"--direct_num_workers={processes}", "--recording_timeout_s=15")
    said = score(bad_corpus, tmp_path / "out", *options)
    assert "Traceback" not in said
    assert scored_and_rejected(tmp_path / "out") == (GOOD, REASONS)


def test_a_member_of_an_archive_that_ends_its_process_costs_no_other_member(tmp_path):
    for name, comment in (("a", ""), ("b", "on read: segfault"), ("c", ""), ("d", "on read: abort"), ("e", "")):
        write(tmp_path / "members" / f"{name}.wav", comment)
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "x.tar", "w") as tar:
        for path in sorted((tmp_path / "members").iterdir()):
            tar.add(path, path.name)
    score(tmp_path / "in", tmp_path / "out")
    rejects = {"x.tar/b.wav": "crashed", "x.tar/d.wav": "crashed"}
    assert scored_and_rejected(tmp_path / "out") == ([f"x.tar/{name}.wav" for name in "ace"], rejects)


def test_the_next_run_tries_again_what_took_too_long_but_not_what_crashed(tmp_path):
    write(tmp_path / "in" / "crash.wav", "on read: segfault")
    write(tmp_path / "in" / "endless.wav", "on read: endless")
    said = score(tmp_path / "in", tmp_path / "out", "--recording_timeout_s=12", status=3)
    assert "no utterance has a score" in said
    write(tmp_path / "in" / "good.wav")
    write(tmp_path / "in" / "more.wav")
    said = score(tmp_path / "in", tmp_path / "out", "--recording_timeout_s=12")
    assert "scoring 3 utterances" in said
    rejects = {"crash.wav": "crashed", "endless.wav": "timed_out"}
    assert scored_and_rejected(tmp_path / "out") == (["good.wav", "more.wav"], rejects)
