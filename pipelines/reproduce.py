"""`audiosieve reproduce`: the experiment of the paper on BLSTM and attention, on the speech and noise at hand.

For each repeat every utterance is mixed with one noise, drawn anew, at five SNRs, and taken clean: six clips of the same
speech, noise and level, labelled with the pseudo-score of their SNR. Four networks learn the clips of the training
speakers, and are measured on those of the test speakers. The utterances are the same in all repeats.

The set of a repeat (`transforms.evaluation.experiment`) is in the format of `audiosieve synthesize`, with the splits
`train`, `val`
(some of the training speakers, to choose the epoch and the threshold by) and `test`.

    OUT/experiment.json             options and material, which must stay the same until all is done
    OUT/repeat-NN/set/              the set of the repeat, deleted when its networks are done
    OUT/repeat-NN/set.json          what it held
    OUT/repeat-NN/<network>/        the bundle
    OUT/repeat-NN/<network>.json    what it reached
    OUT/reproduction.json, .md      all results, and the table of the repeats that are finished

What stands under its name is finished: it was written under another name first.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.bundle import Bundle
from model.evaluation.reproduction import SET, TITLES, changes, markdown, notes, reached, results, say_progress
from model.features import FeatureConfig
from model.labels import PSEUDO
from model.runtime import start_tensorflow
from pipelines.common.arguments import Parser
from pipelines.common.errors import UsageError, command
from pipelines.common.output_lock import output_lock
from pipelines.synthesize import CLIPS_PER_ROW_GROUP, select
from transforms.corpus.sources import list_corpus
from transforms.errors import OutputError
from transforms.evaluation.experiment import (
    SNRS_DB,
    TEST,
    SplitError,
    UnmixableError,
    divide,
    make_clips,
    material_facts,
    score_test_clips,
    serving,
    set_ledger,
    train_and_test,
    write_set,
)
from transforms.synthesis.materials import NOISE, SPEECH, TRAIN, Material

if TYPE_CHECKING:
    from model.networks.losses import LossName

# The published recipe.
LOSS: LossName = "weighted"
LEARNING_RATE = 1e-3
BATCH_SIZE = 32
DECAY = 1.0
EXPERIMENT, RESULTS, TABLE = "experiment.json", "reproduction.json", "reproduction.md"
# What decides no number, and may be another when a run is gone on with.
FREE = ("output", "speech", "noise", "repeats", "threads", "keep_sets", "quick")
QUICK = {"utterances": 60, "test_utterances": 20, "repeats": 1, "epochs": 2}


@dataclasses.dataclass
class ReproduceConfig:
    """A reproduction.

    Attributes:
        options: as they were asked for.
        networks: which, in the order of the table.
        output: its folder.
        speech: the utterances of all splits, in order.
        noise: of all splits.
        experiment: what `experiment.json` says.
    """

    options: argparse.Namespace
    networks: list[str]
    output: Path
    speech: list[Material]
    noise: list[Material]
    experiment: dict[str, Any]

    def folder(self, repeat: int) -> Path:
        """Where a repeat is kept; they are counted from 1."""
        return self.output / f"repeat-{repeat:02d}"

    def seed(self, repeat: int) -> int:
        """Of the noise, the weights and the order of the clips in a repeat."""
        return int(self.options.seed) + repeat


@command("reproduce")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, does what is not finished yet, and prints the table after each repeat."""
    options = _options(argv)
    with output_lock(Path(options.output).expanduser()):
        return _run(_config(options))


def _run(config: ReproduceConfig) -> int:
    options = config.options
    start_tensorflow(options.threads)
    for repeat in range(1, options.repeats + 1):
        _run_repeat(config, repeat)
        finished = _write_results(config)
        if repeat < options.repeats and repeat == finished:
            print(
                f"\nafter {repeat} of {options.repeats} repeats:\n\n{(config.output / TABLE).read_text()}", flush=True
            )
    print((config.output / TABLE).read_text())
    print(f"the results are in {config.output}")
    return 0


