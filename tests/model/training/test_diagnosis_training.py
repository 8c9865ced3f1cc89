"""Training a network that gives a diagnosis: its batches, measures, limits and bundle."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.bundle import WEIGHTS, open_bundle
from model.diagnosis import HEARD_CAUSES, CauseLimits
from model.evaluation.diagnosed_clips import UNKNOWN, YES
from model.features import FeatureConfig, spectrogram
from model.inference.scorer import Scorer
from model.labels import PESQ_WB
from model.training.dataset import DatasetError, TrainingSet, open_set
from model.training.diagnosis_labels import diagnosis_labels
from model.training.diagnosis_validation import MEASURES, ValidatedClip, calibrate, measure
from model.training.trainer import CHECKPOINTS, HISTORY, TrainingError, TrainOptions, train
from tests.support.training.diagnosis_set import CLIPS, clip, distortion, write_set
from tests.support.training.random_bundles import complete_bundle, random_network

OPTIONS = TrainOptions(
    name="own", network="diagnostic_net", loss="diagnosis", epochs=3, batch_size=4, clip_norm=1.0, average=0.9
)
NOISE = HEARD_CAUSES.index("noise")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingSet:
    file = write_set(tmp_path_factory.mktemp("set") / "a.parquet", CLIPS)
    return open_set([file], PESQ_WB, FeatureConfig(), diagnosis=True)


def test_the_batches_hold_the_labels_of_all_clips(data: TrainingSet) -> None:
    expected = {round(c["mos_bak"], 3): diagnosis_labels(c, c["pesq_wb"]) for c in CLIPS}
    seen = 0
    for split in ("train", "val"):
        for inputs, labels in data.batches(split, 4, seed=1):
            for row, mask in enumerate(inputs["mask"].numpy()):
                one = {name: value.numpy()[row] for name, value in labels.items()}
                known = expected[round(float(one["ratings"][1]), 3)]
                for name in ("frame_score", "speech", "causes"):
                    np.testing.assert_allclose(one[name][mask], known[name], atol=1e-6)
                np.testing.assert_allclose(one["levels_db"], known["levels_db"])
                seen += 1
    assert seen == len(CLIPS) == data.count("train") + data.count("val")


NOISE_SET = {"speech", "noise", "snr_db", "mos_sig", "mos_bak", "mos_ovrl"}


def test_only_the_split_train_counts_for_what_is_trained(data: TrainingSet, tmp_path: Path) -> None:
    assert data.trained_values() == NOISE_SET
    unrated = {"mos_sig": None, "mos_bak": None, "mos_ovrl": None}
    clips = [{**one, **unrated} if one["split"] == "train" else one for one in CLIPS]
    other = open_set([write_set(tmp_path / "a.parquet", clips)], PESQ_WB, FeatureConfig(), diagnosis=True)
    assert other.trained_values() == {"speech", "noise", "snr_db"}


def test_a_start_was_trained_on_its_own_values(tmp_path: Path) -> None:
    """A set without ratings does not take those of the start away."""
    unrated = {"mos_sig": None, "mos_bak": None, "mos_ovrl": None}
    clips = [{**one, **unrated} for one in CLIPS]
    data = open_set([write_set(tmp_path / "a.parquet", clips)], PESQ_WB, FeatureConfig(), diagnosis=True)
    random_network("diagnostic_net").save_weights(tmp_path / WEIGHTS)
    start = complete_bundle(tmp_path, network="diagnostic_net", trained={"speech", "hum", "mos_bak"})
    options = dataclasses.replace(OPTIONS, epochs=1)
    bundle = train(data, tmp_path / "adapted", options, start=start)
    assert bundle.trained == {"speech", "noise", "snr_db", "hum", "mos_bak"}


def test_a_diagnosis_can_start_from_a_model_without_one(
    data: TrainingSet, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    random_network("disturbance_net").save_weights(first / WEIGHTS)
    start = complete_bundle(first, network="disturbance_net")
    # With a tiny learning rate, the weights remain those of the start.
    options = dataclasses.replace(OPTIONS, network="diagnostic_net_16ms", epochs=1, learning_rate=1e-9, average=0.0)
    bundle = train(data, tmp_path / "second", options, start=start)
    features = [spectrogram(np.random.default_rng(0).standard_normal(9_000), FeatureConfig())]
    scores = [Scorer(one).score(features)[0].score for one in (start, bundle)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)
    assert "random at first: the layers cause_dense, raw_diagnosis" in capfd.readouterr().err


def test_the_best_epoch_is_one_of_scores_and_causes(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores are learned first, so that their LCC alone would keep a network that hears no causes yet."""
    found = iter([(0.92, 0.5), (0.91, 0.6), (0.90, 0.58)])

    def validate(*_: object) -> tuple[dict[str, float], CauseLimits]:
        lcc, cause_f1 = next(found)
        return {"lcc": lcc, "srcc": lcc, "rmse": 0.5, "cause_f1": cause_f1}, CauseLimits.default()

    monkeypatch.setattr("model.training.trainer.validate", validate)
    assert train(data, tmp_path, OPTIONS).training["best_epoch"] == 2


