"""A run that is killed at any moment and repeated has the result of an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.score import Ledger
from tests.support.command import audiosieve_process, listen_to_ctrl_c
from transforms.schemas import SCORE_TABLES

pytestmark = pytest.mark.slow

FILES = 24
# Length of a wave of two or three files.
WAVE = ["--wave_hours", "0.0012"]
# Number of runs to kill; `AUDIOSIEVE_CRASHES=20 pytest tests/pipelines/scoring/test_crash.py` is a longer test.
CRASHES = int(os.environ.get("AUDIOSIEVE_CRASHES", "3"))


@pytest.fixture(scope="module")
def corpus_of_many(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for i in range(FILES):
        soundfile.write(root / f"{i:02d}.wav", rng.normal(0, 0.1, int(rng.integers(8_000, 40_000))), 16_000)
    (root / "07.wav").write_text("no sound")
    return root


def rows(output: Path, table: str, columns: list[str]) -> list[tuple]:
    """Returns the committed rows, sorted."""
    ledger = Ledger(str(output), tuple(SCORE_TABLES))
    found = [row for batch in ledger.rows(table, columns) for row in zip(*batch.to_pydict().values(), strict=True)]
    return sorted(found)


@pytest.fixture(scope="module")
def undisturbed(corpus_of_many, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    audiosieve_process("score", "--input", corpus_of_many, "--output", output, *WAVE)
    return output


def same(one: Path, other: Path) -> None:
    for table, columns in (
        ("utterances", ["utterance_id", "num_frames"]),
        ("rejects", ["utterance_id", "reason"]),
        ("frames", ["utterance_id", "frame"]),
    ):
        assert rows(one, table, columns) == rows(other, table, columns), table
    for table in ("utterances", "frames"):
        scores = [
            np.array([row[-1] for row in rows(place, table, ["utterance_id", "score"])]) for place in (one, other)
        ]
        np.testing.assert_allclose(np.sort(scores[0]), np.sort(scores[1]), atol=1e-3)


def start(corpus: Path, output: Path, *options: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "pipelines.cli", "score", "--input", corpus, "--output", output, *WAVE, *options]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_ctrl_c,
    )


def files_in(output: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(output))


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_that_is_repeated_gives_the_undisturbed_result(corpus_of_many, undisturbed, tmp_path, processes):
    output = tmp_path / "out"
    rng = random.Random(processes)
    option = f"--direct_num_workers={processes}"
    most = files_in(undisturbed)
    for _ in range(CRASHES):
        run = start(corpus_of_many, output, option)
        before = files_in(output)
        # Kill it at a random time between its first file and its last.
        wanted = before + rng.randint(0, max(1, most - before))
        while run.poll() is None and files_in(output) < wanted:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.1)
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stderr.close()
    # Children end within a second after their parent.
    time.sleep(1.5 if processes > 1 else 0)
    audiosieve_process("score", "--input", corpus_of_many, "--output", output, *WAVE, option)
    same(output, undisturbed)
    ledger = Ledger(str(output), tuple(SCORE_TABLES))
    on_disk = {path for table in SCORE_TABLES for path in (output / table).rglob("*") if path.is_file()}
    assert on_disk == {Path(uri) for table in SCORE_TABLES for uri in ledger.committed(table)}, (
        "something was left behind"
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_ends_a_run_with_a_message_how_to_continue(corpus_of_many, undisturbed, tmp_path, processes):
    output = tmp_path / "out"
    run = start(corpus_of_many, output, f"--direct_num_workers={processes}")
    while not list((output / "_runs").glob("2*.json")):
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=300)
    assert run.returncode == 130
    assert "interrupted" in said
    assert "run the same command again to continue" in said
    assert "Traceback" not in said
    audiosieve_process("score", "--input", corpus_of_many, "--output", output, *WAVE)
    same(output, undisturbed)


def test_two_runs_at_once_into_one_output_are_refused(corpus_of_many, tmp_path):
    output = tmp_path / "out"
    first = start(corpus_of_many, output)
    while not list(output.glob("_runs/*.json")):
        time.sleep(0.01)
    second = start(corpus_of_many, output)
    _, said = second.communicate(timeout=300)
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert "another audiosieve process is writing there" in said


def test_a_full_disk_is_reported_in_one_line_and_loses_no_commit(corpus_of_many, undisturbed, tmp_path):
    """Files are limited to 6 kB, which fails like a full disk."""
    output = tmp_path / "out"
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000)); "
        "from pipelines.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "score", "--input", corpus_of_many, "--output", output]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "File too large: free space in --output" in done.stderr
    assert "0 waves with 0 utterances" in done.stderr
    audiosieve_process("score", "--input", corpus_of_many, "--output", output, *WAVE)
    same(output, undisturbed)


@pytest.mark.timeout(1_800)
def test_a_killed_prune_leaves_all_rows_or_those_that_remain(corpus_of_many, undisturbed, tmp_path):
    corpus, fresh = tmp_path / "corpus", tmp_path / "fresh"
    shutil.copytree(corpus_of_many, corpus)
    for i in (0, 3, 7, 11, 12, 20):  # 07 was rejected
        (corpus / f"{i:02d}.wav").unlink()
    audiosieve_process("score", "--input", corpus, "--output", fresh, *WAVE)
    ids = [{row[0] for row in rows(place, "frames", ["utterance_id"])} for place in (undisturbed, fresh)]
    assert len(ids[0]) == len(ids[1]) + 5
    rng = random.Random(1)
    output = tmp_path / "out"
    shutil.copytree(undisturbed, output)
    for path in (output / "_runs").glob("*.json"):
        path.write_text(path.read_text().replace(str(corpus_of_many), str(corpus)))
    for table in SCORE_TABLES:
        for path in (output / table).glob("*.parquet"):
            moved(path, str(corpus_of_many), str(corpus))
    seen = []
    for _ in range(CRASHES):
        run = start(corpus, output, "--prune")
        # The copies appear one by one, each in some milliseconds.
        wanted = rng.randint(1, 12)
        while run.poll() is None and len(list(output.glob("*/*-kept-*"))) < wanted:
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
        run.wait()
        run.stderr.close()
        seen.append({row[0] for row in rows(output, "frames", ["utterance_id"])})
        assert seen[-1] in ids
    audiosieve_process("score", "--input", corpus, "--output", output, *WAVE, "--prune")
    same(output, fresh)
    ledger = Ledger(str(output), tuple(SCORE_TABLES))
    on_disk = {path for table in SCORE_TABLES for path in (output / table).rglob("*") if path.is_file()}
    assert on_disk == {Path(uri) for table in SCORE_TABLES for uri in ledger.committed(table)}


def moved(path: Path, old: str, new: str) -> None:
    """Rewrites a file of a table as if the corpus lay in another folder."""
    table = pq.read_table(path)
    if "uri" in table.column_names:
        index = table.column_names.index("uri")
        uris = pc.replace_substring(table["uri"], old, new)
        table = table.set_column(index, table.schema.field("uri"), uris)
    pq.write_table(table, path)
