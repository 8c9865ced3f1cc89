"""Training writes checkpoints and the best bundle, and can be resumed."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from model.bundle import CARD, WEIGHTS, open_bundle
from model.evaluation.metrics import agreement
from model.features import FeatureConfig, spectrogram
from model.high_pass import without_dc
from model.inference.scorer import Scorer, pad
from model.labels import PESQ_WB, PSEUDO
from model.networks.architectures import NETWORKS
from model.training.dataset import TrainingSet, open_set
from model.training.trainer import CHECKPOINTS, HISTORY, TrainingError, TrainOptions, train
from tests.support.training.training_set import CLIPS, CONFIG, write_set

OPTIONS = TrainOptions(name="tiny", network="quality_net", epochs=3, batch_size=4)


@dataclasses.dataclass(frozen=True)
class RecordingSet(TrainingSet):
    """A training set that records the calls of `batches`."""

    calls: list[tuple[str, int | None]] = dataclasses.field(default_factory=list)

    def batches(self, split: str, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
        self.calls.append((split, seed))
        return super().batches(split, batch_size, seed)


@dataclasses.dataclass(frozen=True)
class Run:
    data: TrainingSet
    output: Path
    history: list[dict[str, Any]]

    def learning_rate(self, epoch: int) -> float:
        """Returns the learning rate in the checkpoint after an epoch."""
        checkpoint = tf.train.load_checkpoint(str(self.output / CHECKPOINTS / "checkpoints" / f"ckpt-{epoch}"))
        (name,) = [key for key in checkpoint.get_variable_to_shape_map() if "_learning_rate" in key]
        return float(checkpoint.get_tensor(name))

    def variables(self, epoch: int) -> dict[str, np.ndarray]:
        """Returns the weights and the state of the optimizer in the checkpoint after an epoch."""
        checkpoint = tf.train.load_checkpoint(str(self.output / CHECKPOINTS / "checkpoints" / f"ckpt-{epoch}"))
        names = [name for name in checkpoint.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
        return {name: checkpoint.get_tensor(name) for name in names if not name.startswith("save_counter")}


def run_training(data: TrainingSet, output: Path, options: TrainOptions, resume: bool = False) -> Run:
    train(data, output, options, resume=resume)
    return Run(data, output, json.loads((output / CHECKPOINTS / HISTORY).read_text())["epochs"])


@pytest.fixture(scope="module")
def whole_run(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three epochs without interruption. Shared: read only."""
    recording = RecordingSet(data.files, data.label_scale, data.features)
    return run_training(recording, tmp_path_factory.mktemp("whole"), OPTIONS)


