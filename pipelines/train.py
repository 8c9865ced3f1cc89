"""`audiosieve train`: a labelled training set -> a bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from model.bundle import NETWORK_NAMES, Bundle, open_bundle
from model.features import CHOICES, FeatureConfig
from model.labels import LABEL_SCALES, PESQ_WB
from model.runtime import start_tensorflow
from pipelines.common.arguments import Parser, UsageError, command
from transforms.corpus.sources import SourceError, absolute
from transforms.output.ledger import Ledger
from transforms.schemas import SYNTHESIS_TABLES


@command("train")
def run(argv: Sequence[str]) -> int:
    """Parses the command line and trains."""
    options = _parser().parse_args(argv)
    files, output, features, start = _check(options)
    start_tensorflow(options.threads)
    from model.training.dataset import DatasetError, open_set
    from model.training.trainer import TrainingError, TrainOptions, train

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
    try:
        data = open_set(files, LABEL_SCALES[options.label], features, frames=options.loss == "frames")
        bundle = train(data, output, train_options, resume=options.resume, start=start)
    except (DatasetError, TrainingError) as error:
        raise UsageError(str(error)) from error
    metrics = ", ".join(f"{key.upper()} {value:.3f}" for key, value in bundle.metrics.items())
    print(f"{bundle.model_id}: epoch {bundle.training['best_epoch']} is the best, {metrics} on the split val")
    print(f"use it as --model {output}")
    return 0


def _check(options: argparse.Namespace) -> tuple[list[Path], Path, FeatureConfig, Bundle | None]:
    """Checks what can be checked before TensorFlow is loaded.

    Raises:
        UsageError, SourceError, BundleError: something cannot be; the message says what.
    """
    for name in ("epochs", "batch_size"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    if not 0 < options.learning_rate < 1:
        raise UsageError(f"--learning_rate is {options.learning_rate}; it must be within 0 and 1")
    if not 0 < options.decay <= 1:
        raise UsageError(f"--decay is {options.decay}; it must be over 0 and at most 1")
    if not 0 <= options.average < 1:
        raise UsageError(f"--average is {options.average}; it must be at least 0 and under 1")
    if options.clip_norm is not None and options.clip_norm <= 0:
        raise UsageError(f"--clip_norm is {options.clip_norm}; it must be over 0")
    if options.patience is not None and options.patience < 1:
        raise UsageError(f"--patience is {options.patience}; it must be at least 1")
    if options.loss == "frames" and options.label != PESQ_WB.name:
        raise UsageError(f"--loss frames: frames have their own truth for the label {PESQ_WB.name} alone")
    files: list[Path] = []
    for data in options.data:
        found = Ledger(absolute(data), tuple(SYNTHESIS_TABLES)).committed("clips")
        if not found:
            raise SourceError(f"{data}: no finished training set is there; make one with `audiosieve synthesize`")
        files += map(Path, found)
    start = open_bundle(options.start) if options.start else None
    output = Path(options.output).expanduser()
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file")
    if output.exists() and any(output.iterdir()) and not options.resume:
        raise UsageError(f"--output {output} is not empty; go on with --resume, or choose another folder")
    if options.resume and not output.exists():
        raise UsageError(f"--resume: there is nothing to go on from in {output}")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output}: cannot write there ({error.strerror})") from error
    features = FeatureConfig(window=options.window, compression=options.compression, level=options.level)
    return files, output, features, start


def _parser() -> Parser:
    parser = Parser("train", "Train a scorer. After every epoch the bundle is that of the best epoch so far.")
    add = parser.add_argument
    add("--data", required=True, action="append", metavar="SET",
        help="a training set made by `audiosieve synthesize`; may be repeated")  # fmt: skip
    add("--output", required=True, help="folder for the bundle")
    add("--network", default="quality_net", choices=NETWORK_NAMES, help="which network")
    add("--label", default=PESQ_WB.name, choices=list(LABEL_SCALES), help="which label of the set to learn")
    add("--loss", default="weighted", choices=["weighted", "unweighted", "frames"], help="published: the frames are held "
        "to the label, with weight 10^(label - best label) or 1; frames: each is held to its own truth")  # fmt: skip
    add("--epochs", type=int, default=30, help="how many epochs in all")
    add("--batch_size", type=int, default=32, help="clips in a batch")
    add("--learning_rate", type=float, default=1e-3, help="of RMSprop in the first epoch")
    add("--decay", type=float, default=0.95, help="factor on the learning rate from one epoch to the next")
    add("--clip_norm", type=float, help="largest norm of the gradient; by default there is no limit")
    add("--average", type=float, default=0.0, help="share of the past in a running mean of the weights over steps, "
        "which is what is kept, as 0.999; 0 keeps the weights themselves")  # fmt: skip
    add("--patience", type=int, help="end after so many epochs without a better one; by default never")
    add("--seed", type=int, default=0, help="of the weights and the order of the clips")
    add("--start", metavar="NAME_OR_PATH", help="begin with the weights of this model in the place of random ones, as to fit "
        "it to noise of your own")  # fmt: skip
    add("--name", help="name of the model; by default that of its folder")
    add("--resume", action="store_true", help="go on from the last checkpoint in --output")
    add("--threads", type=int, help="threads of TensorFlow; by default its own choice")
    add("--window", default="hann", choices=CHOICES["window"], help="of the spectrogram")
    add("--compression", default="log", choices=CHOICES["compression"], help="of the spectrogram")
    add("--level", default="gated", choices=CHOICES["level"], help="level normalisation before the spectrogram")
    return parser
