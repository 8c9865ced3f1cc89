"""From a folder to a filtered manifest in three commands, on real speech and noise whose quality is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from tests.support.command import audiosieve
from transforms.corpus.sources import list_corpus

pytestmark = [pytest.mark.corpus, pytest.mark.slow]

CLIPS = 240


@pytest.fixture(scope="module")
def known(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """A folder of clean, noisy, clipped and partly degraded recordings of unseen speakers, and the truth by utterance id."""
    pytest.importorskip("pesq")
    place = tmp_path_factory.mktemp("curation")
    manifest = corpus / "manifest.csv"
    sources = ["--speech", manifest, "--noise", manifest, "--where", "split=val"]
    degradations = ["--snr=-10:30", "--clean_ratio", 0.4, "--partial_ratio", 0.2, "--fault_ratio", 0.3]
    degradations += ["--faults", "clipping,codec,dropouts"]
    size = ["--clips", CLIPS, "--seed", 11]
    audiosieve("synthesize", *sources, *degradations, *size, "--output", place / "set")
    truth = {}
    for row in ds.dataset(place / "set" / "clips").to_table().to_pylist():
        distortions = row["distortions"]
        partial = any(item["end_s"] - item["start_s"] < 0.9 * row["duration_s"] for item in distortions)
        kind = "clean" if not distortions else "partial" if partial else distortions[0]["kind"]
        name = f"{kind}/{row['clip_id']}.flac"
        (place / "corpus" / kind).mkdir(parents=True, exist_ok=True)
        (place / "corpus" / name).write_bytes(row["audio"])
        truth[name] = row | {"kind": kind}
    return place / "corpus", truth


def test_clean_hours_are_kept_and_bad_clips_are_dropped(known, tmp_path: Path) -> None:
    corpus, truth = known
    audiosieve("score", "--input", corpus, "--output", tmp_path / "scores")
    audiosieve("filter", tmp_path / "scores", "--output", tmp_path / "keep")
    audiosieve("report", tmp_path / "scores", "-o", tmp_path / "report.html", "--examples", 2)

    rows = ds.dataset(tmp_path / "keep" / "kept.parquet").to_table(columns=["utterance_id", "uri"]).to_pylist()
    kept = {row["utterance_id"] for row in rows}
    assert sorted(ref.uri for ref in list_corpus(str(tmp_path / "keep" / "paths.txt"))) == sorted(
        row["uri"] for row in rows
    )
    clean = {name: row["duration_s"] for name, row in truth.items() if row["kind"] == "clean"}
    bad = [name for name, row in truth.items() if row["pesq_wb"] is not None and row["pesq_wb"] < 1.5]
    assert len(clean) > CLIPS // 5
    assert len(bad) > CLIPS // 5
    assert sum(clean[name] for name in clean if name in kept) >= 0.95 * sum(clean.values())
    assert sum(name not in kept for name in bad) >= 0.95 * len(bad)

    record = json.loads((tmp_path / "keep" / "filter.json").read_text())
    assert record["counts"]["kept"] == len(kept)
    assert record["counts"]["dropped"] == len(truth) - len(kept)
    page = (tmp_path / "report.html").read_text()
    assert all(kind in page for kind in {row["kind"] for row in truth.values()})
