"""Trains a network in epochs with checkpoints, and writes the bundle of the best epoch."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from model.bundle import DIAGNOSTIC_NETWORKS, WEIGHTS, Bundle, open_bundle, write_card
from model.diagnosis import ALL_VALUES, CauseLimits, ordered_values
from model.evaluation.metrics import agreement
from model.local_files import atomic_path, write_text
from model.networks.architectures import NETWORKS, RAW_DIAGNOSIS
from model.networks.diagnosis_loss import diagnosis_loss
from model.networks.initial_weights import copy_weights, draw_weights
from model.networks.losses import LossName, frames_loss, quality_loss
from model.runtime import hold_native_stderr, keep_freed_memory
from model.training.averaging import WeightAverage
from model.training.dataset import SHUFFLE_CLIPS, TrainingSet
from model.training.diagnosis_validation import ValidatedClip, calibrate, measure, split_batch
from model.training.tensorboard_curves import write_curves

CHECKPOINTS = "training"
HISTORY = "history.json"
CURVES = "curves"  # for TensorBoard
# Facts of an epoch in the history that are no measures of the network.
NOT_MEASURES = ("epoch", "loss", "seconds", "ended_unix_s")
# With fewer clips in the split val, the choice of the best epoch is mostly random.
MIN_VAL_CLIPS = 50


class TrainingError(RuntimeError):
    """A training cannot start or continue."""


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Options of a training.

    Attributes:
        name: name of the model.
        network: key of `architectures.NETWORKS`.
        loss: "weighted" or "unweighted" as published, "frames" for a label of each frame, or "diagnosis" for a network that
            gives one.
        epochs: total number of epochs, at least 1.
        batch_size: number of clips in a batch.
        learning_rate: learning rate of RMSprop in the first epoch.
        decay: factor of the learning rate from one epoch to the next.
        clip_norm: largest norm of the gradient; None without a limit.
        average: share of the past in the running mean of the weights (`WeightAverage`), 0 to below 1. The mean is validated and
            saved; with 0, the weights of the last step are.
        patience: number of epochs without improvement after which training ends; None to train all epochs.
        seed: seed of the initial weights, the order of the clips and the dropout.
        start: id of the model that provides the initial weights; None for random weights.
    """

    name: str
    network: str
    loss: LossName = "weighted"
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 1e-3
    decay: float = 0.95
    clip_norm: float | None = None
    average: float = 0.0
    patience: int | None = None
    seed: int = 0
    start: str | None = None


class QualityTrainer(keras.Model):
    """A network with its loss, for `fit` of Keras.

    Args:
        network: one of `architectures.NETWORKS`.
        loss_name: name of the loss.
        anchor: label at which the weight of frames is 1.
    """

    def __init__(self, network: keras.Model, loss_name: LossName, anchor: float) -> None:
        super().__init__()
        self.network = network
        if loss_name == "diagnosis":
            # The loss needs logits, which the output has no more.
            raw = network.get_layer(RAW_DIAGNOSIS).output
            self.network = keras.Model(network.input, {**network.output, RAW_DIAGNOSIS: raw})
        self.loss_name = loss_name
        self.anchor = anchor

    def call(self, inputs: dict[str, tf.Tensor], training: bool | None = None) -> dict[str, tf.Tensor]:
        """Runs the network."""
        return self.network(inputs, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,  # noqa: ARG002 -- Keras' signature
        training: bool = True,  # noqa: ARG002
    ) -> tf.Tensor:
        """Computes the loss of a batch."""
        label, score, frame_score, mask = y["score"], y_pred["score"], y_pred["frame_score"], x["mask"]
        if self.loss_name == "diagnosis":
            return diagnosis_loss(y, score, frame_score, y_pred[RAW_DIAGNOSIS], mask)
        if self.loss_name == "frames":
            return frames_loss(label, y["frame_score"], score, frame_score, mask)
        return quality_loss(label, score, frame_score, mask, name=self.loss_name, anchor=self.anchor)


