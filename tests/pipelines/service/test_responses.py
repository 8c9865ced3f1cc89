"""The body of an answer has what the model hears, in the form of the description."""

from __future__ import annotations

import numpy as np
import pytest

from model.labels import PESQ_WB
from pipelines.service.responses import Scored, as_json, response_body
from tests.support.outputs import diagnosis_of, scored
from transforms.scoring.utterance_score import ModelInfo, summarise

FRAME_SCORE = np.array([4.0] * 100 + [1.5] * 40 + [4.0] * 100, np.float32)


def body_of(diagnosis) -> dict:
    item = scored("a", FRAME_SCORE, diagnosis=diagnosis)
    score = summarise(item, ModelInfo("m@1", PESQ_WB, "mean"))
    body = response_body(score, None, "a", frames=True, anomalies=True)
    Scored.model_validate(body)
    assert as_json(body)
    return body


def test_an_answer_has_the_speech_and_the_causes_of_the_frames():
    body = body_of(diagnosis_of(240, speech=0.75, spans={"music": [(100, 140)]}, mos_sig=3.5))
    assert body["frame_speech"] == [0.75] * 240
    assert body["frame_cause"] == [None] * 100 + ["music"] * 40 + [None] * 100
    assert [anomaly["cause"] for anomaly in body["anomalies"]] == ["music"]
    assert (body["causes"], body["music_s"], body["mos_sig"]) == (["music"], pytest.approx(0.64), 3.5)


def test_without_a_diagnosis_they_are_null():
    body = body_of(None)
    assert (body["frame_speech"], body["frame_cause"], body["music_s"], body["mos_sig"]) == (None, None, None, None)
    assert [anomaly["cause"] for anomaly in body["anomalies"]] == [None]
