"""Evaluations as text and as JSON."""

from __future__ import annotations

import json

import numpy as np

from model.evaluation.measures import as_json, evaluate
from model.evaluation.text_tables import report, table
from tests.support.training.scored_clips import clean_clip, clip, resamples_of, scored


def test_a_table_is_aligned() -> None:
    assert table([["a", "long head"], ["longer", "1"]]) == "a       long head\n-----------------\nlonger          1"


def test_the_whole_evaluation_is_json_and_text() -> None:
    clips = [clean_clip(n) if n % 3 == 0 else clip(n, snr_db=float(n)) for n in range(12)]
    found = evaluate(scored(clips, list(np.linspace(1, 4, 12))), resamples_of(clips))
    again = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert set(again["overall"]["auc"]) == {"value", "low", "high"}
    text = report({"one@1": found, "two@2": found}, ["mind the gap"])
    assert "one@1" in text.splitlines()[0]
    assert "two@2" in text.splitlines()[0]
    assert f"{found['overall']['auc'].value:.3f} [" in text
    assert "by snr" in text
    assert "note: mind the gap" in text
