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
    OUT/repeat-NN/<network>.parquet scores of the test clips and the example
    OUT/repeat-NN/example.parquet   clip with noise in a part of it
    OUT/reproduction.json, .md      all results, and the table of the finished repeats
    OUT/figures/                    Figures 2 to 4 of the paper, of the first repeat
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence

from model.evaluation.reproduction import SET, TITLES, markdown, notes, progress_text, results
from model.local_files import write_text
from pipelines.common.errors import UsageError
from pipelines.experiments.reproduction_figures import FIGURE_FILES, FIGURES, draw_figures
from pipelines.experiments.reproduction_files import RESULTS, TABLE, read_json, write_json
from pipelines.experiments.reproduction_processes import TrainingPool
from pipelines.experiments.reproduction_setup import Reproduction
from pipelines.experiments.reproduction_training import NetworkTraining, example_file
from pipelines.experiments.synthesis import CLIPS_PER_ROW_GROUP
from transforms.evaluation.experiment import (
    SNRS_DB,
    UnmixableError,
    make_clips,
    make_example,
    set_ledger,
    write_example,
    write_set,
)


def run_reproduction(job: Reproduction) -> str:
    """Runs the unfinished repeats, and prints the table after each repeat except the last.

    Returns:
        The table of all repeats.
    """
    options = job.options

    def on_finish(training: NetworkTraining) -> None:
        finished = _write_results(job)
        if _is_finished(job, training.repeat):
            _finish_repeat(job, training.repeat)
            if finished < options.repeats:
                print(f"\nafter {finished} of {options.repeats} repeats:\n\n{_table(job)}", flush=True)

    with TrainingPool(options.processes, options.threads, on_finish) as pool:
        for repeat in range(1, options.repeats + 1):
            _run_repeat(job, repeat, pool)
        pool.wait_for_all()
    _write_results(job)
    return _table(job)


def _table(job: Reproduction) -> str:
    return (job.output / TABLE).read_text(encoding="utf-8")


def _run_repeat(job: Reproduction, repeat: int, pool: TrainingPool) -> None:
    """Makes the set of a repeat, and trains the networks that are not finished; the last ones may still run afterwards."""
    unfinished = [training for training in job.trainings(repeat) if not training.result.exists()]
    if not unfinished:
        _finish_repeat(job, repeat)
        return
    pool.wait_for_slot()
    _make_set(job, repeat, [training.network for training in unfinished], pool)
    networks = job.options.networks
    for training in unfinished:
        pool.wait_for_slot()
        title = f"{TITLES[training.network]} ({networks.index(training.network) + 1} of {len(networks)})"
        _print_progress(job, repeat, title, pool)
        pool.train(training)


def _is_finished(job: Reproduction, repeat: int) -> bool:
    return all(training.result.exists() for training in job.trainings(repeat))


def _finish_repeat(job: Reproduction, repeat: int) -> None:
    """Draws the figures of the first repeat, and removes what only unfinished trainings need."""
    folder = job.folder(repeat)
    if repeat == 1 and not all((job.output / FIGURES / name).exists() for name in FIGURE_FILES):
        draw_figures(job.output, folder, job.options.networks)
    for name in job.options.networks:
        shutil.rmtree(folder / name / "training" / "checkpoints", ignore_errors=True)
    if not job.options.keep_sets:
        shutil.rmtree(folder / "set", ignore_errors=True)


def _make_set(job: Reproduction, repeat: int, unfinished: Sequence[str], pool: TrainingPool) -> None:
    """Makes the set of a repeat unless it exists."""
    folder, seed = job.folder(repeat), job.seed(repeat)
    if (folder / "set.json").exists() and set_ledger(folder / "set").committed("clips"):
        return
    _print_progress(job, repeat, f"making {len(job.speech) * (len(SNRS_DB) + 1)} clips", pool)
    # A training can continue only on the set that it began with.
    for name in ("set", *unfinished):
        shutil.rmtree(folder / name, ignore_errors=True)
    started = time.monotonic()
    try:
        clips = make_clips(job.speech, job.noise, seed, job.options.max_duration_s)
        facts = write_set(folder / "set", clips, CLIPS_PER_ROW_GROUP)
        example = make_example(job.speech, job.noise, seed, job.options.max_duration_s)
        write_example(example_file(folder), example)
    except UnmixableError as error:
        raise UsageError(str(error)) from error
    write_json(folder / "set.json", {"seed": seed, **facts, "seconds": round(time.monotonic() - started, 1)})


def _write_results(job: Reproduction) -> int:
    """Writes the results and the table of the finished repeats, and returns their number."""
    options = job.options
    by_repeat = {
        repeat: {one.network: read_json(one.result) for one in job.trainings(repeat) if one.result.exists()}
        for repeat in range(1, options.repeats + 1)
    }
    finished = [networks for networks in by_repeat.values() if len(networks) == len(options.networks)]
    values = [{name: networks[name].get("values", {}) for name in options.networks} for networks in finished]
    failed = Counter(name for networks in finished for name in options.networks if "failed" in networks[name])
    experiment = job.experiment
    remarks = notes(experiment["material"], experiment["choices"], failed, experiment["quick"])
    evaluation = {
        "job": "reproduce",
        **experiment,
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


def _print_progress(job: Reproduction, repeat: int, step: str, pool: TrainingPool) -> None:
    """Prints the step that begins, the elapsed time and the estimated remaining time to stderr."""
    finished, unfinished = [], []
    for number in range(1, job.options.repeats + 1):
        files = {SET: job.folder(number) / "set.json"} | {one.network: one.result for one in job.trainings(number)}
        for kind, file in files.items():
            if file.exists():
                finished.append((kind, float(read_json(file)["seconds"])))
            else:
                unfinished.append(kind)
    text = progress_text(finished, unfinished, job.options.processes, pool.running())
    print(f"repeat {repeat} of {job.options.repeats}: {step}; {text}", file=sys.stderr, flush=True)
