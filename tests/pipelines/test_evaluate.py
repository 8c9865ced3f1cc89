"""`audiosieve evaluate`, end to end: labelled sets and bundles become measures, tables and figures."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from model.bundle import BUNDLED, DEFAULT, open_bundle, write_card
from model.labels import PESQ_WB, PSEUDO
from tests.support.command import Output, audiosieve
from tests.support.training.labelled_set import make_clip, write_set
from tests.support.training.training_material import synthesize
from transforms.evaluation.labelled_clips import Gain
from transforms.evaluation.score_schemas import CLIP_SCORES, FRAME_SCORES

pytestmark = pytest.mark.slow


def conditions(number: int) -> tuple[float | None, tuple[float, float] | None]:
    """Clean, noise at 0, 5 or 15 dB, and noise at 0 dB from 1.0 to 1.8 s."""
    return [(None, None), (0.0, None), (5.0, None), (15.0, None), (0.0, (1.0, 1.8))][number % 5]


@pytest.fixture(scope="module")
def speech(samples: Path) -> np.ndarray:
    return soundfile.read(samples / "clean.flac")[0]


@pytest.fixture(scope="module")
def rows(speech: np.ndarray) -> list[dict[str, Any]]:
    return [make_clip(speech, number, *conditions(number)) for number in range(30)]


@pytest.fixture(scope="module")
def labelled(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("labelled") / "set", rows)


@pytest.fixture(scope="module")
def pseudo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's weights under a card that says that its scores are pseudo-scores."""
    path = tmp_path_factory.mktemp("models") / "pseudo_model"
    shutil.copytree(BUNDLED / "quality_net_v1", path)
    bundle = open_bundle("quality_net_v1")
    facts = {"network": bundle.network, "features": bundle.features, "metrics": {}, "training": {}}
    write_card(path, name="pseudo_model", label_scale=PSEUDO, **facts)
    return path


