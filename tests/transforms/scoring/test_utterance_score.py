"""A score is made of frame scores: pooled, with anomalies and flags."""

from __future__ import annotations

import re

import numpy as np
import pytest

from model.anomalies import find_anomalies
from model.bundle import DEFAULT, open_bundle
from model.labels import PESQ_WB
from model.pooling import pool
from transforms.elements import Reject, ScoredUtterance
from transforms.errors import AudioFault, Reason, Stage
from transforms.scoring.utterance_score import ModelInfo, flags, summarise

# Good speech with half a second that scores far lower.
FRAME_SCORE = np.array([4.0] * 100 + [1.5] * 40 + [4.0] * 100, np.float32)


@pytest.mark.parametrize("pooling", ["mean", "pesq"])
def test_a_score_is_pooled_as_the_model_pools_and_has_the_anomalies_of_its_scale(make_utterance, pooling):
    utterance = make_utterance(clipped_ratio=0.1)
    score = summarise(ScoredUtterance(utterance, FRAME_SCORE), ModelInfo("m@1", PESQ_WB, pooling))
    assert score.score == pool(FRAME_SCORE, pooling)
    assert score.anomalies == find_anomalies(FRAME_SCORE, PESQ_WB.span)
    assert len(score.anomalies) == 1
    assert (score.flags, score.model_id, score.label_scale) == (["clipped"], "m@1", PESQ_WB)
    assert score.start_s == pytest.approx(np.arange(240) * 0.016)


def test_a_reject_is_a_fault_with_the_same_words():
    reject = Reject("/a.wav", "a.wav", "1-1", Stage.SCORE, Reason.MODEL_FAILED, "out of memory")
    with pytest.raises(AudioFault, match="model_failed: out of memory") as fault:
        summarise(reject, ModelInfo("m@1", PESQ_WB, "mean"))
    assert fault.value.stage == Stage.SCORE


def test_the_properties_of_a_model_are_those_of_its_bundle():
    bundle = open_bundle(DEFAULT)
    assert ModelInfo.of(bundle) == ModelInfo(bundle.model_id, bundle.label_scale, bundle.pooling)


def test_a_score_is_shown_in_one_line(make_utterance):
    scored = ScoredUtterance(make_utterance(clipped_ratio=0.1, dc_offset=0.1), FRAME_SCORE)
    text = repr(summarise(scored, ModelInfo("m@1", PESQ_WB, "mean")))
    assert re.fullmatch(r"<Score 3\.58 of 1 to 4\.64, 2\.0 s, 1 anomaly, clipped, dc_offset, m@1>", text)


class TestFlags:
    @pytest.mark.parametrize(
        ("flag", "doubtful", "good"),
        [
            ("near_silent", {"rms_dbfs": -55.1}, {"rms_dbfs": -54.9}),
            ("mostly_silence", {"silence_ratio": 0.81}, {"silence_ratio": 0.79}),
            ("clipped", {"clipped_ratio": 0.0011}, {"clipped_ratio": 0.0009}),
            ("dc_offset", {"dc_offset": 0.011}, {"dc_offset": 0.009}),
            ("dc_offset", {"dc_offset": -0.011}, {"dc_offset": -0.009}),
            ("narrow_band", {"bandwidth_hz": 4_999.0}, {"bandwidth_hz": 5_000.0}),
            ("very_short", {"duration_s": 0.99}, {"duration_s": 1.0}),
        ],
    )
    def test_each_stands_on_one_side_of_its_limit_only(self, make_utterance, flag, doubtful, good):
        assert flags(make_utterance(**doubtful)) == [flag]
        assert flags(make_utterance(**good)) == []

    def test_all_can_stand_together(self, make_utterance):
        bad = make_utterance(
            duration_s=0.5, rms_dbfs=-70, silence_ratio=0.9, clipped_ratio=0.1, dc_offset=0.2, bandwidth_hz=3_400
        )
        assert flags(bad) == ["near_silent", "mostly_silence", "clipped", "dc_offset", "narrow_band", "very_short"]

    def test_an_unknown_snr_is_no_doubt(self, make_utterance):
        assert flags(make_utterance(snr_db=None)) == []
