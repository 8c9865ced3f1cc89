"""Training and the set it reads, on a dozen clips of a second."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import tensorflow as tf

from model.bundle import CARD, WEIGHTS, open_bundle
from model.evaluation.metrics import agreement
from model.features import FeatureConfig, num_frames, spectrogram
from model.inference.scorer import Scorer, pad
from model.labels import PESQ_NB, PESQ_WB, PSEUDO
from model.networks.architectures import NETWORKS
from model.training.dataset import DatasetError, TrainingSet, open_set
from model.training.trainer import CHECKPOINTS, HISTORY, TrainingError, TrainOptions, train

CONFIG = FeatureConfig()
OPTIONS = TrainOptions(name="tiny", network="quality_net", epochs=3, batch_size=4)
SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("audio", pa.binary()),
        ("pesq_wb", pa.float32()),
        ("pesq_nb", pa.float32()),
        ("pseudo", pa.float32()),
        ("split", pa.string()),
    ]
)


def clip(number: int) -> dict[str, Any]:
    """A tone under noise, the fainter the better its labels; every label and length is its own."""
    rng = np.random.default_rng(number)
    num_samples = 15_000 + 200 * number
    snr_db = -10 + 2.5 * number
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / 16_000)
    noise = rng.standard_normal(num_samples) * 0.07 * 10 ** (-snr_db / 20)
    file = io.BytesIO()
    soundfile.write(file, np.clip(tone + noise, -1, 1), 16_000, format="FLAC", subtype="PCM_16")
    return {
        "clip_id": f"clip-{number}",
        "audio": file.getvalue(),
        "pesq_wb": 1.1 + 0.25 * number,
        "pesq_nb": None,
        "pseudo": 1 + 0.5 * number,
        "split": "val" if number % 3 == 2 else "train",
    }


def write(path: Path, clips: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    pq.write_table(pa.Table.from_pylist(clips, schema=schema), path, row_group_size=2)
    return path


CLIPS = [clip(number) for number in range(12)]
UNLABELLED = {**clip(12), "pesq_wb": None}
LABELS = {split: [np.float32(c["pesq_wb"]) for c in CLIPS if c["split"] == split] for split in ("train", "val")}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The dozen clips and one without a label, in two files of several row groups."""
    root = tmp_path_factory.mktemp("set")
    return write(root / "a.parquet", CLIPS[:7]), write(root / "b.parquet", [*CLIPS[7:], UNLABELLED])


@pytest.fixture(scope="session")
def data(files: tuple[Path, ...]) -> TrainingSet:
    return open_set(files, PESQ_WB, CONFIG)


def labels_of(batches: tf.data.Dataset) -> list[float]:
    return [float(label) for _, labels in batches for label in labels["score"]]


# The set.


def test_a_set_counts_the_clips_of_a_split_that_have_the_label(data: TrainingSet) -> None:
    assert (data.count("train"), data.count("val"), data.count("test")) == (8, 4, 0)
    assert dataclasses.replace(data, label_scale=PSEUDO).count("train") == 9


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("seed", "batch_size"), [(None, 3), (0, 1), (1, 3), (2, 100)])
def test_every_clip_of_a_split_comes_once_an_epoch(data: TrainingSet, split: str, seed: int, batch_size: int) -> None:
    assert sorted(labels_of(data.batches(split, batch_size, seed=seed))) == LABELS[split]


def test_clips_of_all_lengths_come_once_an_epoch(tmp_path: Path) -> None:
    lengths = [512, 700, 48 * 256, 48 * 256 + 512, 30_000, 40_000, 600_000]
    made = []
    for i, length in enumerate(lengths):
        file = io.BytesIO()
        soundfile.write(file, np.random.default_rng(i).normal(0, 0.1, length), 16_000, format="FLAC")
        made.append({**clip(i), "audio": file.getvalue(), "split": "train"})
    data = TrainingSet((write(tmp_path / "a.parquet", made),), PESQ_WB, CONFIG)
    found = {}
    for inputs, labels in data.batches("train", 2, seed=3):
        for mask, label in zip(inputs["mask"].numpy(), labels["score"].numpy(), strict=True):
            assert label not in found
            found[label] = mask.sum()
    assert found == {np.float32(c["pesq_wb"]): num_frames(n) for c, n in zip(made, lengths, strict=True)}


