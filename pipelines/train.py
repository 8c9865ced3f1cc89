"""`audiosieve train`: trains a scorer on labelled sets and writes its bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from model.bundle import DIAGNOSTIC_NETWORKS, NETWORK_NAMES, open_bundle
from model.evaluation.reproduction import option_changes
from model.features import CHOICES, FeatureConfig
from model.labels import LABEL_SCALES, PESQ_WB
from model.runtime import start_tensorflow
from pipelines.common.argument_types import number, positive_int, seed
from pipelines.common.arguments import Dependent, Parser, check_effects, parse_options
from pipelines.common.errors import UsageError, command
from pipelines.experiments.service_recipe import TRAIN_DEFAULTS, synthesis_arguments
from transforms.corpus.sources import SourceError, absolute
from transforms.output.ledger import Job, Ledger
from transforms.schemas import SYNTHESIS_TABLES

if TYPE_CHECKING:
    from model.networks.losses import LossName

# Folder in the output with the training set of a recipe.
SET = "set"
# Options that the training set of a recipe depends on.
SET_OPTIONS = ("speech", "noise", "where", "clips", "seed")


@dataclasses.dataclass(frozen=True)
class TrainCommandOptions:
    """Options of `audiosieve train`.

    Attributes:
        data: folders of training sets; at least one without a recipe.
        recipe: recipe that makes the training set, too; None to train on `data`.
        speech: directory, glob or manifest of clean speech for the recipe.
        noise: directory, glob or manifest of noise for the recipe.
        where: conditions on columns of these manifests.
        clips: number of clips that the recipe makes, at least 1.
        workers: number of processes that make them, at least 1.
        output: folder for the bundle, on this machine.
        network: name of the network.
        label: name of the label to learn.
        loss: name of the loss.
        epochs: number of epochs in all, at least 1.
        batch_size: clips in a batch, at least 1.
        shuffle_clips: size of the shuffle buffer in clips, at least 1.
        learning_rate: learning rate of RMSprop in the first epoch, between 0 and 1.
        decay: factor on the learning rate after each epoch, over 0 and at most 1.
        clip_norm: largest norm of the gradient, over 0; None for no limit.
        average: share of the past in the running mean of the weights, 0 to under 1; 0 for no mean.
        patience: epochs without improvement after which training ends, at least 1; None for no end.
        seed: seed of the weights and of the order of the clips, at least 0.
        start: name or folder of the model to start from; None for random weights.
        name: name of the model; None for the name of its folder.
        resume: whether to continue from the last checkpoint in the output.
        threads: TensorFlow threads, at least 1; None for TensorFlow's choice.
        window: analysis window of the spectrogram.
        compression: compression of the spectrogram.
        level: level normalisation before the spectrogram.
    """

    data: tuple[str, ...]
    recipe: Literal["service"] | None
    speech: str | None
    noise: str | None
    where: tuple[str, ...]
    clips: int
    workers: int
    output: str
    network: str
    label: str
    loss: LossName
    epochs: int
    batch_size: int
    shuffle_clips: int
    learning_rate: float
    decay: float
    clip_norm: float | None
    average: float
    patience: int | None
    seed: int
    start: str | None
    name: str | None
    resume: bool
    threads: int | None
    window: Literal["hann", "hamming"]
    compression: Literal["magnitude", "log"]
    level: Literal["gated", "none"]


@command("train")
def run(argv: Sequence[str]) -> int:
    """Trains a network and writes the bundle of its best epoch."""
    options = parse(argv)
    _check_loss(options)
    _check_recipe(options)
    files = _clip_files(options.data)
    start = open_bundle(options.start) if options.start else None
    output = _make_output(options)
    if options.recipe:
        files = _make_set(options, output)
    start_tensorflow(options.threads)
    from model.training.dataset import DatasetError, open_set
    from model.training.trainer import CHECKPOINTS, TrainingError, TrainOptions, train

    train_options = TrainOptions(
        name=options.name or output.resolve().name,
        network=options.network,
        loss=options.loss,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        decay=options.decay,
        clip_norm=options.clip_norm,
        average=options.average,
        patience=options.patience,
        seed=options.seed,
        start=start.model_id if start else None,
    )
    features = FeatureConfig(window=options.window, compression=options.compression, level=options.level)
    try:
        data = open_set(
            files,
            LABEL_SCALES[options.label],
            features,
            shuffle_clips=options.shuffle_clips,
            frames=options.loss == "frames",
            diagnosis=options.loss == "diagnosis",
        )
        # A recipe may have been interrupted before its training.
        resume = options.resume and (options.recipe is None or (output / CHECKPOINTS).exists())
        bundle = train(data, output, train_options, resume=resume, start=start)
    except (DatasetError, TrainingError) as error:
        raise UsageError(str(error)) from error
    metrics = ", ".join(f"{key.upper()} {value:.3f}" for key, value in bundle.metrics.items())
    print(f"{bundle.model_id}: epoch {bundle.training['best_epoch']} is the best, {metrics} on the split val")
    print(f"use it as --model {output}")
    return 0


def _check_loss(options: TrainCommandOptions) -> None:
    if options.loss in ("frames", "diagnosis") and options.label != PESQ_WB.name:
        raise UsageError(
            f"--loss {options.loss} needs --label {PESQ_WB.name}: only this label has true values of frames"
        )
    if (options.loss == "diagnosis") != (options.network in DIAGNOSTIC_NETWORKS):
        raise UsageError(f"--loss diagnosis and --network {' or '.join(DIAGNOSTIC_NETWORKS)} need each other")


def _check_recipe(options: TrainCommandOptions) -> None:
    if options.recipe is None:
        if not options.data:
            raise UsageError("name the training set with --data, or make it with --recipe")
        return
    if options.data:
        raise UsageError(f"--recipe {options.recipe} makes its own training set; leave out --data")
    if not options.speech or not options.noise:
        raise UsageError(f"--recipe {options.recipe} needs --speech and --noise")


def _make_set(options: TrainCommandOptions, output: Path) -> list[Path]:
    """Makes the training set of the recipe in `output/set`, unless it exists, and returns its files.

    Raises:
        UsageError: the set was made with other options, or cannot be made; the messages of `audiosieve synthesize` say why.
    """
    from pipelines import synthesize

    folder = output / SET
    ledger = Ledger(absolute(str(folder)), tuple(SYNTHESIS_TABLES))
    if not ledger.committed("clips"):
        assert options.speech is not None  # `_check_recipe`
        assert options.noise is not None
        arguments = synthesis_arguments(
            options.speech,
            options.noise,
            folder,
            clips=options.clips,
            seed=options.seed,
            where=options.where,
            workers=options.workers,
        )
        if synthesize.run(arguments):
            raise UsageError(f"--recipe {options.recipe}: the training set could not be made")
    recorded = ledger.runs(Job.SYNTHESIZE)[-1]["options"]
    used = {name: getattr(options, name) for name in SET_OPTIONS}
    if changes := option_changes({name: recorded.get(name) for name in SET_OPTIONS}, used):
        raise UsageError(
            f"{folder} was made with other options (--{'; --'.join(changes)}): use those, or choose another --output"
        )
    return _clip_files([str(folder)])


def _clip_files(folders: Sequence[str]) -> list[Path]:
    """Returns the files with the clips of all training sets.

    Raises:
        SourceError: a folder holds no finished set.
    """
    files: list[Path] = []
    for folder in folders:
        committed = Ledger(absolute(folder), tuple(SYNTHESIS_TABLES)).committed("clips")
        if not committed:
            raise SourceError(
                f"{folder}: no finished training set in this folder; make one with `audiosieve synthesize`"
            )
        files += map(Path, committed)
    return files


def _make_output(options: TrainCommandOptions) -> Path:
    """Creates the output folder if necessary and returns it.

    Raises:
        UsageError: the folder is not empty without `--resume`, does not exist with it, or cannot be created.
    """
    output = Path(options.output).expanduser()
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; must be a folder")
    # The set of a recipe may be left from a run that ended before its training.
    own = {SET} if options.recipe else set()
    if output.exists() and not {path.name for path in output.iterdir()} <= own and not options.resume:
        raise UsageError(f"--output {output} is not empty; continue with --resume, or choose another folder")
    if options.resume and not output.exists():
        raise UsageError(f"--resume: there is nothing to continue in {output}")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: cannot write there ({error.strerror})") from error
    return output


def parse(argv: Sequence[str]) -> TrainCommandOptions:
    """Returns the options of the command."""
    parser = build_parser()
    options = parse_options(parser, argv, TrainCommandOptions)
    of_recipe = ("speech", "noise", "where", "clips", "workers")
    check_effects(parser, argv, options, Dependent(of_recipe, options.recipe is not None, "--recipe"))
    if options.recipe is None:
        return options
    parser.set_defaults(**TRAIN_DEFAULTS)
    return parse_options(parser, argv, TrainCommandOptions)


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("train", "Train a scorer. After each epoch the output holds the bundle of the best epoch so far.")
    add, further = parser.add_argument, parser.further.add_argument
    add(
        "--data",
        default=[],
        action="append",
        metavar="SET",
        help="training set made by `audiosieve synthesize`; may be repeated",
    )
    add(
        "--recipe",
        choices=["service"],
        help="make the training set, too: service: the article on a quality service: speech and noise at many SNRs, labels of "
        "PESQ, a BLSTM with frame scores and an overall score. It sets the defaults "
        + ", ".join(f"{name} {value}" for name, value in TRAIN_DEFAULTS.items()),
    )
    add("--speech", help="clean speech for the recipe: directory, glob or manifest CSV")
    add("--noise", help="noise for the recipe: directory, glob or manifest CSV")
    further(
        "--where",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="use only recordings with this value in a column of these manifests; may be repeated",
    )
    further("--clips", type=positive_int, default=10_000, help="number of clips that the recipe makes")
    further("--workers", type=positive_int, default=1, help="number of processes that make them")
    add("-o", "--output", required=True, help="folder for the bundle")
    add("--network", default="quality_net", choices=NETWORK_NAMES, help="network to train")
    add("--label", default=PESQ_WB.name, choices=list(LABEL_SCALES), help="label to learn")
    add(
        "--loss",
        default="weighted",
        choices=["weighted", "unweighted", "frames", "diagnosis"],
        help="loss of the frame scores: weighted, the published one: distance to the label of the clip, with the weight "
        "10^(label - best label); unweighted: the same with weight 1; frames: distance to the true value of each frame; "
        "diagnosis: that of frames and the errors of the diagnosis, for the diagnostic networks",
    )
    add("--epochs", type=positive_int, default=30, help="number of epochs in all")
    further("--batch_size", type=positive_int, default=32, help="clips in a batch")
    further("--shuffle_clips", type=positive_int, default=2048, help="size of the shuffle buffer in clips")
    further(
        "--learning_rate",
        type=number(over=0, under=1),
        default=1e-3,
        help="learning rate of RMSprop in the first epoch",
    )
    further(
        "--decay", type=number(over=0, at_most=1), default=0.95, help="factor on the learning rate after each epoch"
    )
    further("--clip_norm", type=number(over=0), help="largest norm of the gradient; by default there is no limit")
    further(
        "--average",
        type=number(at_least=0, under=1),
        default=0.0,
        help="share of the past in a running mean of the weights over steps, such as 0.999; the bundle holds the mean; 0 for "
        "the weights themselves",
    )
    further(
        "--patience",
        type=positive_int,
        help="epochs without improvement after which training ends; by default it runs all epochs",
    )
    further("--seed", type=seed, default=0, help="seed of the weights and of the order of the clips")
    add(
        "--start",
        metavar="NAME_OR_PATH",
        help="model to start from, for instance to adapt it to your own noise; with another --network, its layers of the same "
        "name and size are used; by default the weights are random",
    )
    add("--name", help="name of the model; by default the name of its folder")
    add("--resume", action="store_true", help="continue from the last checkpoint in --output")
    further("--threads", type=positive_int, help="TensorFlow threads; by default TensorFlow chooses")
    further("--window", default="hann", choices=CHOICES["window"], help="analysis window of the spectrogram")
    further("--compression", default="log", choices=CHOICES["compression"], help="compression of the spectrogram")
    further("--level", default="gated", choices=CHOICES["level"], help="level normalisation before the spectrogram")
    return parser