def _run_repeat(config: ReproduceConfig, repeat: int) -> None:
    """Makes the set of a repeat, trains and measures the networks on it; what is finished is left as it is."""
    folder, places = config.folder(repeat), _result_files(config, repeat)
    unfinished = [name for name in config.networks if not places[name].exists()]
    if unfinished:
        _make_set(config, repeat, unfinished)
    for name in unfinished:
        _say(config, repeat, f"{TITLES[name]} ({config.networks.index(name) + 1} of {len(config.networks)})")
        _write_json(places[name], _run_network(config, repeat, name))
        _write_results(config)
    for name in config.networks:
        # What only an unfinished training needs.
        shutil.rmtree(folder / name / "training" / "checkpoints", ignore_errors=True)
    if not config.options.keep_sets:
        shutil.rmtree(folder / "set", ignore_errors=True)


def _make_set(config: ReproduceConfig, repeat: int, unfinished: Sequence[str]) -> None:
    """Makes the set of a repeat, unless it is there."""
    folder, seed = config.folder(repeat), config.seed(repeat)
    if (folder / "set.json").exists() and set_ledger(folder / "set").committed("clips"):
        return
    _say(config, repeat, f"making {len(config.speech) * (len(SNRS_DB) + 1)} clips")
    # A training can go on only with the very files that it began with.
    for name in ("set", *unfinished):
        shutil.rmtree(folder / name, ignore_errors=True)
    started = time.monotonic()
    try:
        clips = make_clips(config.speech, config.noise, seed, config.options.max_duration_s)
        held = write_set(folder / "set", clips, CLIPS_PER_ROW_GROUP)
    except UnmixableError as error:
        raise UsageError(str(error)) from error
    _write_json(folder / "set.json", {"seed": seed, **held, "seconds": round(time.monotonic() - started, 1)})


def _run_network(config: ReproduceConfig, repeat: int, name: str) -> dict[str, Any]:
    """Trains a network on the set of a repeat, or goes on with it, and measures it."""
    import keras

    from model.training.dataset import open_set
    from model.training.trainer import CHECKPOINTS, HISTORY, TrainingError, TrainOptions, train

    folder, seed = config.folder(repeat), config.seed(repeat)
    output = folder / name
    # Many networks in one process: nothing of one is kept for the next.
    keras.backend.clear_session()
    files = [Path(uri) for uri in set_ledger(folder / "set").committed("clips")]
    train_options = TrainOptions(
        name=f"{name}-{repeat:02d}",
        network=name,
        loss=LOSS,
        epochs=config.options.epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        decay=DECAY,
        seed=seed,
    )
    bundle: Bundle | None = None
    started = time.monotonic()
    # Without its history a training has finished no epoch.
    if (output / CHECKPOINTS / HISTORY).exists():
        with contextlib.suppress(TrainingError):  # what cannot be gone on with is begun again
            bundle = train(open_set(files, PSEUDO, FeatureConfig()), output, train_options, resume=True)
    if bundle is None:
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        try:
            bundle = train(open_set(files, PSEUDO, FeatureConfig()), output, train_options)
        except TrainingError as error:
            # One repeat of a network that fails is a result too; the others need not wait for it.
            print(f"{TITLES[name]}, repeat {repeat}: {error}", file=sys.stderr)
            return {"seed": seed, "failed": str(error), "seconds": round(time.monotonic() - started, 1)}
    epochs = bundle.training["history"]
    started = time.monotonic()
    measured = _measure(folder / "set", bundle)
    return {
        "seed": seed,
        "model_id": bundle.model_id,
        **measured,
        "best_epoch": bundle.training["best_epoch"],
        "epochs": epochs,
        "seconds": round(sum(epoch["seconds"] for epoch in epochs) + time.monotonic() - started, 1),
    }


def _measure(data: Path, bundle: Bundle) -> dict[str, Any]:
    """What a model reaches on the test clips, with a threshold from the clips that the epoch was chosen by."""
    from model.inference.scorer import Scorer

    return reached(score_test_clips(data, Scorer(bundle)))