def test_an_unknown_cause_is_an_error(tmp_path: Path) -> None:
    clips = [{**clip(0), "distortions": [distortion("wow", True, 0.0, 0.5)]}, clip(2)]
    data = open_set([write_set(tmp_path / "a.parquet", clips)], PESQ_WB, FeatureConfig(), diagnosis=True)
    with pytest.raises(DatasetError, match="wow"):
        list(data._clips("train", None))


# Measures and limits.


def validated(number: int, noise: np.ndarray, **labels: Any) -> ValidatedClip:
    """Returns a clip whose network hears noise with the probabilities `noise`, and everything else as it is."""
    row = clip(number)
    truth = diagnosis_labels(row, row["pesq_wb"])
    frames = len(truth["speech"])
    values = np.zeros((frames, 15), np.float32)
    values[:, 0] = np.where(truth["speech"] == YES, 0.9, 0.1)
    values[:, 1 + NOISE] = noise[:frames]
    values[:, 10] = truth["levels_db"][0] + 1.5
    values[:, 12:] = truth["ratings"]
    return ValidatedClip({**truth, **labels}, float(truth["score"]), truth["frame_score"], values)


def test_the_limit_of_probability_separates_the_frames_with_a_cause() -> None:
    clips = []
    for number in range(6):
        truth = diagnosis_labels(clip(number), 2.0)["causes"][:, NOISE]
        clips.append(validated(number, np.where(truth == YES, 0.35, 0.25)))
    limits = calibrate(clips)
    assert 0.25 < limits.probability["noise"] <= 0.35
    assert limits.probability["music"] == 0.5, "no clip has music"
    measures = measure(clips, limits, PESQ_WB.high)
    assert measures.keys() == {"lcc", "srcc", "rmse", *MEASURES}
    assert measures["cause_f1"] == measures["speech_auc"] == 1.0
    assert measures["mos_lcc"] == pytest.approx(1.0)
    assert measures["snr_mae_db"] == pytest.approx(1.5, abs=0.01)
    assert np.isnan(measures["c50_mae_db"]), "no clip has a room"


def test_the_limit_of_share_ignores_short_false_alarms() -> None:
    clips = []
    for number in range(8):
        truth = diagnosis_labels(clip(number), 2.0)["causes"][:, NOISE]
        heard, alarms = np.where(truth == YES, 0.8, 0.1), np.where(np.arange(len(truth)) < 5, 0.8, 0.1)
        with_noise = number % 2 == 0
        causes = np.zeros((len(truth), 9), np.int8)
        causes[:, NOISE] = truth if with_noise else 0
        clips.append(validated(number, heard if with_noise else alarms, causes=causes))
    share = calibrate(clips).share["noise"]
    assert 5 / 57 < share <= 0.5