@pytest.fixture(scope="module")
def part_run(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The first two epochs of the three. Shared: read only."""
    return run_training(data, tmp_path_factory.mktemp("part"), dataclasses.replace(OPTIONS, epochs=2))


@pytest.fixture(scope="module")
def resumed_run(data: TrainingSet, part_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The third epoch, resumed from a copy of the first two. Shared: read only."""
    output = tmp_path_factory.mktemp("resumed") / "out"
    shutil.copytree(part_run.output, output)
    return run_training(data, output, OPTIONS, resume=True)


@pytest.fixture
def part_copy(part_run: Run, tmp_path: Path) -> Path:
    """A copy of the first two epochs for one test."""
    return Path(shutil.copytree(part_run.output, tmp_path / "out"))


@pytest.mark.slow
def test_training_writes_the_bundle_the_checkpoints_and_the_history(whole_run: Run) -> None:
    root = whole_run.output
    assert {path.name for path in root.iterdir()} == {CARD, WEIGHTS, CHECKPOINTS}
    assert {path.stem for path in (root / CHECKPOINTS / "checkpoints").glob("*.index")} == {"ckpt-2", "ckpt-3"}
    assert [facts["epoch"] for facts in whole_run.history] == [1, 2, 3]
    for facts in whole_run.history:
        assert facts.keys() == {"epoch", "loss", "lcc", "srcc", "rmse", "seconds", "ended_unix_s"}
        assert np.isfinite([facts["loss"], facts["rmse"]]).all()


@pytest.mark.slow
def test_the_card_records_how_the_network_was_trained(whole_run: Run) -> None:
    bundle = open_bundle(whole_run.output)
    assert (bundle.name, bundle.network) == ("tiny", "quality_net")
    assert (bundle.features, bundle.label_scale) == (CONFIG, PESQ_WB)
    assert bundle.training["options"] == dataclasses.asdict(OPTIONS)
    assert bundle.training["clips"] == {"train": 8, "val": 4}
    assert bundle.training["history"] == whole_run.history
    best = max(whole_run.history, key=lambda facts: facts["lcc"])
    assert bundle.training["best_epoch"] == best["epoch"]
    assert bundle.metrics == {key: round(best[key], 4) for key in ("lcc", "srcc", "rmse")}


@pytest.mark.slow
def test_the_loss_falls(whole_run: Run) -> None:
    assert whole_run.history[-1]["loss"] < whole_run.history[0]["loss"]


def metrics_of(bundle: Path) -> dict[str, float]:
    """Computes LCC, SRCC and RMSE of a bundle on the split val, clip by clip."""
    network = NETWORKS["quality_net"]()
    network.load_weights(bundle / WEIGHTS)
    clips = [c for c in CLIPS if c["split"] == "val"]
    scores = []
    for c in clips:
        samples, _ = soundfile.read(io.BytesIO(c["audio"]), dtype="float32")
        batch, mask = pad([spectrogram(without_dc(samples), CONFIG)])
        scores.append(float(network({"spectrogram": batch, "mask": mask})["score"][0]))
    return agreement(np.array([c["pesq_wb"] for c in clips]), np.array(scores))


@pytest.mark.slow
def test_the_saved_bundle_is_that_of_the_best_epoch(data: TrainingSet, tmp_path: Path) -> None:
    # The learning rate of the second epoch is so large that its network is worse.
    run = run_training(data, tmp_path, dataclasses.replace(OPTIONS, decay=30.0, epochs=2))
    first, second = run.history
    assert second["lcc"] < first["lcc"] - 0.1
    assert open_bundle(tmp_path).training["best_epoch"] == 1
    assert metrics_of(tmp_path) == pytest.approx({key: first[key] for key in ("lcc", "srcc", "rmse")}, abs=1e-4)


@pytest.mark.slow
def test_the_history_holds_the_metrics_of_the_saved_network(whole_run: Run) -> None:
    best = max(whole_run.history, key=lambda facts: facts["lcc"])
    assert metrics_of(whole_run.output) == pytest.approx({key: best[key] for key in ("lcc", "srcc", "rmse")}, abs=1e-4)


@pytest.mark.slow
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(whole_run: Run, resumed_run: Run) -> None:
    for resumed, whole in zip(resumed_run.history, whole_run.history, strict=True):
        expected = {key: value for key, value in whole.items() if key not in ("seconds", "ended_unix_s")}
        assert {key: resumed[key] for key in expected} == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(whole_run: Run, resumed_run: Run) -> None:
    resumed, whole = resumed_run.variables(3), whole_run.variables(3)
    assert resumed.keys() == whole.keys()
    assert len(resumed) > 10
    for name in resumed:
        assert resumed[name] == pytest.approx(whole[name], abs=1e-5), name


@pytest.mark.slow
def test_every_epoch_changes_all_weights(whole_run: Run) -> None:
    second, third = whole_run.variables(2), whole_run.variables(3)
    weights = [name for name in second if "_trainable_variables" in name]
    assert len(weights) == 10
    assert all(np.abs(second[name] - third[name]).max() > 0 for name in weights)
    assert max(np.abs(second[name] - third[name]).max() for name in weights) > 1e-4


@pytest.mark.slow
def test_the_learning_rate_decays_by_5_percent_per_epoch(whole_run: Run, resumed_run: Run) -> None:
    for run in (whole_run, resumed_run):
        assert run.learning_rate(2) == pytest.approx(0.95 * 1e-3)
        assert run.learning_rate(3) == pytest.approx(0.95**2 * 1e-3)


@pytest.mark.slow
def test_every_epoch_has_its_own_order_and_validation_is_unshuffled(whole_run: Run) -> None:
    calls = whole_run.data.calls
    assert [split for split, _ in calls] == ["train", "val"] * 3
    assert len({seed for split, seed in calls if split == "train"}) == 3
    assert {seed for split, seed in calls if split == "val"} == {None}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e-2},
        {"decay": 0.5},
        {"seed": 1},
        {"batch_size": 2},
        {"loss": "unweighted"},
        {"network": "lc_att"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_run_cannot_be_resumed_with_other_options(
    data: TrainingSet, part_copy: Path, changes: dict[str, Any]
) -> None:
    before = (part_copy / CARD).read_bytes()
    with pytest.raises(TrainingError, match="resume"):
        train(data, part_copy, dataclasses.replace(OPTIONS, **changes), resume=True)
    assert (part_copy / CARD).read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"label_scale": PSEUDO}, {"features": FeatureConfig(window="hamming")}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_run_cannot_be_resumed_with_another_label_or_other_features(
    data: TrainingSet, part_copy: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(TrainingError):
        train(dataclasses.replace(data, **changes), part_copy, dataclasses.replace(OPTIONS, epochs=2), resume=True)


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(data: TrainingSet, part_copy: Path) -> None:
    before = open_bundle(part_copy)
    again = train(data, part_copy, dataclasses.replace(OPTIONS, epochs=2), resume=True)
    assert again.training == before.training
    assert again.metrics == before.metrics
    scorers = Scorer(before), Scorer(again)
    frames = [spectrogram(np.random.default_rng(0).standard_normal(4000), CONFIG)]
    first, second = (scorer.score(frames)[0].score for scorer in scorers)
    assert np.array_equal(first, second)


@pytest.mark.slow
def test_an_epoch_with_a_checkpoint_but_no_history_is_repeated(
    data: TrainingSet, whole_run: Run, tmp_path: Path
) -> None:
    """The state of a run that was killed between writing the checkpoint and the history."""
    output = Path(shutil.copytree(whole_run.output, tmp_path / "out"))
    history = json.loads((output / CHECKPOINTS / HISTORY).read_text())
    history["epochs"] = history["epochs"][:2]
    (output / CHECKPOINTS / HISTORY).write_text(json.dumps(history))
    run = run_training(data, output, OPTIONS, resume=True)
    assert [facts["loss"] for facts in run.history] == pytest.approx(
        [facts["loss"] for facts in whole_run.history], abs=1e-4
    )


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_an_error(data: TrainingSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="epoch 1"):
        train(data, tmp_path, dataclasses.replace(OPTIONS, learning_rate=1e30))
    assert not (tmp_path / CARD).exists()


@pytest.mark.slow
def test_scores_that_never_correlate_with_the_labels_are_an_error(tmp_path: Path) -> None:
    same = [{**c, "pesq_wb": 2.0} if c["split"] == "val" else c for c in CLIPS]
    data = open_set([write_set(tmp_path / "a.parquet", same)], PESQ_WB, CONFIG)
    with pytest.raises(TrainingError, match="correlate"):
        train(data, tmp_path / "out", dataclasses.replace(OPTIONS, epochs=1))
    assert not (tmp_path / "out" / CARD).exists()
