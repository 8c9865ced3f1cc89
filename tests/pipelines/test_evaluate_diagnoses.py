"""`audiosieve evaluate` of a diagnostic model, end to end, on a set with the truth of speech, causes, SNR, C50 and ratings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from model.bundle import WEIGHTS, open_bundle
from model.diagnosis import HEARD_CAUSES
from tests.support.command import audiosieve
from tests.support.training.labelled_set import flac, make_clip, write_set
from tests.support.training.random_bundles import complete_bundle, random_network
from transforms.evaluation.score_schemas import CLIP_SCORES, FRAME_SCORES

pytestmark = pytest.mark.slow
WITHOUT_DIAGNOSIS = "disturbance_net_v1"
RATINGS = {"mos_sig": 3.5, "mos_bak": 3.0, "mos_ovrl": 2.8}


def with_truth(row: dict[str, Any], snr_db: float | None) -> dict[str, Any]:
    """The clip with all that is true of it, as sets name it that are made today."""
    return {
        **row,
        "distortions": [{**d, "cause": "noise", "audible": True} for d in row["distortions"]],
        "speech": [{"start_s": 0.2, "end_s": 2.8}],
        "speech_snr_db": snr_db,
        "c50_db": 25.0 if snr_db is None else None,
        **{name: value + (0.1 * snr_db if snr_db is not None else 1.0) for name, value in RATINGS.items()},
    }


@pytest.fixture(scope="module")
def rows(samples: Path) -> list[dict[str, Any]]:
    """Twelve clips of speech, one of a tone alone, and a real recording, of which only the ratings are known."""
    speech = soundfile.read(samples / "clean.flac")[0]
    levels = [(None, 5.0, 15.0, 5.0)[number % 4] for number in range(12)]
    clips = [with_truth(make_clip(speech, number, snr_db, None), snr_db) for number, snr_db in enumerate(levels)]
    nothing = dict.fromkeys(("pesq_wb", "speech_snr_db", "c50_db"))
    tone = flac(0.1 * np.sin(np.arange(48_000)))
    span = {"kind": "music", "detail": "tone", "start_s": 0.0, "end_s": 3.0, "cause": "music", "audible": True}
    alone = {**clips[1], **nothing, "clip_id": "7-00000020", "audio": tone, "speech": [], "distortions": [span]}
    real = {**clips[1], **nothing, "clip_id": "7-00000021", "speech": None, "distortions": None, "snr_db": None}
    return [*clips, {**alone, "snr_db": None}, real]


@pytest.fixture(scope="module")
def diagnostic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diagnostic")
    random_network("diagnostic_net").save_weights(path / WEIGHTS)
    complete_bundle(path, name="diagnostic", network="diagnostic_net")
    return path


@pytest.fixture(scope="module")
def evaluated(
    rows: list[dict[str, Any]], diagnostic: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A diagnostic model and another one on the set: the output's folder, and what was printed."""
    root = tmp_path_factory.mktemp("evaluated")
    labelled = write_set(root / "set", rows)
    models = ["--model", diagnostic, "--model", WITHOUT_DIAGNOSIS]
    done = audiosieve("evaluate", labelled, *models, "--resamples", 50, "--output", root / "out")
    return root / "out", done.stdout


def measured(output: Path, name: str) -> dict[str, Any]:
    models = json.loads((output / "evaluation.json").read_text())["models"]
    return next(found for model_id, found in models.items() if model_id.startswith(name))


