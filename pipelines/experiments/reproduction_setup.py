"""Setup of `audiosieve reproduce`: checks options and material, and compares them to those of an unfinished run."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model.evaluation.reproduction import option_changes
from model.features import FeatureConfig
from pipelines.common.errors import UsageError
from pipelines.common.wording import most_first
from pipelines.experiments.material import select_material
from pipelines.experiments.reproduction_files import EXPERIMENT, read_json, write_json
from pipelines.experiments.reproduction_training import BATCH_SIZE, DECAY, LEARNING_RATE, NetworkTraining
from transforms.corpus.sources import list_corpus
from transforms.errors import OutputError
from transforms.evaluation.experiment import SNRS_DB
from transforms.evaluation.experiment_splits import (
    TEST,
    SplitError,
    cut_utterances,
    material_facts,
    measure_material,
    share_noise,
    split_material,
    train_test_material,
)
from transforms.synthesis.materials import NOISE, SPEECH, TRAIN, Material

if TYPE_CHECKING:
    from model.networks.losses import LossName

# Options that may change when a run is continued, because they do not affect the results.
CHANGEABLE = ("output", "speech", "noise", "repeats", "processes", "threads", "keep_sets", "quick")


@dataclasses.dataclass(frozen=True)
class ReproduceOptions:
    """Options of `audiosieve reproduce`.

    Attributes:
        speech: directory, glob or manifest of clean speech.
        noise: directory, glob or manifest of noise.
        output: folder for the results, empty or of an unfinished run.
        where: conditions on columns of the manifests.
        speech_where: further conditions on the speech.
        repeats: number of repeats, at least 1.
        networks: names of the networks, in the order of the table.
        epochs: epochs of each training, at least 1.
        loss: "unweighted" as published, or "weighted".
        noise_split: "shared" for one noise collection in all splits, as published, or "disjoint" for separate groups.
        utterances: number of training utterances, at least 1.
        test_utterances: number of test utterances, at least 1.
        max_duration_s: longest utterance in seconds, at least 0.25; longer recordings are cut into several.
        min_dynamic_range_db: smallest dynamic range of usable speech, in dB.
        holdout: share of speakers and noise groups for the test, between 0 and 1; None for the split of the manifest.
        seed: seed of the draws, at least 0; repeat N has the seed `seed` + N.
        processes: number of networks that are trained at the same time, at least 1.
        threads: TensorFlow threads of a training, at least 1; None for TensorFlow's choice, or 1 with several processes.
        keep_sets: whether to keep the sets of finished repeats.
        quick: whether this is a quick run, which only tests that everything works.
    """

    speech: str
    noise: str
    output: str
    where: tuple[str, ...]
    speech_where: tuple[str, ...]
    repeats: int
    networks: tuple[str, ...]
    epochs: int
    loss: LossName
    noise_split: Literal["shared", "disjoint"]
    utterances: int
    test_utterances: int
    max_duration_s: float
    min_dynamic_range_db: float
    holdout: float | None
    seed: int
    processes: int
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

    def trainings(self, repeat: int) -> list[NetworkTraining]:
        """Returns the trainings of a repeat, one for each network."""
        options = self.options
        return [
            NetworkTraining(self.folder(repeat), repeat, self.seed(repeat), name, options.loss, options.epochs)
            for name in options.networks
        ]


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
        "choices": _choices(options, material_facts(speech, noise)["corpora"]),
        "recipe": {
            "loss": options.loss,
            "optimizer": "RMSprop",
            "learning_rate": LEARNING_RATE,
            "decay": DECAY,
            "batch_size": BATCH_SIZE,
            "features": FeatureConfig().as_dict(),
        },
        "versions": {name: version(name) for name in ("audiosieve", "tensorflow", "keras", "numpy")},
    }
    if earlier:
        _check_same_material(earlier["material"], experiment["material"], output)
    else:
        write_json(output / EXPERIMENT, experiment)
    _print_shortages(options, speech)
    return Reproduction(options, output, speech, noise, earlier or experiment)


def _choices(options: ReproduceOptions, corpora: Sequence[str]) -> list[str]:
    """Returns the settings that the paper leaves open or that differ from it, one sentence each."""
    noise = {
        "shared": "Training, validation and test draw noise from one collection, as published.",
        "disjoint": "Training, validation and test have noise of different groups; the paper names no such split.",
    }
    loss = {
        "unweighted": "The loss of the frames is unweighted, as published.",
        "weighted": "The loss of the frames has the weight 10^(label - 8); the paper has no weight.",
    }
    snrs = ", ".join(f"{snr_db:g}" for snr_db in SNRS_DB)
    return [
        f"The speech is cut into utterances of at most {options.max_duration_s:g} s; corpora: {', '.join(corpora)}.",
        f"Each utterance is used clean and with one noise at {snrs} dB, so one of six clips is clean.",
        noise[options.noise_split],
        loss[options.loss],
        f"RMSprop starts at {LEARNING_RATE:g} and is multiplied by {DECAY:g} after each epoch, as published; a batch has "
        f"{BATCH_SIZE} clips.",
        f"Each repeat draws new noise for the same speech, trains {options.epochs} epochs and keeps the best one by LCC.",
        "The spectrogram is the logarithm of the magnitude after a level normalisation.",
        "The threshold for clean clips has the best F1 on the training clips of the repeat; the paper has 7.1 from its own.",
    ]


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
        if options.noise_split == "shared":
            noise = share_noise(noise)
        return split_material(speech, noise, {TRAIN: options.utterances, TEST: options.test_utterances}, options.seed)
    except SplitError as error:
        raise UsageError(f"--{error.kind}: {error} (see --holdout)") from error


def _measured(source: str, kind: str, options: ReproduceOptions) -> list[Material]:
    """Returns the usable recordings of a kind, as "train" and "test", and prints the number of unusable ones."""
    conditions = (*options.where, *(options.speech_where if kind == SPEECH else ()))
    items = train_test_material(select_material(list_corpus(source), kind, conditions), kind, options.holdout)
    print(f"measuring {len(items)} recordings of {kind} ...", file=sys.stderr, flush=True)
    usable, unusable = measure_material(items, options.min_dynamic_range_db)
    _print_unusable("recordings", unusable)
    if kind == SPEECH:
        usable, unusable = cut_utterances(usable, options.max_duration_s)
        _print_unusable("utterances", unusable)
    if not usable:
        raise UsageError(f"--{kind}: none of the recordings is usable")
    return usable


def _print_unusable(name: str, unusable: Counter[str]) -> None:
    if unusable:
        reasons = ", ".join(f"{count} {reason}" for reason, count in most_first(unusable))
        print(f"{unusable.total()} {name} are unusable: {reasons}", file=sys.stderr)
