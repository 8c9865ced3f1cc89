"""Training sets: their clips occur once an epoch, in seeded order, and errors name what is wrong."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import tensorflow as tf

from model.features import FeatureConfig, num_frames, spectrogram
from model.high_pass import without_dc
from model.labels import PESQ_NB, PESQ_WB, PSEUDO
from model.training import dataset
from model.training.dataset import DatasetError, KeptArrays, TrainingSet, open_set
from tests.support.training.training_set import CLIPS, CONFIG, LABELS, SCHEMA, clip, write_set


def labels_of(batches: tf.data.Dataset) -> list[float]:
    return [float(label) for _, labels in batches for label in labels["score"]]


def test_only_clips_with_the_label_are_counted(data: TrainingSet) -> None:
    assert (data.count("train"), data.count("val"), data.count("test")) == (8, 4, 0)
    assert dataclasses.replace(data, label_scale=PSEUDO).count("train") == 9


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("seed", "batch_size"), [(None, 3), (0, 1), (1, 3), (2, 100)])
def test_every_clip_of_a_split_occurs_once_an_epoch(data: TrainingSet, split: str, seed: int, batch_size: int) -> None:
    assert sorted(labels_of(data.batches(split, batch_size, seed=seed))) == LABELS[split]


def test_clips_of_all_lengths_occur_once_an_epoch(tmp_path: Path) -> None:
    lengths = [512, 700, 48 * 256, 48 * 256 + 512, 30_000, 40_000, 600_000]
    clips = []
    for i, length in enumerate(lengths):
        file = io.BytesIO()
        soundfile.write(file, np.random.default_rng(i).normal(0, 0.1, length), 16_000, format="FLAC")
        clips.append({**clip(i), "audio": file.getvalue(), "split": "train"})
    data = TrainingSet((write_set(tmp_path / "a.parquet", clips),), PESQ_WB, CONFIG)
    frames = {}
    for inputs, labels in data.batches("train", 2, seed=3):
        for mask, label in zip(inputs["mask"].numpy(), labels["score"].numpy(), strict=True):
            assert label not in frames
            frames[label] = mask.sum()
    assert frames == {np.float32(c["pesq_wb"]): num_frames(n) for c, n in zip(clips, lengths, strict=True)}


def test_a_batch_holds_features_and_a_mask_of_the_real_frames(data: TrainingSet) -> None:
    audio = {np.float32(c["pesq_wb"]): c["audio"] for c in CLIPS}
    padded = 0
    for inputs, labels in data.batches("train", 4, seed=1):
        batch, mask = inputs["spectrogram"].numpy(), inputs["mask"].numpy()
        assert (batch.dtype, mask.dtype, labels["score"].dtype) == (np.float32, bool, tf.float32)
        assert mask.any(axis=0).all()
        for row, real, label in zip(batch, mask, labels["score"].numpy(), strict=True):
            samples, _ = soundfile.read(io.BytesIO(audio[label]), dtype="float32")
            expected = spectrogram(without_dc(samples), CONFIG)
            assert real.tolist() == [t < len(expected) for t in range(len(real))]
            assert row[real] == pytest.approx(expected, abs=1e-6)
            assert not row[~real].any()
            padded += (~real).sum()
    assert padded > 0


def test_the_features_follow_the_config_of_the_set(files: tuple[Path, ...]) -> None:
    config = FeatureConfig(window="hamming", compression="magnitude", level="none")
    inputs, _ = next(iter(TrainingSet(files, PESQ_WB, config).batches("val", 1)))
    samples, _ = soundfile.read(io.BytesIO(CLIPS[2]["audio"]), dtype="float32")
    assert inputs["spectrogram"].numpy()[0] == pytest.approx(spectrogram(without_dc(samples), config), abs=1e-6)


def test_the_labels_follow_the_scale_of_the_set(files: tuple[Path, ...]) -> None:
    labels = labels_of(TrainingSet(files, PSEUDO, CONFIG).batches("val", 4))
    assert sorted(labels) == [2.0, 3.5, 5.0, 6.5]


def test_batches_have_the_batch_size_and_the_last_the_rest(data: TrainingSet) -> None:
    assert sorted(len(labels["score"]) for _, labels in data.batches("train", 3)) == [2, 3, 3]


def test_without_a_seed_the_clips_keep_the_order_of_the_files(data: TrainingSet) -> None:
    assert labels_of(data.batches("train", 4)) == LABELS["train"]


def test_the_seed_decides_the_order(data: TrainingSet) -> None:
    orders = [labels_of(data.batches("train", 2, seed=seed)) for seed in (5, 5, 6, 7)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3
    assert LABELS["train"] not in orders


def test_the_clips_of_one_row_group_are_shuffled(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(CLIPS, schema=SCHEMA), tmp_path / "a.parquet")
    data = TrainingSet((tmp_path / "a.parquet",), PESQ_WB, CONFIG)
    orders = {tuple(labels_of(data.batches("train", 100, seed=seed))) for seed in range(4)}
    assert len(orders) == 4


def test_a_set_larger_than_the_shuffle_buffer_starts_with_different_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.training.dataset.SHUFFLE_CLIPS", 4)
    clips = [{**CLIPS[0], "pesq_wb": number, "split": "train"} for number in range(200)]
    data = TrainingSet((write_set(tmp_path / "a.parquet", clips),), PESQ_WB, CONFIG)
    firsts = [labels_of(data.batches("train", 2, seed=seed).take(1)) for seed in range(4)]
    assert max(map(max, firsts)) >= 4 + 16 * 2  # out of reach of a shuffle of 4 clips and 16 batches
    assert len({tuple(first) for first in firsts}) == 4


def test_the_order_of_the_columns_does_not_matter(tmp_path: Path) -> None:
    reordered = pa.schema(list(reversed(list(SCHEMA))))
    data = open_set([write_set(tmp_path / "a.parquet", CLIPS, reordered)], PESQ_WB, CONFIG)
    assert labels_of(data.batches("val", 4)) == LABELS["val"]


@pytest.mark.parametrize("column", ["pesq_wb", "split", "audio"])
def test_the_error_names_a_missing_column(tmp_path: Path, column: str) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name != column])
    path = write_set(tmp_path / "odd.parquet", CLIPS, schema)
    with pytest.raises(DatasetError, match=f"odd.parquet.*'{column}'"):
        open_set([path], PESQ_WB, CONFIG)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_error_names_an_empty_split(tmp_path: Path, split: str) -> None:
    path = write_set(tmp_path / "a.parquet", [c for c in CLIPS if c["split"] != split])
    with pytest.raises(DatasetError, match=f"'{split}'"):
        open_set([path], PESQ_WB, CONFIG)


def test_the_error_names_a_missing_label(files: tuple[Path, ...]) -> None:
    with pytest.raises(DatasetError, match="pesq-nb"):
        open_set(files, PESQ_NB, CONFIG)


def test_a_set_without_files_is_an_error() -> None:
    with pytest.raises(DatasetError):
        open_set([], PESQ_WB, CONFIG)


def test_the_error_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"missing\.parquet"):
        open_set([tmp_path / "missing.parquet"], PESQ_WB, CONFIG)


def test_the_error_names_a_file_that_is_not_parquet(tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    path.write_bytes(b"PAR1 or not")
    with pytest.raises(DatasetError, match=r"odd\.parquet"):
        open_set([path], PESQ_WB, CONFIG)


class TestKeptSpectrograms:
    """Spectrograms are computed once, as far as they fit into the memory that is set aside for them."""

    def test_later_epochs_give_the_same_batches_without_computing_them(
        self, data: TrainingSet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = [inputs["spectrogram"].numpy() for inputs, _ in data.batches("train", 4, seed=1)]
        monkeypatch.setattr(dataset, "spectrogram", None)
        again = [inputs["spectrogram"].numpy() for inputs, _ in data.batches("train", 4, seed=1)]
        assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))

    def test_a_set_with_other_features_computes_its_own(self, data: TrainingSet) -> None:
        def values(one: TrainingSet) -> np.ndarray:
            return np.concatenate([inputs["spectrogram"].numpy().ravel() for inputs, _ in one.batches("val", 1)])

        hamming = dataclasses.replace(data, features=dataclasses.replace(data.features, window="hamming"))
        assert not np.array_equal(values(data), values(hamming))

    def test_arrays_over_the_size_are_not_kept(self) -> None:
        kept = KeptArrays(100)
        small, large = np.zeros(10, np.float32), np.zeros(20, np.float32)
        assert kept.add(b"large", np.zeros(26, np.float32)).nbytes == 104
        kept.add(b"small", small)
        kept.add(b"small", small.copy())
        kept.add(b"more", large)
        assert (kept.get(b"large"), kept.get(b"more")) == (None, None)
        assert kept.get(b"small") is small
        kept.add(b"fits", np.zeros(15, np.float32))
        assert kept.get(b"fits") is not None
