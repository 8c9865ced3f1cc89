"""`audiosieve reproduce`, end to end on a handful of utterances: made, trained, measured, killed and gone on with."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

import pipelines.experiments.reproduction as job
import pipelines.experiments.reproduction_processes as job_processes
import pipelines.experiments.reproduction_training as job_training
import transforms.evaluation.experiment as experiment
from model.bundle import open_bundle
from model.evaluation.reproduction import MEASURES
from model.labels import pseudo_score
from pipelines.common.output_lock import output_lock
from pipelines.reproduce import parse
from tests.support.command import Done, audiosieve
from transforms.errors import OutputError
from transforms.schemas import CLIPS

pytestmark = pytest.mark.slow
CONDITIONS = {None, -10.0, -5.0, 5.0, 10.0, 20.0}
NETWORKS = ("quality_net", "l_att")


@pytest.fixture(scope="module")
def manifest(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven speakers with two utterances each and six noises, with splits; one file of each kind does not serve."""
    root = tmp_path_factory.mktemp("material")
    speech, rate = soundfile.read(samples / "clean.flac", dtype="float32")
    rng = np.random.default_rng(5)
    lines = ["path,kind,split,speaker,group"]
    for number in range(14):
        part = speech[(number % 5) * 3000 :][: rate + 500 * number]
        soundfile.write(root / f"speech{number}.flac", part, rate)
        lines.append(f"speech{number}.flac,speech,{'val' if number >= 10 else 'train'},speaker{number // 2},")
    for number in range(6):
        noise = rng.standard_normal(20_000) + 3 * np.sin(np.arange(20_000) * 0.02 * (number + 1))
        soundfile.write(root / f"noise{number}.flac", 0.05 * noise, rate)
        lines.append(f"noise{number}.flac,noise,{'val' if number >= 4 else 'train'},,group{number}")
    for name in ("broken1.wav", "broken2.wav"):
        (root / name).write_text("no audio")
    # Half of it is silent: other places must be drawn.
    gaps = np.concatenate([np.zeros(60_000), 0.1 * rng.standard_normal(30_000)])
    soundfile.write(root / "gaps.flac", gaps, rate)
    lines += ["broken1.wav,speech,train,speaker0,", "broken2.wav,noise,train,,group0", "gaps.flac,noise,train,,group6"]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root / "manifest.csv"


def reproduce(manifest: Path, output: Path, *options: object, status: int = 0) -> Done:
    """A run of two networks on some of the utterances; later options override."""
    words = ["--speech", manifest, "--noise", manifest, "--output", output, "--networks", ",".join(NETWORKS)]
    words += ["--utterances", 9, "--test_utterances", 3, "--epochs", 2, "--repeats", 2, "--threads", 1]
    words += ["--min_dynamic_range_db", 0, "--max_duration_s", 1.2, "--noise_split", "disjoint"]
    return audiosieve("reproduce", *words, *options, status=status)


def results(output: Path) -> dict[str, Any]:
    return json.loads((output / job.RESULTS).read_text())


