"""Measures of constructed sets whose results are known."""

from __future__ import annotations

import numpy as np
import pytest

from model.evaluation.bootstrap import Resamples
from model.evaluation.localisation import Localised
from model.evaluation.measures import differences, evaluate, measure_level
from model.evaluation.metrics import agreement
from model.evaluation.text_tables import report
from model.frame_truth import Distortion
from model.labels import PSEUDO
from tests.support.training.scored_clips import clean_clip, clip, quiet, resamples_of, scored


def test_agreement_is_that_of_the_labelled_clips() -> None:
    rng = np.random.default_rng(0)
    label, score = rng.uniform(1, 4, 20), rng.uniform(1, 4, 20)
    clips = [clip(n, labels={"pesq_wb": None if n < 4 else label[n]}) for n in range(20)]
    found = evaluate(scored(clips, list(score)), resamples_of(clips))["overall"]
    assert (found["clips"], found["labelled"], found["speakers"]) == (20, 16, 5)
    for name, value in agreement(label[4:], score[4:]).items():
        assert found[name].value == pytest.approx(value)
    assert found["label_mean"] == pytest.approx(label[4:].mean())
    assert found["score_variance"] == pytest.approx(score.var())


def test_across_scales_there_is_correlation_and_no_rmse() -> None:
    clips = [clip(n, labels={"pesq_wb": 1.0 + n / 10}) for n in range(10)]
    found = evaluate(scored(clips, list(range(10)), scale=PSEUDO), resamples_of(clips))["overall"]
    assert found["lcc"].value == pytest.approx(1.0)
    assert "rmse" not in found


def test_a_set_without_labels_has_no_agreement() -> None:
    clips = [clip(n, labels={"pesq_wb": None}) for n in range(6)]
    found = evaluate(scored(clips, [1.0] * 6, label_scale=None), resamples_of(clips))["overall"]
    assert "lcc" not in found
    assert found["label_mean"] is None


def test_clean_is_the_positive_class() -> None:
    clips = [clean_clip(n) for n in range(4)] + [clip(n) for n in range(4, 10)]
    # Three of the four clean clips are kept, and one of the six others.
    score = [4, 4, 4, 2, 3, 1, 1, 1, 1, 1]
    found = evaluate(scored(clips, score), resamples_of(clips))["overall"]
    assert found["precision"].value == 0.75
    assert found["recall"].value == 0.75
    assert found["f1"].value == 0.75
    assert found["auc"].value == pytest.approx((3 * 6 + 5) / 24)


def test_clips_of_unknown_faults_are_neither_clean_nor_degraded() -> None:
    clips = [clean_clip(0), clip(1)]
    others = [clean_clip(n, known=False) for n in (2, 3)]
    resamples = resamples_of(clips + others)
    found = evaluate(scored(clips + others, [4, 1, 1, 4]), resamples)
    assert (found["overall"]["precision"].value, found["overall"]["recall"].value) == (1.0, 1.0)
    assert found["overall"]["auc"].value == 1.0
    assert list(found["by_snr"]) == ["5 dB", "clean", "unknown"]


def test_without_a_threshold_there_is_still_the_auc() -> None:
    clips = [clean_clip(0), clip(1)]
    found = evaluate(scored(clips, [4, 1], threshold=None), resamples_of(clips))["overall"]
    assert found["auc"].value == 1.0
    assert "precision" not in found


def test_a_condition_of_degradation_is_told_from_the_clean_clips_of_the_whole_set() -> None:
    clips = [clean_clip(0), clean_clip(1), clip(2, snr_db=20.0), clip(3, snr_db=-5.0), clip(4, snr_db=-5.0)]
    found = evaluate(scored(clips, [4, 2, 3.5, 1, 1]), resamples_of(clips))["by_snr"]
    assert list(found) == ["-5 dB", "20 dB", "clean"]
    assert (found["-5 dB"]["clips"], found["20 dB"]["clips"]) == (2, 1)
    assert (found["-5 dB"]["precision"].value, found["20 dB"]["precision"].value) == (1.0, 0.5)
    assert found["-5 dB"]["recall"].value == found["20 dB"]["recall"].value == 0.5
    assert "precision" not in found["clean"]