def train(
    data: TrainingSet, output: Path, options: TrainOptions, *, resume: bool = False, start: Bundle | None = None
) -> Bundle:
    """Trains a network and writes the bundle of its best epoch to `output`.

    The best epoch has the highest LCC on the split `val`, or with a diagnosis the highest sum of LCC and F1 of the causes.

    After every epoch, `output/training/` holds a checkpoint and the history. `output` holds the bundle of the best epoch so
    far. A killed run can be resumed, and its bundle can be used.

    Args:
        data: training set.
        output: folder of the bundle.
        options: options of the training.
        resume: whether to continue from the last checkpoint in `output`.
        start: bundle with the initial weights, of the same features and label scale; None for random weights. If it has another
            network, the layers of the same name and size start with its weights.

    Returns:
        Bundle of the best epoch.

    Raises:
        TrainingError: the loss does not fit the network; `start` has another network, features or scale; the loss is not
            finite; the correlation of scores and labels is undefined in every epoch; or the checkpoint to resume is missing
            or was trained with other options.
        DatasetError: a file of `data` cannot be read, or lacks a column.
    """
    if (options.loss == "diagnosis") != (options.network in DIAGNOSTIC_NETWORKS):
        raise TrainingError(f"the loss {options.loss} does not fit the network {options.network}")
    keep_freed_memory()
    keras.utils.set_random_seed(options.seed)
    clips = {split: data.count(split) for split in ("train", "val")}
    trained = _trained_values(data, start)
    if clips["val"] < MIN_VAL_CLIPS:
        message = f"the split val has only {clips['val']} clips, so the choice of the best epoch is not reliable"
        print(message, file=sys.stderr)
    work = output / CHECKPOINTS
    work.mkdir(parents=True, exist_ok=True)
    network = NETWORKS[options.network]()
    draw_weights(network, options.seed)
    if start is not None:
        _check_start(start, data)
        _load_start(start, network)
    trainer = QualityTrainer(network, options.loss, data.label_scale.anchor)
    trainer.compile(optimizer=keras.optimizers.RMSprop(options.learning_rate, global_clipnorm=options.clip_norm))
    trainer.optimizer.build(network.trainable_variables)
    average = WeightAverage(network, options.average)
    checkpoint = tf.train.Checkpoint(network=network, optimizer=trainer.optimizer, average=average.state)
    manager = tf.train.CheckpointManager(checkpoint, str(work / "checkpoints"), max_to_keep=2)
    history = _resume(work, _comparable(data, options), checkpoint, manager) if resume else []

    for epoch in range(len(history), options.epochs):
        if _has_stalled(history, options.patience):
            print(f"no improvement in {options.patience} epochs; training ends", file=sys.stderr)
            break
        started = time.monotonic()
        trainer.optimizer.learning_rate = options.learning_rate * options.decay**epoch
        _reseed(network, options.seed + epoch)
        batches = data.batches("train", options.batch_size, seed=options.seed + 1000 * (epoch + 1))
        print(f"epoch {epoch + 1} of {options.epochs}", file=sys.stderr)
        loss = _fit_epoch(trainer, batches, average)
        if not math.isfinite(loss):
            raise TrainingError(f"the loss is {loss} in epoch {epoch + 1}; try a smaller --learning_rate")
        with average.applied():
            metrics, limits = validate(trainer, data, options.batch_size)
            # JSON has no NaN, so an undefined correlation (for example of constant scores) becomes null.
            facts: dict[str, Any] = {"epoch": epoch + 1, "loss": loss}
            facts |= {key: value if math.isfinite(value) else None for key, value in metrics.items()}
            facts |= {"seconds": round(time.monotonic() - started, 1), "ended_unix_s": round(time.time(), 1)}
            best = max((_rank(earlier) for earlier in history), default=-math.inf)
            history.append(facts)
            if _rank(facts) > best:
                with atomic_path(output / WEIGHTS) as draft:
                    network.save_weights(draft)
                _write_card(output, data, options, history, clips, limits, trained)
        manager.save(checkpoint_number=epoch + 1)
        write_text(work / HISTORY, json.dumps({"options": _comparable(data, options), "epochs": history}, indent=2))
        write_curves(work / CURVES, history)
        numbers = ", ".join(f"{key} {value:.4f}" for key, value in (("loss", loss), *metrics.items()))
        print(f"  {numbers}, {facts['seconds']:.0f} s", file=sys.stderr)

    if not (output / WEIGHTS).exists():
        raise TrainingError("the scores did not correlate with the labels in any epoch; train longer or on more clips")
    # The card also records the epochs after the best one.
    return _write_card(output, data, options, history, clips, open_bundle(output).cause_limits, trained)


def _trained_values(data: TrainingSet, start: Bundle | None) -> frozenset[str]:
    """Returns the values of a diagnosis that the network or its start is trained on, and reports the others.

    It returns an empty set if the network gives no diagnosis.
    """
    if not data.diagnosis:
        return frozenset()
    trained = data.trained_values() | (frozenset() if start is None else start.trained)
    missing = ordered_values(ALL_VALUES - trained)
    if missing:
        print(f"the split train has no examples of {', '.join(missing)}; scores leave them empty", file=sys.stderr)
    return trained


def _check_start(start: Bundle, data: TrainingSet) -> None:
    if (start.features, start.label_scale) != (data.features, data.label_scale):
        raise TrainingError(
            f"cannot start from {start.model_id}: it is for {start.label_scale.name} with the features "
            f"{start.features.as_dict()}; this training needs one for {data.label_scale.name} with {data.features.as_dict()}"
        )


def _load_start(start: Bundle, network: keras.Model) -> None:
    """Loads the weights of the layers that the network shares with that of a bundle, and reports the others.

    Raises:
        TrainingError: they share no layer.
    """
    source = NETWORKS[start.network]()
    source.load_weights(start.weights)
    kept = copy_weights(source, network)
    if len(kept) == sum(bool(layer.weights) for layer in network.layers):
        raise TrainingError(f"cannot start from {start.model_id}: {network.name} has no layer of a {start.network}")
    if kept:
        print(f"not in {start.model_id}, so random at first: the layers {', '.join(kept)}", file=sys.stderr)


