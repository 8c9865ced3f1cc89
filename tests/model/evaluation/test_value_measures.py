"""Measures of SNR, C50 and ratings, and all measures of a diagnostic model as tables and figures."""

from __future__ import annotations

import dataclasses
import json

import matplotlib.image
import numpy as np
import pytest

from model.diagnosis import ALL_VALUES
from model.evaluation.diagnosed_clips import DiagnosedClip, diagnosed_clip
from model.evaluation.diagnosis_figures import SCATTERS, draw_reliability, draw_scatter
from model.evaluation.diagnosis_tables import diagnosis_tables
from model.evaluation.measures import as_json, measure_diagnoses
from model.evaluation.value_measures import (
    C50_EDGES_DB,
    SNR_EDGES_DB,
    measure_decibels,
    measure_rating,
    true_and_predicted,
)
from tests.support.training.diagnosed_clips import NUM_FRAMES, diagnosed, speech
from tests.support.training.scored_clips import clip, resamples_of


def with_snr(number: int, true_db: float | None, predicted_db: float, **values: float) -> DiagnosedClip:
    return diagnosed(speech(number, "noise", speech_snr_db=true_db), snr_db=predicted_db, noise=1.0, **values)


def test_errors_of_the_snr_by_its_bins() -> None:
    clips = [
        with_snr(0, -5.0, -4.0),
        with_snr(1, 4.9, 2.9),
        with_snr(2, 5.0, 8.0),
        with_snr(3, 35.0, 31.0),
        with_snr(4, 50.0, 0.0),
        with_snr(5, None, 0.0),
        # Without speech there is no value.
        with_snr(6, 5.5, 0.0, speech=0.1),
    ]
    found = measure_decibels(clips, "snr_db", SNR_EDGES_DB, resamples_of([one.clip for one in clips]))
    assert {ends: part["clips"] for ends, part in found["bins"].items()} == {
        "-5 to 0 dB": 1,
        "0 to 5 dB": 1,
        "5 to 10 dB": 2,
        "30 to 35 dB": 1,
    }
    assert (found["clips"], found["without_value"]) == (5, 1)
    assert found["mae"].value == pytest.approx((1 + 2 + 3 + 4) / 4, abs=1e-5)
    assert found["bias"].value == pytest.approx((1 - 2 + 3 - 4) / 4, abs=1e-5)
    assert found["bins"]["5 to 10 dB"]["mae"].value == pytest.approx(3.0, abs=1e-5)
    assert measure_decibels(clips, "c50_db", C50_EDGES_DB, resamples_of([one.clip for one in clips])) == {}


def test_ratings_near_the_threshold_are_not_judged() -> None:
    rated = [(4.0, 3.5), (2.0, 3.1), (2.95, 3.9), (3.05, 1.0), (3.3, 3.0), (2.5, 2.0)]
    clips = [
        diagnosed(
            (clip if number % 2 else speech)(number, ratings={"mos_ovrl": truth}, known=number % 2 == 0),
            mos_ovrl=predicted,
        )
        for number, (truth, predicted) in enumerate(rated)
    ]
    clips.append(diagnosed(speech(6)))
    found = measure_rating(clips, "mos_ovrl", resamples_of([one.clip for one in clips]))
    assert (found["clips"], found["judged"], found["same_decision"].value) == (6, 4, 0.75)
    truth, predicted = np.array(rated).T
    assert found["rmse"].value == pytest.approx(np.sqrt(np.mean((truth - predicted) ** 2)), abs=1e-5)
    assert found["lcc"].value == pytest.approx(np.corrcoef(truth, predicted)[0, 1], abs=1e-5)
    assert (found["real"]["clips"], found["real"]["judged"], found["real"]["same_decision"].value) == (3, 2, 0.5)


