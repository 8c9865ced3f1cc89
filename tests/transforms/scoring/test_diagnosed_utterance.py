"""A model with a diagnosis: an utterance gets its values for all frames, and silence has none."""

from __future__ import annotations

import numpy as np
import pytest

from model.activity import Activity
from model.bundle import WEIGHTS
from model.diagnosis import FRAME_VALUES, HEARD_CAUSES, CauseLimits, Diagnosis
from transforms.elements import Reject, ScoredUtterance
from transforms.schemas import HEARD
from transforms.scoring.inference import load_scorer, score_batch, score_in_parts
from transforms.scoring.rows import frames_table, utterance_row
from transforms.scoring.utterance_score import ModelInfo, summarise

SOUND = slice(0, 1 + len(HEARD_CAUSES))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory):
    from model.runtime import start_tensorflow

    start_tensorflow(1)
    from tests.support.training.random_bundles import complete_bundle, random_network

    path = tmp_path_factory.mktemp("bundle")
    random_network("diagnostic_net").save_weights(path / WEIGHTS)
    complete_bundle(path, network="diagnostic_net")
    return load_scorer(str(path))


def test_values_without_training_are_null_in_all_tables(tmp_path_factory: pytest.TempPathFactory, make_featurized):
    """The random network hears everything."""
    from tests.support.training.random_bundles import complete_bundle, random_network

    path = tmp_path_factory.mktemp("bundle")
    random_network("diagnostic_net").save_weights(path / WEIGHTS)
    nothing = CauseLimits(dict.fromkeys(HEARD_CAUSES, 0.0), dict.fromkeys(HEARD_CAUSES, 0.0))
    bundle = complete_bundle(
        path, network="diagnostic_net", cause_limits=nothing, trained={"noise", "c50_db", "mos_bak"}
    )
    (item,) = score_batch([make_featurized("a.wav", 40)], load_scorer(str(path)))
    score = summarise(item, ModelInfo.of(bundle))
    row = utterance_row(score)
    assert {name for name in HEARD if row[name] is not None} == {"mos_bak"}
    assert row["speech_s"] == score.facts.active_s
    assert [cause for cause in row["causes"] if cause in HEARD_CAUSES] == ["noise"]
    assert score.speech is None
    frames = frames_table([item])
    assert frames["speech"].null_count == len(frames) == 40
    assert set(frames["cause"].to_pylist()) == {"noise"}


def test_silence_has_neither_speech_nor_causes():
    shown = np.array([False, True, True, False, True, False])
    values = np.random.default_rng(0).uniform(0.5, 1, (3, len(FRAME_VALUES))).astype(np.float32)
    expanded = Diagnosis(values, CauseLimits.default()).expand(Activity(shown, shown, shown)).values
    np.testing.assert_array_equal(expanded[shown], values)
    assert not expanded[~shown, SOUND].any()
    np.testing.assert_array_equal(expanded[:, SOUND.stop :], values[[0, 0, 1, 1, 2, 2], SOUND.stop :])


def test_an_utterance_gets_the_diagnosis_of_its_frames(scorer, make_featurized):
    batch = [make_featurized(f"{frames}.wav", frames, frames) for frames in (7, 12, 25)]
    for item, result in zip(batch, score_batch(batch, scorer), strict=True):
        (alone,) = scorer.score([item.spectrogram])
        np.testing.assert_allclose(result.diagnosis.values, alone.diagnosis.values, atol=1e-3)
        assert len(result.diagnosis.values) == len(result.frame_score)
        assert result.diagnosis.limits == scorer.bundle.cause_limits


def test_an_utterance_that_is_scored_in_steps_has_a_diagnosis(scorer, make_featurized):
    item = make_featurized("long.wav", 2_100)
    *_, result = score_in_parts(item, scorer)
    assert isinstance(result, ScoredUtterance)
    (at_once,) = score_batch([item], scorer)
    np.testing.assert_allclose(result.diagnosis.values, at_once.diagnosis.values, atol=1e-2)


def test_a_value_that_is_not_finite_rejects_the_utterance(scorer, make_featurized):
    estimates = scorer.score([make_featurized("a.wav", 9).spectrogram])
    estimates[0].diagnosis.values[3, 12] = np.nan

    class Fails:
        bundle = scorer.bundle

        def score(self, _):
            return estimates

    (result,) = score_batch([make_featurized("a.wav", 9)], Fails())
    assert isinstance(result, Reject)
