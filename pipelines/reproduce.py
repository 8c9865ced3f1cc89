"""`audiosieve reproduce`: the experiment of the paper on BLSTM and attention, on the speech and noise at hand.

For each repeat every utterance is mixed with one noise, drawn anew, at five SNRs, and taken clean: six clips of the same
speech, noise and level, labelled with the pseudo-score of their SNR. Four networks learn the clips of the training
speakers, and are measured on those of the test speakers. The utterances are the same in all repeats.

The clips are planned and made by the functions behind `audiosieve synthesize`, called for one utterance at a time: so all
utterances are there exactly once at each SNR, where `synthesize` would draw them with replacement; and one process is
enough, as nothing is labelled with PESQ. A repeat's set is in the format of `synthesize`, with the splits `train`, `val`
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
import fcntl
import hashlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.bootstrap import Resamples
from model.bundle import Bundle
from model.evaluation import Clip, Scored, choose_threshold, measure, measure_conditions, plain
from model.features import FeatureConfig
from model.labels import PSEUDO
from model.reproduction import (
    MEASURES,
    PUBLISHED,
    SET,
    TITLES,
    differences,
    markdown,
    say_time,
    seconds_left,
    summarise,
)
from model.reproduction import plain as plain_spreads
from model.runtime import start_tensorflow
from pipelines.options import Parser, UsageError, command
from pipelines.synthesize import CLIPS_PER_ROW_GROUP, select
from transforms.batching import BatchLimits
from transforms.labelled import read_clips, score_clips
from transforms.ledger import Ledger, OutputError
from transforms.materials import NOISE, SPEECH, TRAIN, VAL, Catalog, Material, materials
from transforms.materials import measure as measure_material
from transforms.records import AudioFault
from transforms.schemas import CLIPS, SYNTHESIS_TABLES
from transforms.sources import absolute, list_corpus
from transforms.synthesis import ClipOptions, ClipPlan, make_clip, plan_clip

if TYPE_CHECKING:
    from model.losses import LossName

TEST = "test"
SNRS_DB = (-10.0, -5.0, 5.0, 10.0, 20.0)
# The published recipe.
LOSS: LossName = "weighted"
LEARNING_RATE = 1e-3
BATCH_SIZE = 32
DECAY = 1.0
PEAK_DBFS = (-18.0, 0.0)
DEV_SHARE = 0.1
# Where a noise is silent at the place that was drawn, another is drawn, so often at most.
DRAWS = 20
EXPERIMENT, RESULTS, TABLE = "experiment.json", "reproduction.json", "reproduction.md"
LOCK = ".lock"
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
    with _alone(Path(options.output).expanduser()):
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
    folder = config.folder(repeat)
    if (folder / "set.json").exists() and _ledger(folder / "set").committed("clips"):
        return
    _say(config, repeat, f"making {len(config.speech) * (len(SNRS_DB) + 1)} clips")
    # A training can go on only with the very files that it began with.
    for name in ("set", *unfinished):
        shutil.rmtree(folder / name, ignore_errors=True)
    started = time.monotonic()
    ledger = _ledger(folder / "set")
    ledger.check_writable()
    (folder / "set" / "clips").mkdir(exist_ok=True)
    run_id = Ledger.new_run_id()
    counts: Counter[str] = Counter()
    noises = set()
    with pq.ParquetWriter(f"{ledger.prefix('clips', run_id)}-00000-of-00001.parquet", CLIPS, compression="zstd") as out:
        clips = _clips(config, repeat)
        while rows := list(islice(clips, CLIPS_PER_ROW_GROUP)):
            out.write_table(pa.Table.from_pylist(rows, CLIPS))
            counts.update(row["split"] for row in rows)
            noises |= {noise for row in rows for noise in row["noise_ids"]}
    ledger.commit(run_id, {"job": "reproduce", "counts": {"clips": counts.total()}})
    facts = {"seed": config.seed(repeat), "clips": dict(counts), "noises": len(noises)}
    _write_json(folder / "set.json", {**facts, "seconds": round(time.monotonic() - started, 1)})


def _clips(config: ReproduceConfig, repeat: int) -> Iterator[dict[str, Any]]:
    """The rows of a repeat's set: every utterance clean and at each SNR."""
    conditions = [(snr_db, _clip_options(config, repeat, snr_db)) for snr_db in (None, *SNRS_DB)]
    noise: dict[str, list[Material]] = {}
    for item in config.noise:
        noise.setdefault(item.split, []).append(item)
    for number, utterance in enumerate(config.speech):
        catalog = Catalog([utterance, *noise[utterance.split]])
        for draw in range(DRAWS):
            try:
                rows = []
                for snr_db, options in conditions:
                    plan = plan_clip(number + draw * len(config.speech), catalog, options)
                    rows.append(make_clip(_named(plan, number, snr_db), options))
            except AudioFault as fault:
                problem = fault
                continue
            yield from rows
            break
        else:
            raise UsageError(f"{utterance.ref.uri}: no noise can be mixed with it; of the last one: {problem}")


