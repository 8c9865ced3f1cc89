"""Setup of `audiosieve reproduce`: checks options and material, and compares them to those of an unfinished run."""

from __future__ import annotations

import dataclasses
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.evaluation.reproduction import option_changes
from pipelines.common.errors import UsageError
from pipelines.experiments.material import select_material
from pipelines.experiments.reproduction_files import EXPERIMENT, read_json, write_json
from transforms.corpus.sources import list_corpus
from transforms.errors import OutputError
from transforms.evaluation.experiment_splits import (
    TEST,
    SplitError,
    material_facts,
    measure_material,
    split_material,
    train_test_material,
)
from transforms.synthesis.materials import NOISE, SPEECH, TRAIN, Material

if TYPE_CHECKING:
    from model.networks.losses import LossName

# The published recipe.
LOSS: LossName = "weighted"
LEARNING_RATE = 1e-3
BATCH_SIZE = 32
DECAY = 1.0
# Options that may change when a run is continued, because they do not affect the results.
CHANGEABLE = ("output", "speech", "noise", "repeats", "threads", "keep_sets", "quick")


@dataclasses.dataclass(frozen=True)
class ReproduceOptions:
    """Options of `audiosieve reproduce`.

    Attributes:
        speech: directory, glob or manifest of clean speech.
        noise: directory, glob or manifest of noise.
        output: folder for the results, empty or of an unfinished run.
        where: conditions on columns of the manifests.
        repeats: number of repeats, at least 1.
        networks: names of the networks, in the order of the table.
        epochs: epochs of each training, at least 1.
        utterances: number of training utterances, at least 1.
        test_utterances: number of test utterances, at least 1.
        max_duration_s: longest part of an utterance to use, in seconds, at least 0.25.
        min_dynamic_range_db: smallest dynamic range of usable speech, in dB.
        holdout: share of speakers and noise groups for the test, between 0 and 1; None for the split of the manifest.
        seed: seed of the draws, at least 0; repeat N has the seed `seed` + N.
        threads: TensorFlow threads, at least 1; None for TensorFlow's choice.
        keep_sets: whether to keep the sets of finished repeats.
        quick: whether this is a quick run, which only tests that everything works.
    """

    speech: str
    noise: str
    output: str
    where: tuple[str, ...]
    repeats: int
    networks: tuple[str, ...]
    epochs: int
    utterances: int
    test_utterances: int
    max_duration_s: float
    min_dynamic_range_db: float
    holdout: float | None
    seed: int
    threads: int | None
    keep_sets: bool
    quick: bool


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """Inputs of a reproduction.

    Attributes:
        options: options of the command.
        output: folder for the results.
        speech: utterances of all splits, in order.
        noise: noise of all splits.
        experiment: content of `experiment.json`.
    """

    options: ReproduceOptions
    output: Path
    speech: list[Material]
    noise: list[Material]
    experiment: dict[str, Any]

    def folder(self, repeat: int) -> Path:
        """Returns the folder of a repeat, counted from 1."""
        return self.output / f"repeat-{repeat:02d}"

    def seed(self, repeat: int) -> int:
        """Returns the seed of the noise, the weights and the order of the clips in a repeat."""
        return self.options.seed + repeat

    def result_files(self, repeat: int) -> dict[str, Path]:
        """Returns the result file of each network in a repeat."""
        return {name: self.folder(repeat) / f"{name}.json" for name in self.options.networks}


def set_up(options: ReproduceOptions) -> Reproduction:
    """Lists and measures the material, and compares options and material to those of the run to continue.

    Raises:
        UsageError, SourceError, OutputError: an option cannot be satisfied, or the output holds another run.
    """
    output = Path(options.output).expanduser()
    fixed_options = {name: value for name, value in dataclasses.asdict(options).items() if name not in CHANGEABLE}
    earlier = _earlier_experiment(output)
    if earlier:
        _check_same_options(earlier["options"], fixed_options, output)
    speech, noise = _material(options)
    experiment: dict[str, Any] = {
        "options": fixed_options,
        "quick": options.quick,
        "material": material_facts(speech, noise),
        "recipe": {"loss": LOSS, "learning_rate": LEARNING_RATE, "batch_size": BATCH_SIZE, "decay": DECAY},
        "versions": {name: version(name) for name in ("audiosieve", "tensorflow", "keras", "numpy")},
    }
    if earlier:
        _check_same_material(earlier["material"], experiment["material"], output)
    else:
        write_json(output / EXPERIMENT, experiment)
    _print_shortages(options, speech)
    return Reproduction(options, output, speech, noise, earlier or experiment)


def _earlier_experiment(output: Path) -> dict[str, Any] | None:
    """Returns the content of `experiment.json` of the run to continue; None for a new run.

    Raises:
        OutputError: the folder holds other files, or the file cannot be read.
    """
    if (output / EXPERIMENT).is_file():
        try:
            return read_json(output / EXPERIMENT)
        except (OSError, ValueError) as error:
            raise OutputError(f"{output / EXPERIMENT}: cannot be read ({error})") from error
    if any(output.glob("[!.]*")):
        raise OutputError(f"--output {output} is not empty and holds no reproduction to continue")
    return None


def _check_same_options(earlier: dict[str, Any], now: dict[str, Any], output: Path) -> None:
    changes = "; ".join(f"--{change}" for change in option_changes(earlier, now))
    if changes:
        raise UsageError(
            f"--output {output} holds a run with other options ({changes}): continue with those, or choose another folder"
        )


def _check_same_material(earlier: dict[str, Any], now: dict[str, Any], output: Path) -> None:
    if earlier != now:
        raise UsageError(
            f"--output {output}: the run there began with other speech or noise ({earlier['utterances']} utterances then, "
            f"{now['utterances']} now, or other recordings); choose another folder"
        )


def _print_shortages(options: ReproduceOptions, speech: list[Material]) -> None:
    for split, requested in ((TRAIN, options.utterances), (TEST, options.test_utterances)):
        usable = sum((item.split == TEST) == (split == TEST) for item in speech)
        if usable < requested:
            print(f"only {usable} of the requested {requested} {split} utterances are usable", file=sys.stderr)


def _material(options: ReproduceOptions) -> tuple[list[Material], list[Material]]:
    """Returns the speech and the noise of all splits."""
    noise = _measured(options.noise, NOISE, options)
    speech = _measured(options.speech, SPEECH, options)
    try:
        return split_material(speech, noise, {TRAIN: options.utterances, TEST: options.test_utterances}, options.seed)
    except SplitError as error:
        raise UsageError(f"--{error.kind}: {error} (see --holdout)") from error


def _measured(source: str, kind: str, options: ReproduceOptions) -> list[Material]:
    """Returns the usable recordings of a kind, as "train" and "test", and prints the number of unusable ones."""
    items = train_test_material(select_material(list_corpus(source), kind, options.where), kind, options.holdout)
    print(f"measuring {len(items)} recordings of {kind} ...", file=sys.stderr, flush=True)
    usable, unusable = measure_material(items, options.min_dynamic_range_db)
    if unusable:
        reasons = ", ".join(f"{count} {reason}" for reason, count in unusable.most_common())
        print(f"{unusable.total()} recordings are unusable: {reasons}", file=sys.stderr)
    if not usable:
        raise UsageError(f"--{kind}: none of the recordings is usable")
    return usable