def _has_stalled(history: list[dict[str, Any]], patience: int | None) -> bool:
    """Returns whether the best epoch is at least `patience` epochs ago."""
    if patience is None or not history:
        return False
    best = max(range(len(history)), key=lambda epoch: _rank(history[epoch]))
    return len(history) - 1 - best >= patience


def _reseed(network: keras.Model, seed: int) -> None:
    """Seeds the dropout of an epoch, so that a resumed training equals an uninterrupted one."""
    for number, layer in enumerate(network.layers):
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign([seed % 2**32, number])


def _fit_epoch(trainer: keras.Model, batches: tf.data.Dataset, average: WeightAverage) -> float:
    """Trains on all batches once, and returns the mean loss. Shows a progress bar if stdout is a terminal.

    A loss that is not finite ends the epoch at once.
    """
    with warnings.catch_warnings(), hold_native_stderr():  # the progress bar goes to stdout
        # Keras warns when a dataset of unknown length ends.
        warnings.filterwarnings("ignore", message="Your input ran out of data")
        callbacks = [average, keras.callbacks.TerminateOnNaN()]
        fit = trainer.fit(batches, shuffle=False, callbacks=callbacks, verbose=1 if sys.stdout.isatty() else 0)
    return float(fit.history["loss"][-1])


def validate(trainer: keras.Model, data: TrainingSet, batch_size: int) -> tuple[dict[str, float], CauseLimits | None]:
    """Measures the network on the split `val`.

    Args:
        trainer: the network.
        data: training set.
        batch_size: largest number of clips in a batch.

    Returns:
        LCC, SRCC and RMSE of the scores, and the measures of the diagnoses if the network gives them
        (`diagnosis_validation.measure`); and when a cause is heard, None for other networks.
    """
    labels, scores = [], []
    diagnosed: list[ValidatedClip] = []
    for inputs, label in data.batches("val", batch_size):
        outputs = trainer.predict_on_batch(inputs)
        if data.diagnosis:
            of_clips = {name: value.numpy() for name, value in label.items()}
            diagnosed += split_batch(of_clips, outputs, inputs["mask"].numpy())
        labels.append(label["score"].numpy())
        scores.append(outputs["score"])
    if data.diagnosis:
        limits = calibrate(diagnosed)
        return measure(diagnosed, limits, data.label_scale.high), limits
    return agreement(np.concatenate(labels), np.concatenate(scores)), None


def _rank(facts: dict[str, Any]) -> float:
    """Returns the measure of which the best epoch has most.

    With a diagnosis, it is not the LCC alone, which is best early if the network starts from one with learned scores.
    """
    if facts["lcc"] is None:
        return -math.inf
    return float(facts["lcc"] + (facts.get("cause_f1") or 0.0))


def _comparable(data: TrainingSet, options: TrainOptions) -> dict[str, Any]:
    """Returns the options that a resumed training must share: all except `epochs` and `patience`."""
    shared = {key: value for key, value in dataclasses.asdict(options).items() if key not in ("epochs", "patience")}
    files = [file.name for file in data.files]
    # Older trainings have no size of the shuffle buffer, and had the default.
    buffer = {} if data.shuffle_clips == SHUFFLE_CLIPS else {"shuffle_clips": data.shuffle_clips}
    return {**shared, **buffer, "label": data.label_scale.name, "features": data.features.as_dict(), "files": files}


def _resume(
    work: Path, comparable: dict[str, Any], checkpoint: tf.train.Checkpoint, manager: tf.train.CheckpointManager
) -> list[dict[str, Any]]:
    if manager.latest_checkpoint is None or not (work / HISTORY).exists():
        raise TrainingError(f"{work}: there is no checkpoint to resume")
    saved = json.loads((work / HISTORY).read_text(encoding="utf-8"))
    if saved["options"] != comparable:
        raise TrainingError(f"{work}: was trained with other options, which --resume cannot change: {saved['options']}")
    # The history is written after the checkpoint, so an epoch may have a checkpoint and no history. It is then repeated.
    history: list[dict[str, Any]] = saved["epochs"]
    checkpoint.restore(manager.latest_checkpoint.rpartition("-")[0] + f"-{len(history)}").assert_consumed()
    return history


def _write_card(
    output: Path,
    data: TrainingSet,
    options: TrainOptions,
    history: list[dict[str, Any]],
    clips: dict[str, int],
    limits: CauseLimits | None,
    trained: frozenset[str],
) -> Bundle:
    best = max(history, key=_rank)
    measures = {key: value for key, value in best.items() if key not in NOT_MEASURES and value is not None}
    return write_card(
        output,
        name=options.name,
        network=options.network,
        features=data.features,
        label_scale=data.label_scale,
        metrics={key: round(value, 4) for key, value in measures.items()},
        training={
            "options": dataclasses.asdict(options),
            "best_epoch": best["epoch"],
            "clips": clips,
            "history": history,
        },
        cause_limits=limits,
        trained=trained,
    )