def rows_of(output: Path, repeat: int) -> list[dict[str, Any]]:
    return pq.read_table(output / f"repeat-{repeat:02d}" / "set" / "clips").to_pylist()


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run that nothing disturbed, with its sets."""
    output = tmp_path_factory.mktemp("whole") / "out"
    return output, reproduce(manifest, output, "--keep_sets")


def test_the_results_are_those_of_all_networks_in_all_repeats(whole: tuple[Path, Done]) -> None:
    found = results(whole[0])
    assert (found["repeats_asked"], found["repeats_finished"]) == (2, 2)
    assert found["options"]["networks"] == list(NETWORKS)
    assert [repeat["set"]["seed"] for repeat in found["repeats"]] == [1, 2]
    for repeat in found["repeats"]:
        assert set(repeat["networks"]) == set(NETWORKS)
        for name, network in repeat["networks"].items():
            assert set(MEASURES) <= set(network["values"])
            assert [epoch["epoch"] for epoch in network["epochs"]] == [1, 2]
            assert set(network["by_snr"]) == {"-10 dB", "-5 dB", "5 dB", "10 dB", "20 dB", "clean"}
            bundle = open_bundle(whole[0] / f"repeat-{repeat['repeat']:02d}" / name)
            assert network["model_id"] == bundle.model_id
            assert (bundle.network, bundle.label_scale.name) == (name, "pseudo")
    lcc = [repeat["networks"]["l_att"]["values"]["lcc"] for repeat in found["repeats"]]
    assert found["summary"]["l_att"]["lcc"]["mean"] == pytest.approx(np.mean(lcc))
    assert found["summary"]["l_att"]["lcc"]["std"] == pytest.approx(np.std(lcc, ddof=1))
    assert found["published"]["lc_att"]["lcc"] == 0.919


def test_the_table_is_printed_after_each_repeat_and_kept(whole: tuple[Path, Done]) -> None:
    table = (whole[0] / job.TABLE).read_text()
    assert "over 2 repeats." in table
    assert table in whole[1].stdout
    assert "after 1 of 2 repeats:" in whole[1].stdout
    assert "over 1 repeat." in whole[1].stdout
    assert "6 train" not in table
    assert "9 training utterances" in table


def test_progress_says_what_is_done_and_how_long_it_will_take(whole: tuple[Path, Done]) -> None:
    lines = [line for line in whole[1].stderr.splitlines() if line.startswith("repeat ")]
    assert lines[0] == "repeat 1 of 2: making 72 clips; 0 s so far"
    assert lines[1].startswith("repeat 1 of 2: Quality-Net (baseline) (1 of 2); ")
    assert "left" not in lines[1]
    assert lines[-1].startswith("repeat 2 of 2: L_ATT (2 of 2); ")
    assert lines[-1].endswith("left")


def test_every_utterance_is_there_clean_and_at_each_snr(whole: tuple[Path, Done]) -> None:
    rows = rows_of(whole[0], 1)
    assert len({row["clip_id"] for row in rows}) == len(rows) == 72
    assert pq.read_table(whole[0] / "repeat-01" / "set" / "clips").schema.equals(CLIPS)
    of_speech = defaultdict(list)
    for row in rows:
        of_speech[row["speech_id"]].append(row)
        assert row["pseudo"] == pytest.approx(pseudo_score(row["snr_db"]))
        assert row["pesq_wb"] is None
        assert row["variation"] == []
    assert len(of_speech) == 12
    for clips in of_speech.values():
        assert {clip["snr_db"] for clip in clips} == CONDITIONS
        assert len({clip["duration_s"] for clip in clips}) == 1
        noisy = [clip for clip in clips if clip["snr_db"] is not None]
        # The same noise at all SNRs, over the whole clip, and nothing besides.
        assert len({tuple(clip["noise_ids"]) for clip in noisy}) == 1
        for clip in noisy:
            (distortion,) = clip["distortions"]
            assert (distortion["kind"], distortion["start_s"], distortion["end_s"]) == ("noise", 0, clip["duration_s"])
        (clean,) = [clip for clip in clips if clip["snr_db"] is None]
        assert clean["distortions"] == []


def test_speakers_and_noise_of_the_three_splits_are_apart(whole: tuple[Path, Done]) -> None:
    for repeat in (1, 2):
        speakers, groups, utterances = defaultdict(set), defaultdict(set), defaultdict(set)
        for row in rows_of(whole[0], repeat):
            speakers[row["split"]].add(row["speaker"])
            groups[row["split"]].update(row["noise_groups"])
            utterances[row["split"]].add(row["speech_id"])
        for sets in (speakers, groups):
            assert sets["train"]
            assert sets["val"]
            assert sets["test"]
            assert not sets["train"] & sets["val"]
            assert not (sets["train"] | sets["val"]) & sets["test"]
        # The manifest's split decides what is for the test.
        assert speakers["test"] <= {"speaker5", "speaker6"}
        assert groups["test"] <= {"group4", "group5"}
        assert (len(utterances["train"] | utterances["val"]), len(utterances["test"])) == (9, 3)


def test_the_choices_are_recorded_and_in_the_table(whole: tuple[Path, Done]) -> None:
    experiment_record = json.loads((whole[0] / "experiment.json").read_text())
    recipe = experiment_record["recipe"]
    assert (recipe["loss"], recipe["decay"], recipe["learning_rate"]) == ("unweighted", 0.95, 1e-3)
    assert experiment_record["options"]["noise_split"] == "disjoint"
    table = (whole[0] / job.TABLE).read_text()
    for choice in experiment_record["choices"]:
        assert f"- {choice}" in table
    epochs = results(whole[0])["repeats"][0]["networks"]["l_att"]["epochs"]
    assert len(epochs) == 2


def test_the_figures_of_the_first_repeat_are_drawn(whole: tuple[Path, Done]) -> None:
    figures = sorted((whole[0] / "figures").iterdir())
    assert [figure.name.split("-")[1] for figure in figures] == ["2", "3", "4"]
    for figure in figures:
        with Image.open(figure) as picture:
            assert min(picture.size) > 400


def test_networks_in_processes_of_their_own_have_the_same_results(
    whole: tuple[Path, Done], manifest: Path, tmp_path: Path
) -> None:
    reproduce(manifest, tmp_path / "out", "--processes", 2, "--repeats", 1)
    alone, side_by_side = results(whole[0])["repeats"][0], results(tmp_path / "out")["repeats"][0]
    for name in NETWORKS:
        for fact in ("model_id", "values", "threshold", "best_epoch"):
            assert side_by_side["networks"][name][fact] == alone["networks"][name][fact]
        assert "epoch 2 of 2" in (tmp_path / "out" / "repeat-01" / f"{name}.log").read_text()
    assert not (tmp_path / "out" / "repeat-01" / "set").exists()


def test_a_process_that_ends_without_a_result_ends_the_run(tmp_path: Path) -> None:
    """There is no set to train on."""
    training = job_training.NetworkTraining(tmp_path, 3, 0, "l_att", "unweighted", 1)
    with job_processes.TrainingPool(2, None, lambda _: None) as pool:
        pool.train(training)
        with pytest.raises(OutputError, match=r"l_att in repeat 3 ended with status 1; .*l_att.log has its messages"):
            pool.wait_for_all()
    assert "Traceback" in (tmp_path / "l_att.log").read_text()


def test_training_counts_no_test_clip(whole: tuple[Path, Done]) -> None:
    card = open_bundle(whole[0] / "repeat-01" / "l_att")
    rows = rows_of(whole[0], 1)
    assert card.training["clips"] == {split: sum(row["split"] == split for row in rows) for split in ("train", "val")}


def test_repeats_have_the_same_speech_and_other_noise(whole: tuple[Path, Done]) -> None:
    first, second = rows_of(whole[0], 1), rows_of(whole[0], 2)
    assert [row["speech_id"] for row in first] == [row["speech_id"] for row in second]
    assert [row["noise_ids"] for row in first] != [row["noise_ids"] for row in second]
    assert not {row["audio"] for row in first if row["noise_ids"]} & {row["audio"] for row in second}


class Killed(KeyboardInterrupt):
    """Ends a run as a signal would."""


def kill_after(monkeypatch: pytest.MonkeyPatch, module: Any, function: str, calls: int) -> None:
    """Has a function of a module end the run when it was called so often."""
    original, left = getattr(module, function), [calls]

    def counted(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(module, function, counted)


def test_a_run_that_was_killed_again_and_again_ends_as_one_that_was_not(
    whole: tuple[Path, Done], manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import model.training.trainer

    output = tmp_path / "out"
    # In the first set; after an epoch of the second network; in the second set; between two networks; at the end.
    for module, function, calls in (
        (experiment, "make_clip", 20),
        (model.training.trainer, "validate", 3),
        (experiment, "make_clip", 40),
        (job_processes, "run_network", 1),
        (job_training, "measure_network", 0),
    ):
        with monkeypatch.context() as patch:
            kill_after(patch, module, function, calls)
            reproduce(manifest, output, status=130)
    done = reproduce(manifest, output)
    assert "making" not in done.stderr
    assert (output / job.TABLE).read_text() == (whole[0] / job.TABLE).read_text()
    found, undisturbed = results(output), results(whole[0])
    assert found["summary"] == undisturbed["summary"]
    assert [
        (network["model_id"], network["values"], network["threshold"], network["best_epoch"])
        for repeat in found["repeats"]
        for network in repeat["networks"].values()
    ] == [
        (network["model_id"], network["values"], network["threshold"], network["best_epoch"])
        for repeat in undisturbed["repeats"]
        for network in repeat["networks"].values()
    ]
    assert not list(output.glob("*/set"))
    assert not list(output.rglob(".draft-*"))
    assert not list(output.glob("*/*/training/checkpoints"))


@pytest.fixture
def finished(whole: tuple[Path, Done], tmp_path: Path) -> Path:
    """A copy of the whole run, to go on with."""
    return Path(shutil.copytree(whole[0], tmp_path / "out"))


def test_a_finished_run_does_nothing_again(finished: Path, manifest: Path) -> None:
    before = (finished / job.TABLE).read_text()
    done = reproduce(manifest, finished)
    assert "epoch" not in done.stderr
    assert (finished / job.TABLE).read_text() == before


def test_repeats_can_be_added_and_the_table_rests_on_those_asked_for(finished: Path, manifest: Path) -> None:
    reproduce(manifest, finished, "--repeats", 1)
    assert "over 1 repeat." in (finished / job.TABLE).read_text()
    done = reproduce(manifest, finished, "--repeats", 3)
    assert results(finished)["repeats_finished"] == 3
    assert "repeat 1 of" not in done.stderr
    assert "repeat 3 of 3: making" in done.stderr


def test_other_options_are_refused(finished: Path, manifest: Path) -> None:
    done = reproduce(manifest, finished, "--epochs", 5, "--networks", "lc_att", status=2)
    assert "--epochs was 2, now 5" in done.stderr
    assert "--networks was ['quality_net', 'l_att'], now ['lc_att']" in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_material_is_refused(finished: Path, manifest: Path, tmp_path: Path) -> None:
    done = reproduce(manifest, finished, "--noise", manifest.parent / "noise*.flac", status=2)
    assert "the run there began with other speech or noise" in done.stderr
    # Where it lies does not matter.
    moved = shutil.copytree(manifest.parent, tmp_path / "moved")
    reproduce(moved / "manifest.csv", finished)


def test_a_second_run_in_the_same_folder_is_refused(finished: Path, manifest: Path) -> None:
    with output_lock(finished):
        done = reproduce(manifest, finished, status=2)
    assert "another audiosieve process is writing there" in done.stderr


def test_a_training_that_fails_is_left_out_and_named(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import model.training.trainer

    original = model.training.trainer.train

    def fails(data: Any, output: Path, options: Any, **others: Any) -> Any:
        if options.network == "l_att":
            raise model.training.trainer.TrainingError("the loss is nan")
        return original(data, output, options, **others)

    monkeypatch.setattr(model.training.trainer, "train", fails)
    reproduce(manifest, tmp_path / "out", "--repeats", 1, "--epochs", 1)
    found = results(tmp_path / "out")
    assert found["repeats"][0]["networks"]["l_att"]["failed"] == "the loss is nan"
    assert found["summary"]["l_att"]["lcc"] == {"mean": None, "std": None, "repeats": 0}
    assert "L_ATT could not be trained in 1 of the repeats" in (tmp_path / "out" / job.TABLE).read_text()


def test_quick_sets_what_was_not_asked_for_and_says_what_it_is() -> None:
    options = parse(["--speech", "s", "--noise", "n", "--output", "o", "--quick", "--epochs", "3"])
    assert (options.utterances, options.repeats, options.epochs) == (60, 1, 3)
    options = parse(["--speech", "s", "--noise", "n", "--output", "o"])
    assert (options.utterances, options.test_utterances, options.repeats, options.epochs) == (700, 143, 8, 10)
    assert (options.loss, options.noise_split, options.max_duration_s) == ("unweighted", "shared", 3.0)
    assert options.networks == ("quality_net", "l_1dcnn", "l_att", "lc_att")


MISTAKES = [
    (["--networks", "resnet"], "--networks is 'resnet'; 'resnet' is unknown, choose from quality_net,"),
    (["--repeats", 0], "--repeats is 0; must be at least 1"),
    (["--holdout", 1.5], "--holdout is 1.5; must be over 0 and under 1"),
    (["--max_duration_s", 0.1], "--max_duration_s is 0.1; must be at least 0.25"),
    (["--where", "speaker"], "is not COLUMN=VALUE"),
    (["--min_dynamic_range_db", 200], "none of the recordings is usable"),
    (["--where", "split=train"], "leave none for 'test'"),
    (["--speech", "nowhere"], "there is no such file or directory"),
    (["--epoch", 3], "unknown option --epoch (did you mean --epochs?)"),
]


@pytest.mark.parametrize(("options", "sentence"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_mistake_ends_with_one_sentence(options: list[Any], sentence: str, manifest: Path, tmp_path: Path) -> None:
    done = reproduce(manifest, tmp_path / "out", *options, status=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("audiosieve reproduce: ")
    assert sentence in last
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_a_folder_with_something_else_is_left_alone(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("keep me")
    done = reproduce(manifest, tmp_path, status=2)
    assert "holds no reproduction to continue" in done.stderr
