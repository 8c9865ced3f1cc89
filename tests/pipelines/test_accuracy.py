"""The bundled model on speakers and noise that it never heard in training."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.bundle import DEFAULT, open_bundle
from model.metrics import lcc
from tests.pipelines.conftest import Output, audiosieve

pytestmark = pytest.mark.slow
SNRS_DB = (-5, 0, 5, 10, 20, 30)


def val_set(corpus: Path, output: Path, *options: object) -> list[dict]:
    """Clips of the corpus's val split, their audio written beside the set as files."""
    manifest = corpus / "manifest.csv"
    audiosieve(
        "synthesize", "--speech", manifest, "--noise", manifest, "--where", "split=val", "--output", output, *options
    )  # fmt: skip
    (output / "audio").mkdir()
    rows = sorted(pq.read_table(output / "clips").to_pylist(), key=lambda row: row["clip_id"])
    for row in rows:
        (output / "audio" / f"{row['clip_id']}.flac").write_bytes(row["audio"])
    return rows


def test_the_mean_score_rises_with_the_snr(corpus: Path, tmp_path: Path) -> None:
    """The same speech, noise and offsets at every SNR: only the SNR differs from one set to the next."""
    common = ["--clips", 60, "--seed", 3, "--labels", "pseudo"]
    for snr_db in SNRS_DB:
        val_set(corpus, tmp_path / str(snr_db), *common, "--clean_ratio", 0, "--snr", snr_db)
    val_set(corpus, tmp_path / "clean", *common, "--clean_ratio", 1)
    audiosieve("score", "--input", tmp_path / "*" / "audio" / "*.flac", "--output", tmp_path / "out")
    scores = Output(tmp_path / "out").scores
    means = [
        np.mean([score for name, score in scores.items() if name.startswith(f"{condition}/")])
        for condition in (*SNRS_DB, "clean")
    ]
    assert len(scores) == 60 * 7
    assert all(low < high for low, high in itertools.pairwise(means)), means


def test_scores_agree_with_pesq(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    rows = val_set(
        corpus, tmp_path / "set", "--clips", 150, "--seed", 2, "--clean_ratio", 0.15, "--direct_num_workers=2"
    )
    audiosieve("score", "--input", tmp_path / "set" / "audio", "--output", tmp_path / "out")
    scores = Output(tmp_path / "out").scores
    found = lcc(
        np.array([row["pesq_wb"] for row in rows]), np.array([scores[f"{row['clip_id']}.flac"] for row in rows])
    )
    # What training measured on other speakers of the train split, less what 150 clips leave to chance.
    assert found > open_bundle(DEFAULT).metrics["lcc"] - 0.1
