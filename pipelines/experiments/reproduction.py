"""Work of `audiosieve reproduce`: each repeat makes a set, and trains and measures networks on it.

A set has six clips of each utterance: five with one newly drawn noise at five SNRs, and a clean one, all at the same level.
The label of a clip is the pseudo-score of its SNR. Four networks are trained on clips of the training speakers and measured on
clips of the test speakers. The utterances are the same in all repeats.

The set of a repeat (`transforms.evaluation.experiment`) has the format of `audiosieve synthesize`, with the splits `train`,
`val` and `test`.

    OUT/experiment.json             options and material, which must be the same when a run is continued
    OUT/repeat-NN/set/              set of the repeat, deleted when its networks are finished
    OUT/repeat-NN/set.json          facts about the set
    OUT/repeat-NN/<network>/        bundle
    OUT/repeat-NN/<network>.json    result of the network
    OUT/reproduction.json, .md      all results, and the table of the finished repeats
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.bundle import Bundle
from model.evaluation.reproduction import SET, TITLES, markdown, network_result, notes, progress_text, results
from model.features import FeatureConfig
from model.labels import PSEUDO
from model.local_files import write_text
from model.runtime import start_tensorflow
from pipelines.common.errors import UsageError
from pipelines.experiments.reproduction_files import RESULTS, TABLE, read_json, write_json
from pipelines.experiments.reproduction_setup import BATCH_SIZE, DECAY, LEARNING_RATE, LOSS, Reproduction
from pipelines.experiments.synthesis import CLIPS_PER_ROW_GROUP
from transforms.evaluation.experiment import (
    SNRS_DB,
    UnmixableError,
    make_clips,
    score_test_clips,
    set_ledger,
    write_set,
)
from transforms.evaluation.experiment_splits import TEST


def run_reproduction(job: Reproduction) -> str:
    """Runs the unfinished repeats, and prints the table after each repeat except the last.

    Returns:
        The table of all repeats.
    """
    repeats = job.options.repeats
    start_tensorflow(job.options.threads)
    for repeat in range(1, repeats + 1):
        _run_repeat(job, repeat)
        finished = _write_results(job)
        if repeat < repeats and repeat == finished:
            print(f"\nafter {repeat} of {repeats} repeats:\n\n{_table(job)}", flush=True)
    return _table(job)


def _table(job: Reproduction) -> str:
    return (job.output / TABLE).read_text(encoding="utf-8")


def _run_repeat(job: Reproduction, repeat: int) -> None:
    """Makes the set of a repeat, and trains and measures the networks that are not finished."""
    folder, files = job.folder(repeat), job.result_files(repeat)
    networks = job.options.networks
    unfinished = [name for name in networks if not files[name].exists()]
    if unfinished:
        _make_set(job, repeat, unfinished)
    for name in unfinished:
        _print_progress(job, repeat, f"{TITLES[name]} ({networks.index(name) + 1} of {len(networks)})")
        write_json(files[name], run_network(job, repeat, name))
        _write_results(job)
    for name in networks:
        # Only an unfinished training needs its checkpoints.
        shutil.rmtree(folder / name / "training" / "checkpoints", ignore_errors=True)
    if not job.options.keep_sets:
        shutil.rmtree(folder / "set", ignore_errors=True)


def _make_set(job: Reproduction, repeat: int, unfinished: Sequence[str]) -> None:
    """Makes the set of a repeat unless it exists."""
    folder, seed = job.folder(repeat), job.seed(repeat)
    if (folder / "set.json").exists() and set_ledger(folder / "set").committed("clips"):
        return
    _print_progress(job, repeat, f"making {len(job.speech) * (len(SNRS_DB) + 1)} clips")
    # A training can continue only on the set that it began with.
    for name in ("set", *unfinished):
        shutil.rmtree(folder / name, ignore_errors=True)
    started = time.monotonic()
    try:
        clips = make_clips(job.speech, job.noise, seed, job.options.max_duration_s)
        facts = write_set(folder / "set", clips, CLIPS_PER_ROW_GROUP)
    except UnmixableError as error:
        raise UsageError(str(error)) from error
    write_json(folder / "set.json", {"seed": seed, **facts, "seconds": round(time.monotonic() - started, 1)})


def run_network(job: Reproduction, repeat: int, name: str) -> dict[str, Any]:
    """Trains a network on the set of a repeat, or continues its training, and measures it.

    Args:
        job: inputs of the reproduction.
        repeat: number of the repeat, from 1.
        name: name of the network.

    Returns:
        The result of the network, as JSON values.
    """
    from model.training.trainer import TrainingError

    folder, seed = job.folder(repeat), job.seed(repeat)
    started = time.monotonic()
    try:
        bundle = _train(job, repeat, name)
    except TrainingError as error:
        # A failed training is a result too, and must not stop the other networks.
        print(f"{TITLES[name]}, repeat {repeat}: {error}", file=sys.stderr)
        return {"seed": seed, "failed": str(error), "seconds": round(time.monotonic() - started, 1)}
    epochs = bundle.training["history"]
    started = time.monotonic()
    return {
        "seed": seed,
        "model_id": bundle.model_id,
        **measure_network(folder / "set", bundle),
        "best_epoch": bundle.training["best_epoch"],
        "epochs": epochs,
        "seconds": round(sum(epoch["seconds"] for epoch in epochs) + time.monotonic() - started, 1),
    }


def _train(job: Reproduction, repeat: int, name: str) -> Bundle:
    """Trains a network on the set of a repeat, or continues its training.

    Raises:
        TrainingError: the training failed.
    """
    import keras

    from model.training.dataset import open_set
    from model.training.trainer import CHECKPOINTS, HISTORY, TrainingError, TrainOptions, train

    folder = job.folder(repeat)
    output = folder / name
    # Free the memory of the networks that this process trained before.
    keras.backend.clear_session()
    files = [Path(uri) for uri in set_ledger(folder / "set").committed("clips")]
    train_options = TrainOptions(
        name=f"{name}-{repeat:02d}",
        network=name,
        loss=LOSS,
        epochs=job.options.epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        decay=DECAY,
        seed=job.seed(repeat),
    )
    # A training without a history has no finished epoch.
    if (output / CHECKPOINTS / HISTORY).exists():
        # If the training cannot continue, start again.
        with contextlib.suppress(TrainingError):
            return train(open_set(files, PSEUDO, FeatureConfig()), output, train_options, resume=True)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    return train(open_set(files, PSEUDO, FeatureConfig()), output, train_options)


def measure_network(data: Path, bundle: Bundle) -> dict[str, Any]:
    """Returns the results of a model on the test clips of a set, with a threshold from its validation clips."""
    from model.inference.scorer import Scorer

    return network_result(score_test_clips(data, Scorer(bundle)))


def _write_results(job: Reproduction) -> int:
    """Writes the results and the table of the finished repeats, and returns their number."""
    options = job.options
    by_repeat = {
        repeat: {name: read_json(file) for name, file in job.result_files(repeat).items() if file.exists()}
        for repeat in range(1, options.repeats + 1)
    }
    finished = [networks for networks in by_repeat.values() if len(networks) == len(options.networks)]
    values = [{name: networks[name].get("values", {}) for name in options.networks} for networks in finished]
    failed = Counter(name for networks in finished for name in options.networks if "failed" in networks[name])
    material = job.experiment["material"]
    remarks = notes(
        material["utterances"], material["speakers"][TEST], SNRS_DB, options.epochs, failed, job.experiment["quick"]
    )
    evaluation = {
        "job": "reproduce",
        **job.experiment,
        "repeats_asked": options.repeats,
        **results(values, options.networks),
        "notes": remarks,
        "repeats": [
            {"repeat": repeat, "set": read_json(job.folder(repeat) / "set.json"), "networks": networks}
            for repeat, networks in by_repeat.items()
            if networks
        ],
    }
    write_json(job.output / RESULTS, evaluation)
    write_text(job.output / TABLE, markdown(values, options.networks, remarks))
    return len(finished)


def _print_progress(job: Reproduction, repeat: int, step: str) -> None:
    """Prints the step that begins, the elapsed time and the estimated remaining time to stderr."""
    finished, unfinished = [], []
    for number in range(1, job.options.repeats + 1):
        for kind, file in {SET: job.folder(number) / "set.json", **job.result_files(number)}.items():
            if file.exists():
                finished.append((kind, float(read_json(file)["seconds"])))
            else:
                unfinished.append(kind)
    text = progress_text(finished, unfinished)
    print(f"repeat {repeat} of {job.options.repeats}: {step}; {text}", file=sys.stderr, flush=True)
