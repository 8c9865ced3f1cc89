"""A corpus is scored, filtered and shown with a model that has a diagnosis."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.bundle import WEIGHTS
from model.diagnosis import HEARD_CAUSES, RATINGS
from tests.support.command import Output, audiosieve
from tests.support.filtered import rows_of
from tests.support.training.random_bundles import complete_bundle, random_network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def output(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Output:
    folder = tmp_path_factory.mktemp("diagnosis")
    bundle = folder / "bundle"
    bundle.mkdir()
    random_network("diagnostic_net").save_weights(bundle / WEIGHTS)
    complete_bundle(bundle, network="diagnostic_net")
    audiosieve("score", "--input", samples, "--output", folder / "out", "--model", bundle)
    return Output(folder / "out")


def test_the_tables_agree_about_speech_and_causes(output):
    frames: dict[str, list[dict]] = {}
    for row in output.frames:
        frames.setdefault(row["utterance_id"], []).append(row)
    for row in output.utterances:
        own = frames[row["utterance_id"]]
        assert row["speech_s"] == pytest.approx(0.016 * sum(frame["speech"] >= 0.5 for frame in own), abs=1e-4)
        assert {frame["cause"] for frame in own} <= {None, *HEARD_CAUSES}
        assert row["music_s"] >= 0.016 * sum(frame["cause"] == "music" for frame in own) - 1e-4
        assert len(row["causes"]) == len(set(row["causes"]))
        assert all(1 <= row[name] <= 5 for name in ("mos_sig", "mos_bak", "mos_ovrl"))
    assert any(row["causes"] for row in output.utterances)


def test_it_is_filtered_trimmed_and_shown(output, tmp_path):
    audiosieve("filter", output.root, "--output", tmp_path / "keep", "--trim", "anomalies", "--rules", "none")
    for row in rows_of(tmp_path / "keep/kept.parquet"):
        assert None not in (row["music_s"], row["overlap_s"])
        assert all((row[name] is None) == row["trimmed"] for name in RATINGS)
    assert "\ncause" in audiosieve("query", output.root).stdout
    audiosieve("plot", "clean.flac", "--run", output.root, "-o", tmp_path / "clean.svg")
    audiosieve("report", output.root, "-o", tmp_path / "report.html", "--max_mb", 0)
    assert "Clarity index C50" in (tmp_path / "report.html").read_text()
