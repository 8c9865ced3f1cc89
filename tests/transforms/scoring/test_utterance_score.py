"""A score is made of frame scores: pooled, with anomalies and flags."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from model.anomalies import find_anomalies
from model.bundle import DEFAULT, open_bundle
from model.labels import PESQ_WB
from model.pooling import pool
from tests.support.outputs import diagnosis_of
from transforms.elements import Reject, ScoredUtterance
from transforms.errors import AudioFault, Reason, Stage
from transforms.scoring.utterance_score import ModelInfo, summarise

# Good speech with half a second that scores far lower.
FRAME_SCORE = np.array([4.0] * 100 + [1.5] * 40 + [4.0] * 100, np.float32)


@pytest.mark.parametrize("pooling", ["mean", "pesq"])
def test_a_score_is_pooled_as_the_model_pools_and_has_the_anomalies_of_its_scale(make_utterance, pooling):
    utterance = make_utterance(num_frames=240, clipped_ratio=0.1)
    score = summarise(ScoredUtterance(utterance, FRAME_SCORE), ModelInfo("m@1", PESQ_WB, pooling))
    assert score.score == pool(FRAME_SCORE, pooling)
    assert score.anomalies == find_anomalies(FRAME_SCORE, PESQ_WB.span)
    assert len(score.anomalies) == 1
    assert (score.flags, score.causes) == (["clipped"], ["clipping"])
    assert (score.model_id, score.label_scale) == ("m@1", PESQ_WB)
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
    scored = ScoredUtterance(make_utterance(num_frames=240, clipped_ratio=0.1, bandwidth_hz=3_400), FRAME_SCORE)
    text = repr(summarise(scored, ModelInfo("m@1", PESQ_WB, "mean")))
    assert re.fullmatch(r"<Score 3\.58 of 1 to 4\.64, 2\.0 s, 1 anomaly, clipped, narrow_band, m@1>", text)


def silence(utterance, start: int, end: int, level_dbfs: float = -200.0):
    """The utterance with silence in its frames [start, end)."""
    levels = utterance.frame_facts.level_dbfs.copy()
    levels[start:end] = level_dbfs
    return dataclasses.replace(utterance, frame_facts=dataclasses.replace(utterance.frame_facts, level_dbfs=levels))


@pytest.mark.parametrize("pooling", ["mean", "pesq"])
@pytest.mark.parametrize("silent", [slice(0, 100), slice(140, 240)])
def test_silence_at_an_end_does_not_count(make_utterance, pooling, silent):
    utterance = silence(make_utterance(num_frames=240), silent.start, silent.stop)
    scores = np.full(240, 2.0, np.float32)
    scores[silent] = 4.6
    score = summarise(ScoredUtterance(utterance, scores), ModelInfo("m@1", PESQ_WB, pooling))
    assert score.score == pytest.approx(2.0, abs=1e-3)
    assert score.anomalies == []


def test_half_silence_in_the_middle_counts_as_a_pause(make_utterance):
    utterance = silence(make_utterance(num_frames=1_000), 250, 750)
    scores = np.full(1_000, 2.0, np.float32)
    scores[250:750] = 4.6
    score = summarise(ScoredUtterance(utterance, scores), ModelInfo("m@1", PESQ_WB, "pesq"))
    assert 2.0 <= score.score < 2.1
    (gap,) = score.anomalies
    assert (gap.start_s, gap.end_s) == (pytest.approx(4.0, abs=0.05), pytest.approx(12.0, abs=0.05))


@pytest.mark.parametrize(("frames", "found"), [(10, 0), (31, 1)])
def test_a_long_dropout_is_an_anomaly(make_utterance, frames, found):
    utterance = make_utterance(num_frames=400)
    utterance.frame_facts.dropout_s[200 : 200 + frames] = 0.016
    score = summarise(ScoredUtterance(utterance, np.full(400, 4.0, np.float32)), ModelInfo("m@1", PESQ_WB, "pesq"))
    assert len(score.anomalies) == found


MODEL = ModelInfo("m@1", PESQ_WB, "mean")


def test_a_score_has_what_the_model_hears(make_utterance):
    spans = {"noise": [(0, 240)], "music": [(100, 140)], "hum": [(130, 133)]}
    diagnosis = diagnosis_of(240, spans=spans, snr_db=12.0)
    utterance = make_utterance(num_frames=240, clipped_ratio=0.1)
    score = summarise(ScoredUtterance(utterance, FRAME_SCORE, diagnosis), MODEL)
    assert score.heard == diagnosis.pool(FRAME_SCORE, utterance.frame_facts.activity.counted, PESQ_WB.high)
    assert score.causes == ["noise", "music", "clipping"]
    assert score.speech_s == score.heard.speech_s == pytest.approx(3.84)
    assert score.heard.snr_db == pytest.approx(12.0)
    assert score.frame_cause == ["noise"] * 100 + ["music"] * 30 + ["hum"] * 3 + ["music"] * 7 + ["noise"] * 100
    (anomaly,) = score.anomalies
    assert anomaly.cause == "music"


def test_an_anomaly_without_a_cause_in_its_frames_has_none(make_utterance):
    diagnosis = diagnosis_of(240, spans={"noise": [(0, 90), (150, 240)]})
    score = summarise(ScoredUtterance(make_utterance(num_frames=240), FRAME_SCORE, diagnosis), MODEL)
    assert [anomaly.cause for anomaly in score.anomalies] == [None]


def test_music_without_speech_has_the_flag_no_speech(make_utterance):
    diagnosis = diagnosis_of(240, speech=0.1, spans={"music": [(0, 240)]})
    score = summarise(ScoredUtterance(make_utterance(num_frames=240), FRAME_SCORE, diagnosis), MODEL)
    assert (score.flags, score.causes, score.heard.snr_db) == (["no_speech"], ["music"], None)


@pytest.mark.parametrize(("probability", "flags"), [(0.75, ["no_speech"]), (0.85, [])])
def test_speech_that_is_nowhere_certain_is_no_speech(make_utterance, probability, flags):
    diagnosis = diagnosis_of(240, speech=probability)
    score = summarise(ScoredUtterance(make_utterance(num_frames=240), FRAME_SCORE, diagnosis), MODEL)
    assert score.flags == flags
    assert score.speech_s == pytest.approx(3.84)


def test_a_model_without_a_diagnosis_hears_nothing(make_utterance):
    utterance = make_utterance(num_frames=240, active_s=1.25)
    score = summarise(ScoredUtterance(utterance, FRAME_SCORE), MODEL)
    assert (score.diagnosis, score.heard, score.speech, score.frame_cause) == (None, None, None, None)
    assert score.speech_s == 1.25
    assert [anomaly.cause for anomaly in score.anomalies] == [None]