def _named(plan: ClipPlan, number: int, snr_db: float | None) -> ClipPlan:
    """The plan with an id that tells the clips of one utterance apart."""
    condition = "clean" if snr_db is None else f"{snr_db:g}dB"
    return dataclasses.replace(plan, clip_id=f"{plan.seed}-{number:08d}-{condition}")


def _clip_options(config: ReproduceConfig, repeat: int, snr_db: float | None) -> ClipOptions:
    """The same draws for every SNR: one whole noise, and nothing else."""
    longest_s = config.options.max_duration_s
    return ClipOptions(
        seed=config.seed(repeat),
        snr_db=((snr_db or 0.0, snr_db or 0.0),),
        clean_ratio=1.0 if snr_db is None else 0.0,
        duration_s=(longest_s, longest_s),
        peak_dbfs=PEAK_DBFS,
        labels=(PSEUDO,),
    )


def _run_network(config: ReproduceConfig, repeat: int, name: str) -> dict[str, Any]:
    """Trains a network on the set of a repeat, or goes on with it, and measures it."""
    import keras

    from model.dataset import open_set
    from model.training import CHECKPOINTS, HISTORY, TrainingError, TrainOptions, train

    folder, seed = config.folder(repeat), config.seed(repeat)
    output = folder / name
    # Many networks in one process: nothing of one is kept for the next.
    keras.backend.clear_session()
    files = [Path(uri) for uri in _ledger(folder / "set").committed("clips")]
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
    from model.scorer import Scorer

    scorer = Scorer(bundle)
    known = read_clips(str(data))

    def score(clips: Sequence[Clip]) -> np.ndarray:
        frame_scores, _ = score_clips(clips, [scorer], BatchLimits())
        return np.array([scorer.pool(scores) for scores in frame_scores[0]])

    chosen_on = [clip for clip in known if clip.split == VAL]
    threshold = choose_threshold(np.array([clip.clean for clip in chosen_on]), score(chosen_on))
    clips = [clip for clip in known if clip.split == TEST]
    scored = Scored(
        clips=clips,
        score=score(clips),
        localised=[],
        label=np.array([clip.labels[PSEUDO.column] for clip in clips], float),
        label_scale=PSEUDO,
        scale=bundle.label_scale,
        threshold=threshold,
    )
    everything = np.arange(len(clips))
    no_resamples = Resamples([clip.speaker for clip in clips], 0, 0)
    found = plain(measure(scored, everything, everything[:0], no_resamples))
    bands = measure_conditions(scored, "snr", no_resamples)
    return {
        "values": {name: found[name]["value"] for name in (*MEASURES, "rmse", "auc")},
        "threshold": dataclasses.asdict(threshold),
        "by_snr": {
            band: {key: part[key] for key in ("clips", "label_mean", "score_mean", "score_variance")}
            for band, part in bands.items()
        },
    }


def _write_results(config: ReproduceConfig) -> int:
    """Writes the results and the table of all repeats that are finished, and returns how many those are."""
    results = {
        repeat: {name: _read_json(file) for name, file in _result_files(config, repeat).items() if file.exists()}
        for repeat in range(1, config.options.repeats + 1)
    }
    whole = [found for found in results.values() if len(found) == len(config.networks)]
    values = [{name: found[name].get("values", {}) for name in config.networks} for found in whole]
    notes = _notes(config, [(name, found[name]) for found in whole for name in config.networks])
    evaluation = {
        "job": "reproduce",
        **config.experiment,
        "repeats_asked": config.options.repeats,
        "repeats_finished": len(whole),
        "summary": plain_spreads(summarise(values, config.networks)),
        "differences_from_baseline": plain_spreads(differences(values, config.networks)),
        "published": PUBLISHED,
        "notes": notes,
        "repeats": [
            {"repeat": repeat, "set": _read_json(config.folder(repeat) / "set.json"), "networks": found}
            for repeat, found in results.items()
            if found
        ],
    }
    _write_json(config.output / RESULTS, evaluation)
    _write_text(config.output / TABLE, markdown(values, config.networks, notes))
    return len(whole)