def _write_results(config: ReproduceConfig) -> int:
    """Writes the results and the table of all repeats that are finished, and returns how many those are."""
    found = {
        repeat: {name: _read_json(file) for name, file in _result_files(config, repeat).items() if file.exists()}
        for repeat in range(1, config.options.repeats + 1)
    }
    whole = [networks for networks in found.values() if len(networks) == len(config.networks)]
    values = [{name: networks[name].get("values", {}) for name in config.networks} for networks in whole]
    material, options = config.experiment["material"], config.options
    failed = Counter(name for networks in whole for name in config.networks if "failed" in networks[name])
    said = notes(
        material["utterances"], material["speakers"][TEST], SNRS_DB, options.epochs, failed, config.experiment["quick"]
    )
    evaluation = {
        "job": "reproduce",
        **config.experiment,
        "repeats_asked": options.repeats,
        **results(values, config.networks),
        "notes": said,
        "repeats": [
            {"repeat": repeat, "set": _read_json(config.folder(repeat) / "set.json"), "networks": networks}
            for repeat, networks in found.items()
            if networks
        ],
    }
    _write_json(config.output / RESULTS, evaluation)
    _write_text(config.output / TABLE, markdown(values, config.networks, said))
    return len(whole)


def _say(config: ReproduceConfig, repeat: int, what: str) -> None:
    """One line on stderr: where the run is, how long it took and how long it will."""
    finished, unfinished = [], []
    for number in range(1, config.options.repeats + 1):
        for kind, file in {SET: config.folder(number) / "set.json", **_result_files(config, number)}.items():
            if file.exists():
                finished.append((kind, float(_read_json(file)["seconds"])))
            else:
                unfinished.append(kind)
    so_far = say_progress(finished, unfinished)
    print(f"repeat {repeat} of {config.options.repeats}: {what}; {so_far}", file=sys.stderr, flush=True)


def _config(options: argparse.Namespace) -> ReproduceConfig:
    """Checks the options, lists and measures the material, and compares both to those of the run to go on with.

    Raises:
        UsageError, SourceError, OutputError: something cannot be; the message says what.
    """
    _check_options(options)
    networks = _networks(options.networks)
    output = Path(options.output).expanduser()
    deciding = {name: value for name, value in vars(options).items() if name not in FREE} | {"networks": networks}
    before = _earlier(output)
    if before:
        _compare_options(before["options"], deciding, output)
    speech, noise = _material(options)
    experiment = {
        "options": deciding,
        "quick": options.quick,
        "material": material_facts(speech, noise),
        "recipe": {"loss": LOSS, "learning_rate": LEARNING_RATE, "batch_size": BATCH_SIZE, "decay": DECAY},
        "versions": {name: version(name) for name in ("audiosieve", "tensorflow", "keras", "numpy")},
    }
    if before:
        if before["material"] != experiment["material"]:
            raise UsageError(
                f"--output {output}: the speech or noise is not what the run there began with "
                f"({before['material']['utterances']} utterances then, {experiment['material']['utterances']} now, or other "
                "recordings); choose another folder"
            )
        experiment = before
    else:
        _write_json(output / EXPERIMENT, experiment)
    for split, wanted in ((TRAIN, options.utterances), (TEST, options.test_utterances)):
        there = sum((item.split == TEST) == (split == TEST) for item in speech)
        if there < wanted:
            print(f"only {there} {split} utterances serve, where {wanted} are asked for", file=sys.stderr)
    return ReproduceConfig(options, networks, output, speech, noise, experiment)


def _check_options(options: argparse.Namespace) -> None:
    """Raises UsageError where a number cannot be."""
    least = {"repeats": 1, "epochs": 1, "utterances": 1, "test_utterances": 1, "threads": 1, "seed": 0}
    for name, lowest in {**least, "max_duration_s": 0.25}.items():
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise UsageError(f"--{name} is {value}; it must be at least {lowest}")
    if options.holdout is not None and not 0 < options.holdout < 1:
        raise UsageError(f"--holdout is {options.holdout}; it must be over 0 and under 1")


def _material(options: argparse.Namespace) -> tuple[list[Material], list[Material]]:
    """The speech and the noise of all splits."""
    noise = _measured(options.noise, NOISE, options)
    speech = _measured(options.speech, SPEECH, options)
    try:
        return divide(speech, noise, {TRAIN: options.utterances, TEST: options.test_utterances}, options.seed)
    except SplitError as error:
        raise UsageError(f"--{error.kind}: {error} (see --holdout)") from error