def test_a_batch_holds_the_features_of_its_clips_and_a_mask_of_their_real_frames(data: TrainingSet) -> None:
    audio = {np.float32(c["pesq_wb"]): c["audio"] for c in CLIPS}
    padded = 0
    for inputs, labels in data.batches("train", 4, seed=1):
        batch, mask = inputs["spectrogram"].numpy(), inputs["mask"].numpy()
        assert (batch.dtype, mask.dtype, labels["score"].dtype) == (np.float32, bool, tf.float32)
        assert mask.any(axis=0).all()
        for row, real, label in zip(batch, mask, labels["score"].numpy(), strict=True):
            samples, _ = soundfile.read(io.BytesIO(audio[label]), dtype="float32")
            expected = spectrogram(samples, CONFIG)
            assert real.tolist() == [t < len(expected) for t in range(len(real))]
            assert row[real] == pytest.approx(expected, abs=1e-6)
            assert not row[~real].any()
            padded += (~real).sum()
    assert padded > 0


def test_the_batches_have_the_features_of_the_sets_config(files: tuple[Path, ...]) -> None:
    config = FeatureConfig(window="hamming", compression="magnitude", level="none")
    inputs, _ = next(iter(TrainingSet(files, PESQ_WB, config).batches("val", 1)))
    samples, _ = soundfile.read(io.BytesIO(CLIPS[2]["audio"]), dtype="float32")
    assert inputs["spectrogram"].numpy()[0] == pytest.approx(spectrogram(samples, config), abs=1e-6)


def test_the_label_is_that_of_the_sets_scale(files: tuple[Path, ...]) -> None:
    found = labels_of(TrainingSet(files, PSEUDO, CONFIG).batches("val", 4))
    assert sorted(found) == [2.0, 3.5, 5.0, 6.5]


def test_batches_are_of_the_size_asked_for_and_the_last_of_what_is_left(data: TrainingSet) -> None:
    assert sorted(len(labels["score"]) for _, labels in data.batches("train", 3)) == [2, 3, 3]


def test_without_a_seed_the_clips_come_in_the_order_of_the_files(data: TrainingSet) -> None:
    assert labels_of(data.batches("train", 4)) == LABELS["train"]


def test_the_same_seed_gives_the_same_order_and_another_seed_another(data: TrainingSet) -> None:
    orders = [labels_of(data.batches("train", 2, seed=seed)) for seed in (5, 5, 6, 7)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3
    assert LABELS["train"] not in orders


def test_the_clips_of_one_row_group_are_shuffled_among_each_other(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(CLIPS, schema=SCHEMA), tmp_path / "a.parquet")
    data = TrainingSet((tmp_path / "a.parquet",), PESQ_WB, CONFIG)
    orders = {tuple(labels_of(data.batches("train", 100, seed=seed))) for seed in range(4)}
    assert len(orders) == 4


def test_a_set_of_more_clips_than_are_held_begins_with_other_row_groups_for_another_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.training.dataset.SHUFFLE_CLIPS", 4)
    clips = [{**CLIPS[0], "pesq_wb": number, "split": "train"} for number in range(40)]
    data = TrainingSet((write(tmp_path / "a.parquet", clips),), PESQ_WB, CONFIG)
    firsts = [labels_of(data.batches("train", 2, seed=seed).take(1)) for seed in range(4)]
    assert max(map(max, firsts)) >= 4 + 16 * 2  # without it: beyond what is held and the 16 batches that are mixed
    assert len({tuple(first) for first in firsts}) == 4


def test_the_order_of_the_columns_does_not_matter(tmp_path: Path) -> None:
    turned = pa.schema(list(reversed(list(SCHEMA))))
    data = open_set([write(tmp_path / "a.parquet", CLIPS, turned)], PESQ_WB, CONFIG)
    assert labels_of(data.batches("val", 4)) == LABELS["val"]


@pytest.mark.parametrize("column", ["pesq_wb", "split", "audio"])
def test_a_set_without_a_column_is_refused_by_its_name(tmp_path: Path, column: str) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name != column])
    path = write(tmp_path / "odd.parquet", CLIPS, schema)
    with pytest.raises(DatasetError, match=f"odd.parquet.*'{column}'"):
        open_set([path], PESQ_WB, CONFIG)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_set_without_clips_of_a_split_is_refused(tmp_path: Path, split: str) -> None:
    path = write(tmp_path / "a.parquet", [c for c in CLIPS if c["split"] != split])
    with pytest.raises(DatasetError, match=f"'{split}'"):
        open_set([path], PESQ_WB, CONFIG)