def test_a_corpus_is_judged_by_its_own_clean_clips() -> None:
    clips = [clean_clip(0), clip(1), clean_clip(2, corpus="b"), clip(3, corpus="b")]
    found = evaluate(scored(clips, [4, 1, 1, 1]), resamples_of(clips))["by_corpus"]
    assert found["a"]["recall"].value == 1.0
    assert found["b"]["recall"].value == 0.0
    assert found["a"]["clips"] == 2


def test_differences_are_taken_on_the_same_resamples() -> None:
    clips = [clip(n, labels={"pesq_wb": 1.0 + n / 10}) for n in range(10)]
    score = np.random.default_rng(0).uniform(1, 4, 10)
    one, other = (evaluate(scored(clips, list(score + shift)), resamples_of(clips)) for shift in (0.0, 1.0))
    found = differences(other, one)["overall"]
    # A shift changes no correlation in any resample, however wide the interval of each.
    assert found["lcc"].as_dict() == pytest.approx({"value": 0.0, "low": 0.0, "high": 0.0}, abs=1e-12)
    assert found["rmse"].value != 0
    assert differences(one, one)["overall"]["rmse"].as_dict() == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_only_clips_that_are_bad_in_part_test_localisation_and_only_clean_ones_give_false_anomalies() -> None:
    bad = np.arange(249) < 50
    places = [quiet(), Localised(np.where(bad, 1.0, 4.0), bad, bad, 1), quiet(), quiet()]
    places[0] = Localised(places[0].frame_score, places[0].bad, places[0].in_anomaly, 3)
    clips = [clean_clip(0), clip(1), clip(2), clean_clip(3)]
    found = evaluate(scored(clips, [4, 3, 2, 4], localised=places), resamples_of(clips))["localisation"]
    assert (found["clips_with_known_span"], found["clean_clips"]) == (1, 2)
    assert found["iou"].value == found["f1"].value == 1.0
    assert found["false_anomalies_per_clean_clip"].value == 1.5


def test_what_is_bad_in_part_is_told_apart_by_its_kind() -> None:
    bad = np.arange(249) < 50
    seen, missed = Localised(np.where(bad, 1.0, 4.0), bad, bad, 1), Localised(np.full(249, 4.0), bad, ~bad, 1)
    noise, dropout = Distortion("noise", "", 0.0, 0.8), Distortion("dropouts", "", 0.2, 0.3)
    clips = [clip(0, distortions=(noise,), snr_db=14.0), clip(1, distortions=(noise, dropout)), clip(2), clean_clip(3)]
    everything = evaluate(scored(clips, [3, 3, 2, 4], localised=[seen, missed, quiet(), quiet()]), resamples_of(clips))
    found = everything["localisation_by_kind"]
    assert {kind: part["clips"] for kind, part in found.items()} == {"dropouts": 1, "noise": 2, "noise at 15 dB": 1}
    assert found["noise at 15 dB"]["iou"].value == 1.0
    assert (found["dropouts"]["iou"].value, found["noise"]["iou"].value) == (0.0, 0.5)
    assert "dropouts" in report({"one@1": everything}, [])


def test_the_level_moves_a_score_as_far_as_the_worse_gain_does() -> None:
    at_gains = np.array([[3.05, 3.0], [3.0, 2.8], [3.0, 3.0], [2.91, 3.09]])
    found = measure_level(np.full(4, 3.0), at_gains, Resamples(list("abcd"), 20, 0))
    assert found["clips"] == 4
    assert found["largest_move"] == pytest.approx(0.2)
    assert found["moved_under_0.1"].value == 0.75