@pytest.fixture(scope="module")
def evaluated(labelled: Path, pseudo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two models on the set, with all that can be measured: the output's folder, and what was printed."""
    output = tmp_path_factory.mktemp("evaluated") / "out"
    models = ["--model", DEFAULT, "--model", pseudo_model]
    done = audiosieve("evaluate", labelled, *models, "--gains", "-20:6", "--resamples", 100, "--output", output)
    return output, done.stdout


def models_of(output: Path) -> dict[str, dict[str, Any]]:
    return json.loads((output / "evaluation.json").read_text())["models"]


def test_the_bundled_model_passes_an_easy_test(evaluated: tuple[Path, str]) -> None:
    found = models_of(evaluated[0])[open_bundle(DEFAULT).model_id]
    overall = found["overall"]
    assert (overall["clips"], overall["labelled"]) == (20, 20)
    assert overall["lcc"]["low"] < overall["lcc"]["value"] < overall["lcc"]["high"]
    assert overall["lcc"]["value"] > 0.8
    assert overall["f1"]["value"] > 0.8
    assert list(found["by_snr"]) == ["0 dB", "5 dB", "15 dB", "clean"]
    assert list(found["by_corpus"]) == ["samples"]
    assert found["by_fault"] == {}
    assert found["localisation"]["clips_with_known_span"] == 4
    assert found["localisation"]["auc_within_clip"]["value"] > 0.8
    assert found["localisation"]["iou"]["value"] > 0.3
    assert found["level"]["moved_under_0.1"]["value"] == 1.0
    assert found["level_at_16_bits"]["largest_move"] >= found["level"]["largest_move"]
    assert "ladder" not in found


def test_the_threshold_is_chosen_on_training_clips_alone(evaluated: tuple[Path, str], labelled: Path) -> None:
    found = models_of(evaluated[0])[open_bundle(DEFAULT).model_id]["threshold"]
    assert (found["split"], found["clips"], found["clean"], found["sets"]) == ("train", 10, 2, [str(labelled)])
    assert PESQ_WB.low < found["value"] < PESQ_WB.high


def test_a_model_on_another_scale_has_correlation_and_no_rmse(evaluated: tuple[Path, str]) -> None:
    output, text = evaluated
    found = next(found for model_id, found in models_of(output).items() if model_id.startswith("pseudo_model"))
    assert (found["scale"], found["label"]) == ("pseudo", "pesq-wb")
    assert found["overall"]["lcc"]["value"] > 0.5
    assert "rmse" not in found["overall"]
    (note,) = json.loads((output / "evaluation.json").read_text())["notes"]
    assert "RMSE" in note
    assert note in text


def test_the_printed_tables_hold_what_is_written(evaluated: tuple[Path, str]) -> None:
    output, text = evaluated
    for model_id, found in models_of(output).items():
        assert model_id in text
        assert f"{found['overall']['lcc']['value']:.3f} [{found['overall']['lcc']['low']:.3f}" in text
    tables, _, _ = text.partition("\nnote: ")
    assert max(map(len, tables.splitlines())) < 130


def test_scores_frames_and_anomalies_are_those_of_audiosieve_score(
    evaluated: tuple[Path, str], rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "audio").mkdir()
    for row in rows:
        if row["split"] == "val":
            (tmp_path / "audio" / f"{row['clip_id']}.flac").write_bytes(row["audio"])
    audiosieve("score", "--input", tmp_path / "audio", "--output", tmp_path / "out")
    expected = Output(tmp_path / "out")
    model_id = open_bundle(DEFAULT).model_id
    found = pq.read_table(evaluated[0] / "clips.parquet", filters=[("model_id", "=", model_id)]).to_pylist()
    assert {f"{row['clip_id']}.flac": row["score"] for row in found} == pytest.approx(expected.scores, abs=1e-4)
    assert {f"{row['clip_id']}.flac": row["num_anomalies"] for row in found} == {
        row["utterance_id"]: row["num_anomalies"] for row in expected.utterances
    }
    frames = pq.read_table(evaluated[0] / "frames.parquet", filters=[("model_id", "=", model_id)]).to_pylist()
    for name, scores in expected.frame_scores.items():
        mine = [row["score"] for row in frames if f"{row['clip_id']}.flac" == name]
        assert mine == pytest.approx(scores, abs=1e-4)


def test_the_tables_have_their_schemas_and_the_truth(evaluated: tuple[Path, str], rows: list[dict[str, Any]]) -> None:
    output, _ = evaluated
    assert pq.read_table(output / "clips.parquet").schema.equals(CLIP_SCORES)
    frames = pq.read_table(output / "frames.parquet")
    assert frames.schema.equals(FRAME_SCORES)
    by_id = {row["clip_id"]: row for row in rows}
    for row in pq.read_table(output / "clips.parquet").to_pylist():
        truth = by_id[row["clip_id"]]
        assert (row["snr_db"], row["clean"]) == (truth["snr_db"], truth["snr_db"] is None)
        assert row["label"] == pytest.approx(truth["pesq_wb"])
        assert (row["iou"] is not None) == any(d["start_s"] > 0 for d in truth["distortions"])
    for row in frames.to_pylist():
        middle = row["start_s"] + 0.016
        in_part = conditions(int(row["clip_id"][2:]))[1] is not None
        if abs(middle - 1.0) > 0.001 and abs(middle - 1.8) > 0.001:
            assert row["bad"] == (in_part and 1.0 < middle < 1.8)


def test_figures_are_drawn(evaluated: tuple[Path, str], tmp_path: Path, labelled: Path) -> None:
    names = {path.name for path in evaluated[0].glob("*.png")}
    ids = [model_id.replace("@", "-") for model_id in models_of(evaluated[0])]
    assert names == {f"{kind}-{name}.png" for kind in ("target", "conditions") for name in ids} | {"example.png"}
    audiosieve("evaluate", labelled, "--clip", "7-00000001", "--resamples", 0, "--output", tmp_path / "out")
    assert (tmp_path / "out" / "example.png").stat().st_size > 10_000


def test_the_same_command_gives_the_same_numbers(evaluated: tuple[Path, str], labelled: Path, tmp_path: Path) -> None:
    audiosieve("evaluate", labelled, "--resamples", 100, "--output", tmp_path / "out", "--batch_size", 1)
    model_id = open_bundle(DEFAULT).model_id
    found, before = models_of(tmp_path / "out")[model_id], models_of(evaluated[0])[model_id]
    for measure in ("lcc", "srcc", "rmse"):
        assert found["overall"][measure] == pytest.approx(before["overall"][measure], abs=1e-5)
    assert found["threshold"]["value"] == pytest.approx(before["threshold"]["value"], abs=1e-4)


def test_a_threshold_from_another_set(labelled: Path, rows: list[dict[str, Any]], tmp_path: Path) -> None:
    val = write_set(tmp_path / "val", [row for row in rows if row["split"] == "val"])
    done = audiosieve("evaluate", val, "--output", tmp_path / "without", "--resamples", 0)
    assert "no threshold for clean clips" in done.stdout
    audiosieve("evaluate", val, "--threshold_set", labelled, "--output", tmp_path / "with", "--resamples", 0)
    without, found = (models_of(tmp_path / name)[open_bundle(DEFAULT).model_id] for name in ("without", "with"))
    assert without["threshold"] is None
    assert "f1" not in without["overall"]
    assert found["threshold"]["sets"] == [str(labelled)]
    assert found["overall"]["f1"]["value"] > 0.8


def test_a_ladder_of_sets_with_the_same_clips(speech: np.ndarray, tmp_path: Path) -> None:
    sets = []
    for snr_db in (0.0, 5.0, 10.0, None):
        made = [make_clip(speech, number, snr_db, None) for number in (1, 2, 4, 5)]
        sets.append(write_set(tmp_path / str(snr_db), made))
    # The default model does not order such short synthetic clips well.
    name = "disturbance_net_v1"
    done = audiosieve("evaluate", *sets, "--ladder", "--model", name, "--output", tmp_path / "out", "--resamples", 20)
    found = models_of(tmp_path / "out")[open_bundle(name).model_id]["ladder"]
    assert [rung["snr"] for rung in found["rungs"]] == ["0 dB", "5 dB", "10 dB", "clean"]
    means = [rung["score_mean"] for rung in found["rungs"]]
    assert means == sorted(means)
    assert found["steps_of_5db"] == 8
    assert found["rose_5db"]["value"] > 0.5
    assert "ladder" in done.stdout


MISTAKES = [
    ([], "the following arguments are required: SET"),
    (["nowhere"], "no finished labelled set"),
    (["SET", "SET"], "is given twice"),
    (["SET", "--split", "test"], "their splits: train, val"),
    (["SET", "--split", "train"], "on the clips that it is judged on"),
    (["SET", "--threshold_split", "val"], "on the clips that it is judged on"),
    (["SET", "--threshold_split", "val", "--threshold_set", "SET"], "on the clips that it is judged on"),
    (["SET", "--threshold_split", "test", "--threshold_set", "SET"], "a threshold needs both"),
    (["SET", "--label", "pesq-nb"], "no clip has it; labels of the clips: pesq-wb"),
    (["SET", "--label", "mos"], "invalid choice"),
    (["SET", "--model", "resnet"], "no model 'resnet'"),
    (["SET", "--model", DEFAULT, "--model", DEFAULT], "is given twice"),
    (["SET", "--ladder"], "same --seed"),
    (["SET", "--gains", "6"], "--gains is '6'; must be LOW:HIGH"),
    (["SET", "--gains", "6:-20"], "the lower end must come first"),
    (["SET", "--gains", "-200:6"], "must be from -60 to 60"),
    (["SET", "--clip", "7-1"], "there is no such clip"),
    (["SET", "--clip", "7-00000000"], "there is no such clip"),
    (["SET", "--resamples", "-1"], "--resamples is -1; must be at least 0"),
    (["SET", "--batch_size", "0"], "--batch_size is 0; must be at least 1"),
    (["SET", "--threads", "0"], "--threads is 0; must be at least 1"),
    (["SET", "--modle", "x"], "unknown option --modle (did you mean --model?)"),
]


@pytest.mark.parametrize(("options", "sentence"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_ends_with_one_sentence(options: list[str], sentence: str, labelled: Path, tmp_path: Path) -> None:
    words = [str(labelled) if word == "SET" else word for word in options]
    done = audiosieve("evaluate", *words, "--output", tmp_path / "out", status=2)
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_an_output_that_holds_something_is_left_alone(labelled: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("keep me")
    assert "is not an empty folder" in audiosieve("evaluate", labelled, "--output", tmp_path, status=2).stderr


def test_a_set_of_an_older_version_is_refused(labelled: Path, tmp_path: Path) -> None:
    shutil.copytree(labelled, tmp_path / "old")
    (file,) = (tmp_path / "old" / "clips").iterdir()
    pq.write_table(pq.read_table(file).drop_columns(["distortions"]), file)
    done = audiosieve("evaluate", tmp_path / "old", "--output", tmp_path / "out", status=2)
    assert "the column 'distortions' is missing" in done.stderr


def test_a_gain_never_clips() -> None:
    samples = np.array([0.5, -0.25, 0.1], np.float32)
    assert Gain(-20.0).apply(samples) == pytest.approx(samples / 10)
    assert Gain(6.0).apply(samples) == pytest.approx(samples * 10**0.3)
    assert np.abs(Gain(12.0).apply(samples)).max() == pytest.approx(1 - 2**-15)
    assert Gain(12.0).apply(samples) == pytest.approx(samples * 2, abs=1e-3)
    assert not Gain(6.0).apply(np.zeros(3, np.float32)).any()


def test_a_gain_may_round_as_a_file_does() -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 100).astype(np.float32)
    rounded = Gain(-20.0, sixteen_bits=True).apply(samples)
    assert np.array_equal(rounded * 2**15, np.round(rounded * 2**15))
    assert rounded == pytest.approx(samples / 10, abs=2**-16)
    assert rounded.dtype == np.float32


def test_a_set_made_by_synthesize_is_evaluated(samples: Path, tmp_path: Path) -> None:
    speech, noise = tmp_path / "speech", tmp_path / "noise"
    rng = np.random.default_rng(3)
    for number in range(4):
        (speech / f"speaker{number}").mkdir(parents=True)
        shutil.copy(samples / "clean.flac", speech / f"speaker{number}")
        (noise / f"group{number}").mkdir(parents=True)
        soundfile.write(noise / f"group{number}" / "noise.wav", 0.1 * rng.standard_normal(24_000), 16_000)
    sets = []
    for name, snr in (("low", "0"), ("high", "5")):
        synthesize(
            (speech, noise), tmp_path / name, "--clips", 12, "--holdout", 0.5, "--snr", snr, "--clean_ratio", 0.3
        )
        sets.append(tmp_path / name)
    audiosieve("evaluate", *sets, "--ladder", "--resamples", 50, "--output", tmp_path / "out")
    found = models_of(tmp_path / "out")[open_bundle(DEFAULT).model_id]
    assert found["label"] == "pseudo"
    assert "rmse" not in found["overall"]
    assert found["ladder"]["steps_of_5db"] > 0


def corpus_set(corpus: Path, output: Path, *options: object) -> Path:
    """Clips of the corpus's val split: speakers and noise that the bundled model never heard."""
    manifest = corpus / "manifest.csv"
    words = ["--speech", manifest, "--noise", manifest, "--where", "split=val", "--output", output]
    audiosieve("synthesize", *words, *options)
    return output


def test_the_score_of_real_speech_rises_with_the_snr(corpus: Path, tmp_path: Path) -> None:
    """The same speech, noise and offsets at every SNR: only the SNR differs from one set to the next."""
    common = ["--clips", 60, "--seed", 3, "--labels", "pseudo"]
    sets = [
        corpus_set(corpus, tmp_path / f"{snr_db}", *common, "--clean_ratio", 0, "--snr", snr_db)
        for snr_db in (-5, 0, 5, 10, 20, 30)
    ]
    sets.append(corpus_set(corpus, tmp_path / "clean", *common, "--clean_ratio", 1))
    audiosieve("evaluate", *sets, "--ladder", "--resamples", 0, "--output", tmp_path / "out")
    rungs = models_of(tmp_path / "out")[open_bundle(DEFAULT).model_id]["ladder"]["rungs"]
    means = [rung["score_mean"] for rung in rungs]
    assert [rung["clips"] for rung in rungs] == [60] * 7
    assert all(low < high for low, high in itertools.pairwise(means)), means


def test_scores_of_real_speech_agree_with_pesq(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    options = ["--clips", 150, "--seed", 2, "--clean_ratio", 0.15, "--partial_ratio", 0, "--direct_num_workers=2"]
    made = corpus_set(corpus, tmp_path / "set", *options)
    audiosieve("evaluate", made, "--resamples", 0, "--output", tmp_path / "out")
    found = models_of(tmp_path / "out")[open_bundle(DEFAULT).model_id]["overall"]["lcc"]["value"]
    # What training measured on other speakers of the train split, less what 150 clips leave to chance.
    assert found > open_bundle(DEFAULT).metrics["lcc"] - 0.1
