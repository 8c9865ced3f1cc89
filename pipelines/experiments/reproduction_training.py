"""Trains and measures one network of one repeat of `audiosieve reproduce`."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.bundle import Bundle
from model.evaluation.reproduction import TITLES, network_result
from model.features import FeatureConfig
from model.labels import PSEUDO
from transforms.evaluation.experiment import set_ledger
from transforms.evaluation.experiment_scores import predict, write_predictions

if TYPE_CHECKING:
    from model.networks.losses import LossName

# The published recipe. The paper leaves the batch size open.
LEARNING_RATE = 1e-3
BATCH_SIZE = 32
DECAY = 0.95


@dataclasses.dataclass(frozen=True)
class NetworkTraining:
    """A network to train and measure.

    Attributes:
        folder: folder of the repeat, with its set.
        repeat: number of the repeat, from 1.
        seed: seed of the weights and the order of the clips.
        network: name of the network.
        loss: name of the loss.
        epochs: number of epochs.
    """

    folder: Path
    repeat: int
    seed: int
    network: str
    loss: LossName
    epochs: int

    @property
    def result(self) -> Path:
        """File of the result, which exists once the network is finished."""
        return self.folder / f"{self.network}.json"

    @property
    def predictions(self) -> Path:
        """File with the scores of the test clips (`experiment_scores.PREDICTIONS`)."""
        return self.folder / f"{self.network}.parquet"


def example_file(folder: Path) -> Path:
    """Returns the file with the partly corrupted clip of a repeat."""
    return folder / "example.parquet"


def run_network(training: NetworkTraining) -> dict[str, Any]:
    """Trains a network on the set of its repeat, or continues its training, and measures it.

    Returns:
        The result of the network, as JSON values.
    """
    from model.training.trainer import TrainingError

    started = time.monotonic()
    try:
        bundle = _train(training)
    except TrainingError as error:
        # A failed training is a result too, and must not stop the other networks.
        print(f"{TITLES[training.network]}, repeat {training.repeat}: {error}", file=sys.stderr)
        return {"seed": training.seed, "failed": str(error), "seconds": round(time.monotonic() - started, 1)}
    epochs = bundle.training["history"]
    started = time.monotonic()
    return {
        "seed": training.seed,
        "model_id": bundle.model_id,
        **measure_network(training, bundle),
        "best_epoch": bundle.training["best_epoch"],
        "epochs": epochs,
        "seconds": round(sum(epoch["seconds"] for epoch in epochs) + time.monotonic() - started, 1),
    }


def _train(training: NetworkTraining) -> Bundle:
    """Trains a network, or continues its training.

    Raises:
        TrainingError: the training failed.
    """
    import keras

    from model.training.dataset import open_set
    from model.training.trainer import CHECKPOINTS, HISTORY, TrainingError, TrainOptions, train

    output = training.folder / training.network
    # Free the memory of the networks that this process trained before.
    keras.backend.clear_session()
    files = [Path(uri) for uri in set_ledger(training.folder / "set").committed("clips")]
    train_options = TrainOptions(
        name=f"{training.network}-{training.repeat:02d}",
        network=training.network,
        loss=training.loss,
        epochs=training.epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        decay=DECAY,
        seed=training.seed,
    )
    # A training without a history has no finished epoch.
    if (output / CHECKPOINTS / HISTORY).exists():
        # If the training cannot continue, start again.
        with contextlib.suppress(TrainingError):
            return train(open_set(files, PSEUDO, FeatureConfig()), output, train_options, resume=True)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    return train(open_set(files, PSEUDO, FeatureConfig()), output, train_options)


def measure_network(training: NetworkTraining, bundle: Bundle) -> dict[str, Any]:
    """Returns the results of a model on the test clips, with a threshold from the training clips, and keeps its scores."""
    from model.inference.scorer import Scorer

    predictions = predict(training.folder / "set", example_file(training.folder), Scorer(bundle))
    write_predictions(training.predictions, predictions)
    return network_result(predictions.test)