@pytest.fixture(scope="module")
def everything() -> list[DiagnosedClip]:
    """Clips with all truths, and with values that are near to them."""
    rng = np.random.default_rng(0)
    clips = []
    for number in range(60):
        cause = (None, "noise", "music", "second_voice", "band_limit", "reverberation")[number % 6]
        snr_db = float(rng.uniform(-5, 35)) if cause in ("noise", "music", "second_voice") else None
        facts = {
            "speech_snr_db": snr_db,
            "c50_db": float(rng.uniform(0, 40)),
            "ratings": {name: float(rng.uniform(1, 5)) for name in ("mos_sig", "mos_bak", "mos_ovrl")},
        }
        if number in (8, 14):
            facts |= {"speech": (), "speech_snr_db": None}
        source = speech(number, *([cause] if cause else []), **facts)
        values = {name: float(np.clip(value + rng.normal(0, 0.3), 1, 5)) for name, value in source.ratings.items()}
        heard = {cause: 0.9} if cause and rng.random() < 0.8 else {}
        values |= {
            "c50_db": facts["c50_db"] + 1,
            "snr_db": (snr_db or 40.0) - 1,
            "speech": float(bool(source.speech)),
            **heard,
        }
        clips.append(diagnosed(source, **values))
    return clips


def test_every_part_is_measured_and_written_as_tables_and_json(everything: list[DiagnosedClip]) -> None:
    measured = measure_diagnoses(everything, resamples_of([one.clip for one in everything]))
    assert list(measured) == [
        *(
            "speech",
            "causes",
            "music",
            "second_voice",
            "snr_db",
            "c50_db",
            "mos_sig",
            "mos_bak",
            "mos_ovrl",
            "false_causes",
        )
    ]
    assert json.loads(json.dumps(as_json(measured), allow_nan=False))["snr_db"]["mae"]["value"] == pytest.approx(
        1, abs=1e-4
    )
    tables = diagnosis_tables(measured)
    text = "\n\n".join(tables)
    assert len(tables) == 7
    for name in ("second_voice", "alone", "behind speech at", "true SNR", "true C50", "mos_bak", "band limit only"):
        assert name in text
    assert max(map(len, text.splitlines())) < 130
    assert diagnosis_tables({"overall": {}}) == []


def test_figures_show_the_points(everything: list[DiagnosedClip], tmp_path) -> None:
    measured = measure_diagnoses(everything, resamples_of([one.clip for one in everything], 0))
    curves = {cause: part["frames"] for cause, part in measured["causes"]["by_cause"].items()}
    draw_reliability(tmp_path / "reliability.png", curves, "model@1")
    is_real = np.arange(len(everything)) % 5 == 0
    for name, axis in SCATTERS.items():
        truth, predicted = true_and_predicted(everything, name)
        draw_scatter(tmp_path / f"{name}.png", truth, predicted, is_real, axis, "model@1")
        pixels = matplotlib.image.imread(tmp_path / f"{name}.png")[..., :3]
        orange = (pixels[..., 0] > 0.9) & (pixels[..., 2] < 0.7)
        assert np.count_nonzero(orange) > 50
    assert matplotlib.image.imread(tmp_path / "reliability.png").shape[1] > 1000


def test_values_without_training_are_not_measured(everything: list[DiagnosedClip]) -> None:
    untrained = {"speech", "second_voice", "noise", "c50_db", "mos_bak"}
    clips = []
    for one in everything:
        part = dataclasses.replace(one.diagnosis, trained=ALL_VALUES - untrained)
        clips.append(diagnosed_clip(one.clip, part, np.full(NUM_FRAMES, 3.0, np.float32), one.counted, 4.64))
    measured = measure_diagnoses(clips, resamples_of([one.clip for one in clips]))
    assert list(measured) == ["causes", "music", "snr_db", "mos_sig", "mos_ovrl", "false_causes"]
    assert set(measured["causes"]["by_cause"]) == {"music", "band_limit", "reverberation"}
    assert diagnosis_tables(measured)
    # Without speech, there is no SNR to compare.
    assert measured["snr_db"]["without_value"] == measured["snr_db"]["clips"]
