"""Evaluation on constructed sets whose answers are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.anomalies import Anomaly, find_anomalies
from model.evaluation.bootstrap import Estimate, Resamples
from model.evaluation.localisation import (
    Distortion,
    Localised,
    anomaly_frames,
    bad_frames,
    covered_frames,
    has_known_span,
    intersection_over_union,
    localise,
    measure_localisation,
    partial,
)
from model.evaluation.measures import (
    Clip,
    EvaluationError,
    Scored,
    Threshold,
    choose_threshold,
    differences,
    evaluate,
    ladder_steps,
    measure_ladder,
    measure_level,
    plain,
)
from model.evaluation.metrics import agreement, weighted_mean
from model.evaluation.text_tables import report, table
from model.labels import PESQ_WB, PSEUDO

quick = settings(deadline=None, max_examples=100)
FRAME_S = 256 / 16_000


def clip(number: int, **facts) -> Clip:
    defaults = {
        "set_name": "set", "clip_id": f"1-{number:08d}", "split": "val", "duration_s": 4.0, "labels": {"pesq_wb": 2.0},
        "snr_db": 5.0, "distortions": (Distortion("noise", "", 0.0, 4.0),), "variation": (), "speech_id": f"{number}",
        "speaker": f"speaker{number % 5}", "corpus": "a", "noise_groups": ("rain",),
    }  # fmt: skip
    return Clip(**{**defaults, **facts})


def clean_clip(number: int, **facts) -> Clip:
    return clip(number, **{"snr_db": None, "distortions": (), "noise_groups": (), **facts})


def quiet(num_frames: int = 249) -> Localised:
    nothing = np.zeros(num_frames, bool)
    return Localised(np.full(num_frames, 4.0, np.float32), nothing, nothing, 0)


def scored(clips: list[Clip], score: list[float], threshold: float | None = 3.0, **facts) -> Scored:
    defaults = {
        "clips": clips,
        "score": np.array(score, float),
        "localised": [quiet() for _ in clips],
        "label": np.array([clip.labels["pesq_wb"] for clip in clips], float),
        "label_scale": PESQ_WB,
        "scale": PESQ_WB,
        "threshold": None if threshold is None else Threshold(threshold, 1.0),
    }
    return Scored(**{**defaults, **facts})


def resamples_of(clips: list[Clip], count: int = 50) -> Resamples:
    return Resamples([clip.speaker for clip in clips], count, seed=0)


# Resamples


def test_an_estimate_is_the_measure_of_the_set_and_its_interval_the_middle_of_the_resamples() -> None:
    value = np.arange(10.0)
    found = Resamples([str(n) for n in range(10)], 4000, seed=1).estimate(
        lambda weight: {"mean": weighted_mean(value, weight)}, np.arange(10)
    )["mean"]
    assert found.value == 4.5
    low, high = found.interval
    # The mean of ten draws: its standard error is sqrt(8.25 / 10).
    assert (low, high) == pytest.approx((4.5 - 1.96 * 0.908, 4.5 + 1.96 * 0.908), abs=0.1)


def test_the_clips_of_a_speaker_come_and_go_together() -> None:
    speakers = ["a", "b", "a", "c", "b"]
    seen = []
    Resamples(speakers, 30, seed=0).estimate(lambda w: seen.append(w) or {"n": w.sum(axis=1)}, np.arange(5))
    weight = np.concatenate(seen)
    assert weight.shape == (31, 5)
    assert (weight[0] == 1).all()
    assert (weight[:, 0] == weight[:, 2]).all()
    assert (weight[:, 1] == weight[:, 4]).all()
    assert (weight[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert len(np.unique(weight, axis=0)) > 5


def test_resamples_of_few_speakers_with_many_clips_are_wider_than_of_many_speakers() -> None:
    value = np.repeat(np.random.default_rng(0).normal(size=8), 50)

    def width(speakers: list[str]) -> float:
        found = Resamples(speakers, 500, seed=0).estimate(lambda w: {"m": weighted_mean(value, w)}, np.arange(400))
        low, high = found["m"].interval
        return high - low

    assert width([str(n // 50) for n in range(400)]) > 4 * width([str(n) for n in range(400)])


def test_the_same_seed_gives_the_same_interval_and_chunks_change_nothing(monkeypatch) -> None:
    value = np.random.default_rng(0).normal(size=40)

    def interval(seed: int) -> tuple[float, float] | None:
        resamples = Resamples([str(n % 7) for n in range(40)], 60, seed)
        return resamples.estimate(lambda w: {"m": weighted_mean(value, w)}, np.arange(40))["m"].interval

    expected = interval(3)
    assert interval(3) == expected
    assert interval(4) != expected
    monkeypatch.setattr("model.evaluation.bootstrap._WEIGHTS_AT_A_TIME", 100)
    assert interval(3) == pytest.approx(expected)


def test_there_is_no_interval_for_one_speaker_nor_without_resamples_nor_where_most_are_undefined() -> None:
    value = np.arange(4.0)
    for resamples in (Resamples(["a"] * 4, 100, 0), Resamples(["a", "b", "c", "d"], 0, 0)):
        found = resamples.estimate(lambda w: {"m": weighted_mean(value, w)}, np.arange(4))["m"]
        assert found.as_dict() == {"value": 1.5, "low": None, "high": None}
    assert Estimate(1.0, np.array([1.0, math.nan, math.nan])).interval is None
    assert Estimate(1.0, np.array([1.0, 2.0, math.nan])).interval is not None
    assert Estimate(math.nan, np.array([1.0])).as_dict() == {"value": None, "low": None, "high": None}


# The threshold


def test_the_threshold_lies_midway_between_classes_that_are_apart() -> None:
    found = choose_threshold(np.array([False, True, True, False]), np.array([1.0, 4.0, 3.5, 2.5]))
    assert found == Threshold(3.0, 1.0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=30))
@quick
def test_no_threshold_has_a_better_f1_than_the_chosen_one(rows: list[tuple[bool, int]]) -> None:
    clean, score = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], float)
    if not clean.any() or clean.all():
        with pytest.raises(EvaluationError, match="clean clips and degraded ones"):
            choose_threshold(clean, score)
        return

    def f1(threshold: float) -> float:
        kept = score >= threshold
        return 2 * (kept & clean).sum() / (kept.sum() + clean.sum())

    found = choose_threshold(clean, score)
    assert f1(found.value) == pytest.approx(found.f1)
    assert found.f1 == pytest.approx(max(f1(threshold) for threshold in range(10)))


# Conditions


@pytest.mark.parametrize(
    ("facts", "band"),
    [
        ({"snr_db": -5.0}, "-5 dB"), ({"snr_db": 2.4}, "0 dB"), ({"snr_db": 2.5}, "5 dB"), ({"snr_db": -2.6}, "-5 dB"),
        ({"snr_db": None}, "no noise, faults"), ({"snr_db": None, "distortions": ()}, "clean"),
    ],
)  # fmt: skip
def test_a_clip_stands_in_the_5_db_band_of_its_snr(facts: dict, band: str) -> None:
    assert clip(0, **facts).conditions("snr") == [band]


def test_a_clip_belongs_to_all_its_groups_and_faults() -> None:
    spans = [Distortion(kind, "", 0.0, 1.0) for kind in ("noise", "clipping", "dropout", "clipping")]
    found = clip(0, distortions=tuple(spans), noise_groups=("wind", "rain", "rain"), variation=("room 0.2 s", "codec"))
    assert found.conditions("fault") == ["clipping", "dropout"]
    assert found.conditions("noise_group") == ["rain", "wind"]
    assert found.conditions("variation") == ["codec", "room"]
    assert clean_clip(0).conditions("variation") == ["none"]
    assert clean_clip(0, corpus=None).conditions("corpus") == ["unknown"]
    assert clean_clip(0).conditions("fault") == []


# Agreement and detection


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


# Localisation


def naive_covered(start: int, end: int, num_frames: int) -> list[bool]:
    return [sum(start <= s < end for s in range(256 * t, 256 * t + 512)) >= 256 for t in range(num_frames)]


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(1, 10))
@settings(deadline=None, max_examples=50)
def test_a_frame_is_covered_where_half_of_its_samples_are(start: int, length: int, num_frames: int) -> None:
    found = covered_frames(start / 16_000, (start + length) / 16_000, num_frames)
    assert found.tolist() == naive_covered(start, start + length, num_frames)


def test_what_covers_the_whole_clip_marks_no_frame() -> None:
    whole, part = Distortion("noise", "", 0.0, 1.6), Distortion("dropout", "", 0.32, 0.64)
    assert not bad_frames([whole], 99).any()
    bad = bad_frames([whole, part], 99)
    assert np.flatnonzero(bad).tolist() == list(range(19, 40))
    assert partial([whole, part], 99) == [part]


def test_what_is_too_short_for_half_a_frame_leaves_no_known_span() -> None:
    bad = bad_frames([Distortion("click", "", 0.5, 0.505)], 99)
    assert not bad.any()
    assert not has_known_span(bad)
    assert not has_known_span(np.ones(4, bool))
    assert has_known_span(np.array([True, False]))


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(1, 40)), max_size=4), st.integers(10, 120))
@quick
def test_anomalies_become_the_frames_that_they_were_made_of(runs: list[tuple[int, int]], num_frames: int) -> None:
    expected = np.zeros(num_frames, bool)
    found = []
    for first, length in runs:
        end = min(first + length, num_frames)
        if end > first:
            expected[first:end] = True
            found.append(Anomaly(first * FRAME_S, ((end - 1) * 256 + 512) / 16_000, 1.0, 1.0))
    assert np.array_equal(anomaly_frames(found, num_frames), expected)


def test_intersection_over_union_of_known_cases() -> None:
    a, b = np.array([1, 1, 1, 0, 0], bool), np.array([0, 1, 1, 1, 0], bool)
    assert intersection_over_union(a, b) == 0.5
    assert intersection_over_union(a, a) == 1.0
    assert intersection_over_union(a, ~a) == 0.0
    assert math.isnan(intersection_over_union(np.zeros(3, bool), np.zeros(3, bool)))


def test_a_drop_in_the_frame_scores_is_localised() -> None:
    frame_score = np.full(249, 4.0, np.float32)
    frame_score[100:150] = 1.5
    start_s, end_s = (100 * 256 + 128) / 16_000, (149 * 256 + 384) / 16_000
    found = localise(frame_score, [Distortion("noise", "", start_s, end_s)], PESQ_WB.span)
    assert np.flatnonzero(found.bad).tolist() == list(range(100, 150))
    assert np.array_equal(found.found, anomaly_frames(find_anomalies(frame_score, PESQ_WB.span), 249))
    assert found.num_anomalies == 1
    measured = measure_localisation([found], np.array([0]), Resamples(["a"], 10, 0))
    assert measured["iou"].value > 0.9
    assert measured["auc"].value == measured["auc_within_clip"].value == 1.0


def test_localisation_of_known_counts() -> None:
    bad, good = np.array([1, 1, 0, 0], bool), np.array([0, 0, 0, 1], bool)
    first = Localised(np.array([1.0, 3.0, 2.0, 4.0]), bad, np.array([1, 0, 1, 0], bool), 1)
    second = Localised(np.array([9.0, 9.0, 9.0, 8.0]), good, good, 1)
    found = measure_localisation([first, second], np.array([0, 3]), Resamples(list("aabb"), 20, 0))
    # Over both clips: two bad frames are found, one is missed, one is found wrongly.
    assert found["precision"].value == found["recall"].value == found["f1"].value == pytest.approx(2 / 3)
    assert found["iou"].value == pytest.approx((1 / 3 + 1) / 2)
    # Within the first clip three of four pairs are in order, within the second all.
    assert found["auc_within_clip"].value == pytest.approx((3 / 4 + 1) / 2)
    # Together, bad 1, 3, 8 and good 2, 4, 9, 9, 9: the bad frame of the second clip is over both good ones of the first.
    assert found["auc"].value == pytest.approx((5 + 4 + 3) / 15)


def test_only_clips_that_are_bad_in_part_test_localisation_and_only_clean_ones_give_false_anomalies() -> None:
    bad = np.arange(249) < 50
    places = [quiet(), Localised(np.where(bad, 1.0, 4.0), bad, bad, 1), quiet(), quiet()]
    places[0] = Localised(places[0].frame_score, places[0].bad, places[0].found, 3)
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


# Order and level


def ladder_of(scores: dict[float | None, list[float]]) -> Scored:
    clips, score = [], []
    for snr_db, column in scores.items():
        for n, value in enumerate(column):
            make = clean_clip(n) if snr_db is None else clip(n, snr_db=snr_db)
            clips.append(make)
            score.append(value)
    return scored(clips, score)


def test_a_ladder_counts_the_steps_on_which_the_score_rises() -> None:
    rungs = {0.0: [1, 1, 1, 1], 5.0: [2, 2, 2, 0], 10.0: [3, 3, 1, 1], 20.0: [4, 4, 4, 4], None: [5, 5, 5, 4]}
    found = measure_ladder(ladder_of(rungs), Resamples(["a", "b", "c", "d"] * 5, 20, 0))
    assert [(rung["snr"], rung["clips"], rung["score_mean"]) for rung in found["rungs"]] == [
        ("0 dB", 4, 1.0), ("5 dB", 4, 1.5), ("10 dB", 4, 2.0), ("20 dB", 4, 4.0), ("clean", 4, 4.75),
    ]  # fmt: skip
    assert [(step["from"], step["to"], step["rose"].value) for step in found["steps"]] == [
        ("0 dB", "5 dB", 0.75), ("5 dB", "10 dB", 0.75), ("10 dB", "20 dB", 1.0), ("20 dB", "clean", 0.75),
    ]  # fmt: skip
    assert found["steps_of_5db"] == 8
    assert found["rose_5db"].value == 0.75


def test_clips_pair_by_id_and_speech_and_only_with_their_neighbour() -> None:
    clips = [clip(1, snr_db=0.0), clip(1, snr_db=10.0), clip(2, snr_db=0.0), clip(2, snr_db=5.0)]
    clips += [clip(3, snr_db=0.0), clip(3, snr_db=5.0, speech_id="another")]
    clips += [clip(4, snr_db=None, speech_id="faults only")]
    # Clip 1 skips a rung that others have; clip 3 is not the same speech.
    assert [(step.low, step.high) for step in ladder_steps(clips)] == [(2, 3)]


def test_sets_without_common_clips_are_no_ladder() -> None:
    with pytest.raises(EvaluationError, match="same --seed"):
        ladder_steps([clip(1, snr_db=0.0), clip(2, snr_db=5.0)])


def test_the_level_moves_a_score_as_far_as_the_worse_gain_does() -> None:
    at_gains = np.array([[3.05, 3.0], [3.0, 2.8], [3.0, 3.0], [2.91, 3.09]])
    found = measure_level(np.full(4, 3.0), at_gains, Resamples(list("abcd"), 20, 0))
    assert found["clips"] == 4
    assert found["largest_move"] == pytest.approx(0.2)
    assert found["moved_under_0.1"].value == 0.75


# The report


def test_a_table_is_aligned() -> None:
    assert table([["a", "long head"], ["longer", "1"]]) == "a       long head\n-----------------\nlonger          1"


def test_the_whole_evaluation_is_json_and_text() -> None:
    clips = [clean_clip(n) if n % 3 == 0 else clip(n, snr_db=float(n)) for n in range(12)]
    found = evaluate(scored(clips, list(np.linspace(1, 4, 12))), resamples_of(clips))
    again = json.loads(json.dumps(plain(found), allow_nan=False))
    assert set(again["overall"]["auc"]) == {"value", "low", "high"}
    text = report({"one@1": found, "two@2": found}, ["mind the gap"])
    assert "one@1" in text.splitlines()[0]
    assert "two@2" in text.splitlines()[0]
    assert f"{found['overall']['auc'].value:.3f} [" in text
    assert "by snr" in text
    assert "note: mind the gap" in text