def test_a_set_without_the_label_is_refused_by_the_labels_name(files: tuple[Path, ...]) -> None:
    with pytest.raises(DatasetError, match="pesq-nb"):
        open_set(files, PESQ_NB, CONFIG)


def test_a_set_of_no_files_is_refused() -> None:
    with pytest.raises(DatasetError):
        open_set([], PESQ_WB, CONFIG)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.parquet"):
        open_set([tmp_path / "gone.parquet"], PESQ_WB, CONFIG)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    path.write_bytes(b"PAR1 or not")
    with pytest.raises(DatasetError, match=r"odd\.parquet"):
        open_set([path], PESQ_WB, CONFIG)


# Training.


@dataclasses.dataclass(frozen=True)
class WatchedSet(TrainingSet):
    """A set that remembers which batches it was asked for."""

    asked: list[tuple[str, int | None]] = dataclasses.field(default_factory=list)

    def batches(self, split: str, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
        self.asked.append((split, seed))
        return super().batches(split, batch_size, seed)


@dataclasses.dataclass(frozen=True)
class Run:
    data: TrainingSet
    output: Path
    history: list[dict[str, Any]]

    def learning_rate(self, epoch: int) -> float:
        """The learning rate of the optimizer as the checkpoint after an epoch holds it."""
        checkpoint = tf.train.load_checkpoint(str(self.output / CHECKPOINTS / "checkpoints" / f"ckpt-{epoch}"))
        (name,) = [key for key in checkpoint.get_variable_to_shape_map() if "_learning_rate" in key]
        return float(checkpoint.get_tensor(name))

    def variables(self, epoch: int) -> dict[str, np.ndarray]:
        """What the checkpoint after an epoch holds: the network's weights, under the optimizer's name, and all state."""
        checkpoint = tf.train.load_checkpoint(str(self.output / CHECKPOINTS / "checkpoints" / f"ckpt-{epoch}"))
        names = [name for name in checkpoint.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")]
        return {name: checkpoint.get_tensor(name) for name in names if not name.startswith("save_counter")}


def trained(data: TrainingSet, output: Path, options: TrainOptions, resume: bool = False) -> Run:
    train(data, output, options, resume=resume)
    return Run(data, output, json.loads((output / CHECKPOINTS / HISTORY).read_text())["epochs"])


@pytest.fixture(scope="module")
def whole_run(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three epochs without a break. Shared: read only."""
    watched = WatchedSet(data.files, data.label_scale, data.features)
    return trained(watched, tmp_path_factory.mktemp("whole"), OPTIONS)


@pytest.fixture(scope="module")
def part_run(data: TrainingSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The first two epochs of the three. Shared: read only."""
    return trained(data, tmp_path_factory.mktemp("part"), dataclasses.replace(OPTIONS, epochs=2))


@pytest.fixture(scope="module")
def resumed_run(data: TrainingSet, part_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The third epoch, resumed from a copy of the first two. Shared: read only."""
    output = tmp_path_factory.mktemp("resumed") / "out"
    shutil.copytree(part_run.output, output)
    return trained(data, output, OPTIONS, resume=True)


@pytest.fixture
def part_copy(part_run: Run, tmp_path: Path) -> Path:
    """A copy of the first two epochs for one test."""
    return Path(shutil.copytree(part_run.output, tmp_path / "out"))


@pytest.mark.slow
def test_training_writes_the_bundle_the_checkpoints_and_the_history(whole_run: Run) -> None:
    root = whole_run.output
    assert {path.name for path in root.iterdir()} == {CARD, WEIGHTS, CHECKPOINTS}
    assert {path.stem for path in (root / CHECKPOINTS / "checkpoints").glob("*.index")} == {"ckpt-2", "ckpt-3"}
    assert [facts["epoch"] for facts in whole_run.history] == [1, 2, 3]
    for facts in whole_run.history:
        assert facts.keys() == {"epoch", "loss", "lcc", "srcc", "rmse", "seconds", "ended_unix_s"}
        assert np.isfinite([facts["loss"], facts["rmse"]]).all()


@pytest.mark.slow
def test_the_card_says_how_the_network_was_trained(whole_run: Run) -> None:
    bundle = open_bundle(whole_run.output)
    assert (bundle.name, bundle.network) == ("tiny", "quality_net")
    assert (bundle.features, bundle.label_scale) == (CONFIG, PESQ_WB)
    assert bundle.training["options"] == dataclasses.asdict(OPTIONS)
    assert bundle.training["clips"] == {"train": 8, "val": 4}
    assert bundle.training["history"] == whole_run.history
    best = max(whole_run.history, key=lambda facts: facts["lcc"])
    assert bundle.training["best_epoch"] == best["epoch"]
    assert bundle.metrics == {key: round(best[key], 4) for key in ("lcc", "srcc", "rmse")}


@pytest.mark.slow
def test_the_loss_falls(whole_run: Run) -> None:
    assert whole_run.history[-1]["loss"] < whole_run.history[0]["loss"]


def measured(bundle: Path) -> dict[str, float]:
    """LCC, SRCC and RMSE of the network whose weights a bundle holds, on the split val, clip by clip."""
    network = NETWORKS["quality_net"]()
    network.load_weights(bundle / WEIGHTS)
    clips = [c for c in CLIPS if c["split"] == "val"]
    scores = []
    for c in clips:
        samples, _ = soundfile.read(io.BytesIO(c["audio"]), dtype="float32")
        batch, mask = pad([spectrogram(samples, CONFIG)])
        scores.append(float(network({"spectrogram": batch, "mask": mask})["score"][0]))
    return agreement(np.array([c["pesq_wb"] for c in clips]), np.array(scores))


@pytest.mark.slow
def test_the_saved_bundle_is_that_of_the_best_epoch(data: TrainingSet, tmp_path: Path) -> None:
    # The second epoch's steps are so large that they spoil what the first has learned.
    run = trained(data, tmp_path, dataclasses.replace(OPTIONS, decay=30.0, epochs=2))
    first, second = run.history
    assert second["lcc"] < first["lcc"] - 0.1
    assert open_bundle(tmp_path).training["best_epoch"] == 1
    assert measured(tmp_path) == pytest.approx({key: first[key] for key in ("lcc", "srcc", "rmse")}, abs=1e-4)


@pytest.mark.slow
def test_the_history_holds_what_the_saved_network_measures(whole_run: Run) -> None:
    best = max(whole_run.history, key=lambda facts: facts["lcc"])
    assert measured(whole_run.output) == pytest.approx({key: best[key] for key in ("lcc", "srcc", "rmse")}, abs=1e-4)


@pytest.mark.slow
def test_a_resumed_run_has_the_losses_of_one_without_a_break(whole_run: Run, resumed_run: Run) -> None:
    for ours, theirs in zip(resumed_run.history, whole_run.history, strict=True):
        expected = {key: value for key, value in theirs.items() if key not in ("seconds", "ended_unix_s")}
        assert {key: ours[key] for key in expected} == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_a_resumed_run_has_the_weights_of_one_without_a_break(whole_run: Run, resumed_run: Run) -> None:
    ours, theirs = resumed_run.variables(3), whole_run.variables(3)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 10
    for name in ours:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name


@pytest.mark.slow
def test_every_epoch_changes_all_weights(whole_run: Run) -> None:
    two, three = whole_run.variables(2), whole_run.variables(3)
    weights = [name for name in two if "_trainable_variables" in name]
    assert len(weights) == 10
    assert all(np.abs(two[name] - three[name]).max() > 0 for name in weights)
    assert max(np.abs(two[name] - three[name]).max() for name in weights) > 1e-4


@pytest.mark.slow
def test_the_learning_rate_falls_to_95_percent_from_epoch_to_epoch(whole_run: Run, resumed_run: Run) -> None:
    for run in (whole_run, resumed_run):
        assert run.learning_rate(2) == pytest.approx(0.95 * 1e-3)
        assert run.learning_rate(3) == pytest.approx(0.95**2 * 1e-3)


@pytest.mark.slow
def test_every_epoch_has_an_order_of_its_own_and_validation_none(whole_run: Run) -> None:
    asked = whole_run.data.asked
    assert [split for split, _ in asked] == ["train", "val"] * 3
    assert len({seed for split, seed in asked if split == "train"}) == 3
    assert {seed for split, seed in asked if split == "val"} == {None}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1e-2},
        {"decay": 0.5},
        {"seed": 1},
        {"batch_size": 2},
        {"loss": "unweighted"},
        {"network": "lc_att"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_options_cannot_be_resumed(data: TrainingSet, part_copy: Path, changes: dict[str, Any]) -> None:
    before = (part_copy / CARD).read_bytes()
    with pytest.raises(TrainingError, match="resume"):
        train(data, part_copy, dataclasses.replace(OPTIONS, **changes), resume=True)
    assert (part_copy / CARD).read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"label_scale": PSEUDO}, {"features": FeatureConfig(window="hamming")}],
    ids=lambda changes: next(iter(changes)),
)
def test_another_label_or_other_features_cannot_be_resumed(
    data: TrainingSet, part_copy: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(TrainingError):
        train(dataclasses.replace(data, **changes), part_copy, dataclasses.replace(OPTIONS, epochs=2), resume=True)


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(data: TrainingSet, part_copy: Path) -> None:
    before = open_bundle(part_copy)
    again = train(data, part_copy, dataclasses.replace(OPTIONS, epochs=2), resume=True)
    assert again.training == before.training
    assert again.metrics == before.metrics
    expected, found = Scorer(before), Scorer(again)
    frames = [spectrogram(np.random.default_rng(0).standard_normal(4000), CONFIG)]
    assert np.array_equal(expected.score(frames)[0], found.score(frames)[0])


@pytest.mark.slow
def test_a_checkpoint_without_its_line_in_the_history_is_made_again(
    data: TrainingSet, whole_run: Run, tmp_path: Path
) -> None:
    """A run that was killed after the last checkpoint and before the history."""
    output = Path(shutil.copytree(whole_run.output, tmp_path / "out"))
    history = json.loads((output / CHECKPOINTS / HISTORY).read_text())
    history["epochs"] = history["epochs"][:2]
    (output / CHECKPOINTS / HISTORY).write_text(json.dumps(history))
    run = trained(data, output, OPTIONS, resume=True)
    assert [facts["loss"] for facts in run.history] == pytest.approx(
        [facts["loss"] for facts in whole_run.history], abs=1e-4
    )


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_an_error(data: TrainingSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="epoch 1"):
        train(data, tmp_path, dataclasses.replace(OPTIONS, learning_rate=1e30))
    assert not (tmp_path / CARD).exists()


@pytest.mark.slow
def test_a_network_that_never_follows_the_labels_is_an_error(tmp_path: Path) -> None:
    same = [{**c, "pesq_wb": 2.0} if c["split"] == "val" else c for c in CLIPS]
    data = open_set([write(tmp_path / "a.parquet", same)], PESQ_WB, CONFIG)
    with pytest.raises(TrainingError, match="correlate"):
        train(data, tmp_path / "out", dataclasses.replace(OPTIONS, epochs=1))
    assert not (tmp_path / "out" / CARD).exists()