def _notes(config: ReproduceConfig, results: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    """What the reader of the table must know."""
    options, counts = config.options, config.experiment["material"]["utterances"]
    speakers = config.experiment["material"]["speakers"]
    notes = []
    if config.experiment["quick"]:
        notes.append("**A quick run, to see that all works: its numbers mean little.**")
    notes += [
        f"{counts[TRAIN] + counts[VAL]} training utterances ({counts[VAL]} of them, of speakers of their own, choose the "
        f"epoch and the threshold), {counts[TEST]} test utterances of {speakers[TEST]} other speakers with other noise; "
        f"each clean and at {', '.join(f'{snr_db:g}' for snr_db in SNRS_DB)} dB.",
        "Precision, recall and F1 are those of clean clips, told from noisy ones by a threshold that was fixed "
        "without the test clips.",
        f"Every repeat draws other noise for the same speech; {options.epochs} epochs, the best by LCC is kept.",
        "The published numbers were reached on other speech and noise: what can be compared is the order of the "
        "networks and the distances between them.",
    ]
    failed = Counter(name for name, found in results if "failed" in found)
    notes += [
        f"{TITLES[name]} could not be trained in {count} of the repeats, which its numbers leave out."
        for name, count in failed.items()
    ]
    return notes


def _say(config: ReproduceConfig, repeat: int, what: str) -> None:
    """One line on stderr: where the run is, how long it took and how long it will."""
    finished, unfinished = [], []
    for number in range(1, config.options.repeats + 1):
        for kind, file in (
            (SET, config.folder(number) / "set.json"),
            *_result_files(config, number).items(),
        ):
            if file.exists():
                finished.append((kind, float(_read_json(file)["seconds"])))
            else:
                unfinished.append(kind)
    took = f"{say_time(sum(seconds for _, seconds in finished))} so far"
    left = seconds_left(finished, unfinished)
    rest = "" if left is None else f", about {say_time(left)} left"
    print(f"repeat {repeat} of {config.options.repeats}: {what}; {took}{rest}", file=sys.stderr, flush=True)


def _config(options: argparse.Namespace) -> ReproduceConfig:
    """Checks the options, lists and measures the material, and compares both to those of the run to go on with.

    Raises:
        UsageError, SourceError, OutputError: something cannot be; the message says what.
    """
    for name in ("repeats", "epochs", "utterances", "test_utterances"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    if options.threads is not None and options.threads < 1:
        raise UsageError(f"--threads is {options.threads}; it must be at least 1")
    if options.seed < 0:
        raise UsageError(f"--seed is {options.seed}; it must be at least 0")
    if options.max_duration_s < 0.25:
        raise UsageError(f"--max_duration_s is {options.max_duration_s}; it must be at least 0.25")
    if options.holdout is not None and not 0 < options.holdout < 1:
        raise UsageError(f"--holdout is {options.holdout}; it must be over 0 and under 1")
    networks = _networks(options.networks)
    output = Path(options.output).expanduser()
    deciding = {name: value for name, value in vars(options).items() if name not in FREE} | {"networks": networks}
    before = _earlier(output)
    if before:
        _compare_options(before["options"], deciding, output)
    noise = _measured(_split(options.noise, NOISE, options), options)
    speech = _measured(_split(options.speech, SPEECH, options), options)
    speech = _chosen(speech, TRAIN, options.utterances, options.seed) + _chosen(
        speech, TEST, options.test_utterances, options.seed
    )
    speech, noise = _with_dev(speech, options.seed), _with_dev(noise, options.seed)
    _check_splits(speech, noise)
    experiment = {
        "options": deciding,
        "quick": options.quick,
        "material": _material(speech, noise),
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


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Keeps a second process out of the folder until this one ends, however it ends.

    Raises:
        OutputError: one is at work there, or the folder cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = (output / LOCK).open("w")
    except OSError as error:
        raise OutputError(f"--output {output}: cannot write there ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"--output {output}: another `audiosieve reproduce` is at work there") from None
        yield


def _compare_options(before: dict[str, Any], now: dict[str, Any], output: Path) -> None:
    # As JSON has them.
    now = json.loads(json.dumps(now))
    changed = [
        f"--{name} was {before.get(name)}, now {now.get(name)}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise UsageError(
            f"--output {output} holds a run with other options ({'; '.join(changed)}): go on with those, or choose another "
            "folder"
        )


def _split(source: str, kind: str, options: argparse.Namespace) -> list[Material]:
    """The material of a kind, sorted into "train" and "test"."""
    found = materials(select(list_corpus(source), kind, options.where), kind, options.holdout)
    return [dataclasses.replace(item, split=TEST if item.split in (VAL, TEST) else item.split) for item in found]


def _measured(items: Sequence[Material], options: argparse.Namespace) -> list[Material]:
    """Those of the recordings that serve; how many do not is said."""
    kind = items[0].kind
    print(f"measuring {len(items)} recordings of {kind} ...", file=sys.stderr, flush=True)
    found, refused = [], Counter[str]()
    for item in items:
        try:
            found.append(measure_material(item, options.min_dynamic_range_db))
        except AudioFault as fault:
            refused[fault.reason] += 1
    if refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
        print(f"{refused.total()} do not serve: {reasons}", file=sys.stderr)
    if not found:
        raise UsageError(f"--{kind}: none of the recordings serves")
    return found


def _chosen(speech: Sequence[Material], split: str, count: int, seed: int) -> list[Material]:
    """So many utterances of a split, drawn with a seed; all of them where there are fewer."""
    there = sorted((item for item in speech if item.split == split), key=lambda item: item.ref.utterance_id)
    drawn = np.random.default_rng(seed).permutation(len(there))[:count]
    return [there[i] for i in sorted(drawn.tolist())]


def _with_dev(items: Sequence[Material], seed: int) -> list[Material]:
    """The material with some of the training groups as split "val", so that the test material chooses nothing.

    Groups are drawn as long as they hold a tenth of the training recordings together at most; one at least, the smallest
    where each holds more, but not the only one.
    """
    sizes = Counter(item.group for item in items if item.split == TRAIN)
    groups = sorted(sizes)
    order = [groups[i] for i in np.random.default_rng([seed, 1]).permutation(len(groups)).tolist()]
    dev: set[str] = set()
    for group in order:
        if sum(sizes[chosen] for chosen in dev) + sizes[group] <= DEV_SHARE * sizes.total():
            dev.add(group)
    if not dev and len(groups) > 1:
        dev = {min(order, key=lambda group: sizes[group])}
    return [
        dataclasses.replace(item, split=VAL) if item.split == TRAIN and item.group in dev else item for item in items
    ]


def _check_splits(speech: Sequence[Material], noise: Sequence[Material]) -> None:
    for kind, items, groups in ((SPEECH, speech, "speakers"), (NOISE, noise, "groups")):
        missing = {TRAIN, VAL, TEST} - {item.split for item in items}
        if missing:
            raise UsageError(
                f"--{kind}: training, the choice of the epoch and the test need {groups} of their own, three at least; the "
                f"{groups} at hand leave none for {sorted(missing)[0]!r} (see --holdout)"
            )


def _material(speech: Sequence[Material], noise: Sequence[Material]) -> dict[str, Any]:
    """Counts, and a hash over which recordings are in which split: a run is gone on with only on the same."""
    lines = sorted(f"{m.kind}\t{m.split}\t{m.group}\t{m.ref.utterance_id}\t{m.num_samples}" for m in (*speech, *noise))

    def by_split(items: Sequence[Material], value: Callable[[Material], str]) -> dict[str, int]:
        pairs = {(item.split, value(item)) for item in items}
        return {split: sum(pair[0] == split for pair in pairs) for split in (TRAIN, VAL, TEST)}

    return {
        "utterances": by_split(speech, lambda item: item.ref.utterance_id),
        "speakers": by_split(speech, lambda item: item.group),
        "noises": by_split(noise, lambda item: item.ref.utterance_id),
        "noise_groups": by_split(noise, lambda item: item.group),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def _ledger(folder: Path) -> Ledger:
    return Ledger(absolute(str(folder)), tuple(SYNTHESIS_TABLES))


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