def test_false_causes_in_usable_clips_raise_the_limits() -> None:
    """Noise is heard in most frames of narrow-band clips, which are few: the best F1 would accept that."""

    def one(cause: str | None, probability: float) -> ValidatedClip:
        causes = np.zeros((57, 9), np.int8)
        if cause:
            causes[:, HEARD_CAUSES.index(cause)] = 1
        return validated(0, np.full(57, probability), causes=causes)

    clips = [one("noise", 0.9 if number % 5 else 0.6) for number in range(100)] + [one(None, 0.1)] * 50
    assert calibrate(clips).probability["noise"] == pytest.approx(0.6)
    few, enough = ([one("band_limit", 0.7)] * count for count in (9, 10))
    assert calibrate(clips + few).probability["noise"] == pytest.approx(0.6)
    for false in (enough, [one(None, 0.7)] * 10):
        assert 0.7 < calibrate(clips + false).probability["noise"] <= 0.9
    # Other clips are not usable, and the cause itself is not false.
    assert calibrate(clips + [one("hum", 0.7)] * 10).probability["noise"] == pytest.approx(0.6)
    assert calibrate(clips + [one("noise", 0.7)] * 10).probability["noise"] == pytest.approx(0.6)


def test_the_band_of_a_telephone_is_no_false_cause() -> None:
    causes = np.zeros((57, 9), np.int8)
    causes[:, HEARD_CAUSES.index("band_limit")] = 1
    clips = [validated(0, np.zeros(57), causes=causes) for _ in range(10)]
    for one in clips:
        one.cause_probabilities[:, HEARD_CAUSES.index("band_limit")] = 0.8
    assert calibrate(clips).probability["band_limit"] == pytest.approx(0.8)


def test_uncertain_frames_do_not_count() -> None:
    frames = 60
    certain, uncertain = np.full(frames, 0.9), np.full(frames, 0.7)
    known = validated(0, certain, causes=np.ones((57, 9), np.int8))
    unknown = validated(0, uncertain, causes=np.full((57, 9), UNKNOWN, np.int8))
    assert calibrate([known, unknown]) == calibrate([known])


# Training.


def history(output: Path) -> list[dict[str, Any]]:
    epochs = json.loads((output / CHECKPOINTS / HISTORY).read_text())["epochs"]
    return [
        {key: value for key, value in facts.items() if "seconds" not in key and "unix" not in key} for facts in epochs
    ]


@pytest.mark.slow
def test_a_resumed_run_has_the_curve_of_an_uninterrupted_one(
    data: TrainingSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = train(data, tmp_path / "whole", OPTIONS)
    assert "no examples of music, second_voice, reverberation, clipping" in capsys.readouterr().err
    train(data, tmp_path / "part", dataclasses.replace(OPTIONS, epochs=1))
    shutil.copytree(tmp_path / "part", tmp_path / "resumed")
    train(data, tmp_path / "resumed", OPTIONS, resume=True)
    whole, resumed = history(tmp_path / "whole"), history(tmp_path / "resumed")
    for resumed_epoch, whole_epoch in zip(resumed, whole, strict=True):
        assert resumed_epoch == pytest.approx(whole_epoch, abs=1e-3, nan_ok=True)
    assert whole[-1]["loss"] < whole[0]["loss"]
    assert whole[-1].keys() == {"epoch", "loss", "lcc", "srcc", "rmse", *MEASURES}

    opened = open_bundle(tmp_path / "whole")
    assert opened == bundle
    assert opened.cause_limits is not None
    assert opened.cause_limits.probability.keys() == opened.cause_limits.share.keys() == set(HEARD_CAUSES)
    (estimates,) = Scorer(opened).score([np.zeros((33, 257), np.float32)])
    assert estimates.diagnosis is not None
    assert estimates.diagnosis.values.shape == (33, 15)
    assert estimates.diagnosis.limits == opened.cause_limits
    assert estimates.diagnosis.trained == opened.trained == NOISE_SET


@pytest.mark.parametrize("changes", [{"loss": "frames"}, {"network": "disturbance_net"}])
def test_the_loss_must_fit_the_network(data: TrainingSet, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match="does not fit"):
        train(data, tmp_path / "out", dataclasses.replace(OPTIONS, **changes))