def test_all_heads_are_measured(evaluated: tuple[Path, str]) -> None:
    found = measured(evaluated[0], "diagnostic")
    # 8 of the 12 clips of speech are in the split.
    assert (found["speech"]["clips"], found["causes"]["clips"]) == (9, 9)
    assert list(found["causes"]["by_cause"]) == ["noise", "music"]
    assert found["causes"]["by_cause"]["noise"]["clips"]["with_cause"] == 6
    assert (found["music"]["alone"]["clips"], found["music"]["alone"]["without"]) == (1, 8)
    assert found["snr_db"]["clips"] == 6
    assert found["c50_db"]["clips"] == 2
    assert (found["mos_ovrl"]["clips"], found["mos_ovrl"]["real"]["clips"]) == (10, 1)
    assert found["false_causes"]["clean"]["clips"] == 2
    # Neither the tone nor the real recording is clean or degraded speech.
    assert (found["overall"]["clips"], found["localisation"]["clean_clips"]) == (10, 2)
    assert list(found["by_snr"]) == ["5 dB", "15 dB", "clean", "no speech", "unknown"]
    for table in ("cause ", "true SNR", "true C50", "rating", "false causes", "speech in frames: AUC"):
        assert table in evaluated[1]


def test_another_model_has_no_diagnosis(evaluated: tuple[Path, str]) -> None:
    found = measured(evaluated[0], WITHOUT_DIAGNOSIS)
    assert not {"speech", "causes", "music", "snr_db", "mos_ovrl", "false_causes"} & set(found)
    assert found["overall"]["lcc"]["value"] > 0.5
    names = {path.name.split("-")[0] for path in evaluated[0].glob(f"*{open_bundle(WITHOUT_DIAGNOSIS).hash}.png")}
    assert names == {"target", "conditions"}


def test_figures_are_drawn(evaluated: tuple[Path, str]) -> None:
    names = {path.name.split("-")[0] for path in evaluated[0].glob("*-diagnostic-*.png")}
    figures = ("reliability", "snr_db", "c50_db", "mos_sig", "mos_bak", "mos_ovrl")
    assert names == {"target", "conditions", *figures}


def test_tables_have_the_truth_and_the_diagnoses(evaluated: tuple[Path, str], rows: list[dict[str, Any]]) -> None:
    clips, frames = (pq.read_table(evaluated[0] / f"{name}.parquet") for name in ("clips", "frames"))
    assert clips.schema.equals(CLIP_SCORES)
    assert frames.schema.equals(FRAME_SCORES)
    by_id = {row["clip_id"]: row for row in rows}
    for row in clips.to_pylist():
        truth, is_diagnostic = by_id[row["clip_id"]], row["model_id"].startswith("diagnostic")
        assert (row["speech_snr_db"], row["c50_db"]) == (truth["speech_snr_db"], truth["c50_db"])
        assert row["mos_bak"] == pytest.approx(truth["mos_bak"])
        assert (row["predicted_mos_bak"] is not None) == (row["causes"] is not None) == is_diagnostic
        if is_diagnostic and truth["speech"] is not None:
            assert row["true_causes"] == [d["cause"] for d in truth["distortions"]]
        else:
            assert row["true_causes"] is None
    for row in frames.to_pylist()[:: len(frames) // 50]:
        values = [row[name] for name in ("speech", *HEARD_CAUSES)]
        expected = row["model_id"].startswith("diagnostic")
        assert all((value is not None and 0 <= value <= 1) == expected for value in values)


def test_an_old_set_has_no_truth_of_causes(rows: list[dict[str, Any]], diagnostic: Path, tmp_path: Path) -> None:
    labelled = write_set(tmp_path / "old", rows[:12])
    (file,) = (labelled / "clips").iterdir()
    table = pq.read_table(file)
    new = ["speech", "speech_snr_db", "c50_db", "mos_sig", "mos_bak", "mos_ovrl", "distillmos", "distortions"]
    plain = [
        [{k: d[k] for k in ("kind", "detail", "start_s", "end_s")} for d in row["distortions"]] for row in rows[:12]
    ]
    pq.write_table(table.drop_columns(new).append_column("distortions", [plain]), file)
    audiosieve("evaluate", labelled, "--model", diagnostic, "--resamples", 0, "--output", tmp_path / "out")
    found = measured(tmp_path / "out", "diagnostic")
    assert found["overall"]["clips"] == 8
    assert (found["threshold"]["clips"], found["threshold"]["clean"]) == (4, 1)
    assert {"speech", "causes", "snr_db", "mos_ovrl"} & set(found) == set()
    assert list(found["false_causes"]) == ["clean"]