def _measured(source: str, kind: str, options: argparse.Namespace) -> list[Material]:
    """The recordings of a kind that serve, as "train" and "test"; how many do not is said."""
    items = train_and_test(select(list_corpus(source), kind, options.where), kind, options.holdout)
    print(f"measuring {len(items)} recordings of {kind} ...", file=sys.stderr, flush=True)
    found, refused = serving(items, options.min_dynamic_range_db)
    if refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
        print(f"{refused.total()} do not serve: {reasons}", file=sys.stderr)
    if not found:
        raise UsageError(f"--{kind}: none of the recordings serves")
    return found


def _networks(text: str) -> list[str]:
    asked = text.split(",")
    unknown = [name for name in asked if name not in TITLES]
    if unknown:
        raise UsageError(
            f"--networks: there is no network {unknown[0]!r} in the experiment; there are {', '.join(TITLES)}"
        )
    return [name for name in TITLES if name in asked]


def _earlier(output: Path) -> dict[str, Any] | None:
    """What the run that is to be gone on with began with; None for a new one.

    Raises:
        OutputError: the folder holds something else.
    """
    if (output / EXPERIMENT).is_file():
        try:
            return _read_json(output / EXPERIMENT)
        except (OSError, ValueError) as error:
            raise OutputError(f"{output / EXPERIMENT}: cannot be read ({error})") from error
    if any(output.glob("[!.]*")):
        raise OutputError(f"--output {output} is not empty and holds no reproduction to go on with")
    return None


def _compare_options(before: dict[str, Any], now: dict[str, Any], output: Path) -> None:
    changed = "; ".join(f"--{change}" for change in changes(before, now))
    if changed:
        raise UsageError(
            f"--output {output} holds a run with other options ({changed}): go on with those, or choose another folder"
        )


def _result_files(config: ReproduceConfig, repeat: int) -> dict[str, Path]:
    return {name: config.folder(repeat) / f"{name}.json" for name in config.networks}


def _read_json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _write_json(file: Path, value: dict[str, Any]) -> None:
    _write_text(file, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _write_text(file: Path, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    if "--quick" in argv:
        parser.set_defaults(**QUICK)
    return parser.parse_args(argv)


def _parser() -> Parser:
    parser = Parser(
        "reproduce",
        "Repeat the published experiment with BLSTM and attention networks. Killed and started again, it goes on.",
    )
    add = parser.add_argument
    add("--speech", required=True, help="clean speech: directory, glob or manifest CSV (path, speaker, split, ...)")
    add("--noise", required=True, help="noise: directory, glob or manifest CSV (path, group, split, ...)")
    add("--output", required=True, help="folder for the results, empty or of a run to go on with")
    add("--where", action="append", default=[], metavar="COLUMN=VALUE",
        help="use only what a manifest's column says (or COLUMN!=VALUE); may be repeated")  # fmt: skip
    add("--repeats", type=int, default=8, help="how often, each with other noise; may be raised later")
    add("--networks", default=",".join(TITLES), help="which networks, comma-separated")
    add("--epochs", type=int, default=10, help="of each training")
    add("--utterances", type=int, default=700, help="training utterances; all where there are fewer")
    add("--test_utterances", type=int, default=143, help="test utterances; all where there are fewer")
    add("--max_duration_s", type=float, default=10.0, help="of longer utterances only so much is taken")
    add("--min_dynamic_range_db", type=float, default=31.0, help="speech under this dynamic range is not used; the default "
        "leaves 720 training and 144 test utterances of the corpus that this was written for. A pseudo-score needs no "
        "speech as clean as PESQ does: it speaks of the noise that was added")  # fmt: skip
    add("--holdout", type=float, help="share of speakers and noise groups for the test; by default the manifest's own split "
        "(val or test), or a tenth where it has none")  # fmt: skip
    add("--seed", type=int, default=0, help="repeat N has the seed SEED + N")
    add("--threads", type=int, help="threads of TensorFlow; by default its own choice")
    add("--keep_sets", action="store_true", help="keep the set of each repeat when it is done")
    add("--quick", action="store_true", help="a run of minutes, whose numbers mean little: "
        + ", ".join(f"{name} {value}" for name, value in QUICK.items()))  # fmt: skip
    return parser
