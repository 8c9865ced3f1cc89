"""Reads a training set from disk in batches. Each batch decodes its clips and computes their features when it is needed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import tensorflow as tf

from model.features import NUM_BINS, FeatureConfig, spectrogram
from model.high_pass import without_dc
from model.labels import LabelScale
from model.pooling import true_frame_scores
from model.training import diagnosis_labels

# Compressed clips in the shuffle buffer: about 200 MB.
SHUFFLE_CLIPS = 2048
# Spectrograms that are kept for the next epochs: about 100 minutes of clips. Computing them takes a sixth of an epoch of
# Quality-Net.
KEPT_BYTES = 1 << 30
# Largest difference in length between clips of a batch.
BUCKET_FRAMES = 48
# Batches of clips over FULL_BATCH_FRAMES are smaller. Clips over MAX_FRAMES share one bucket.
FULL_BATCH_FRAMES = 1024
MAX_FRAMES = 8192
# Columns from which `pooling.true_frame_scores` computes the labels of frames.
DISTURBANCES = ("disturbance", "asymmetric_disturbance")


class DatasetError(ValueError):
    """A training set is missing or incomplete."""


class KeptArrays:
    """Arrays by the bytes that they were computed from, up to a size in all. Later ones are not kept.

    Args:
        max_bytes: size of the arrays in all, at least 0.
    """

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._arrays: dict[bytes, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, source: bytes) -> np.ndarray | None:
        """Returns the array of a source; None if it is not kept."""
        return self._arrays.get(_digest(source))

    def add(self, source: bytes, array: np.ndarray) -> np.ndarray:
        """Keeps an array if it fits, and returns it."""
        with self._lock:
            if array.nbytes <= self._left and self._arrays.setdefault(_digest(source), array) is array:
                self._left -= array.nbytes
        return array


def _digest(source: bytes) -> bytes:
    return hashlib.blake2b(source, digest_size=16).digest()


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """A training set of `audiosieve synthesize`, with the label to learn.

    Attributes:
        files: Parquet files with the columns `audio`, `split` and that of the label.
        label_scale: scale of the label.
        features: parameters of the spectrograms.
        frames: whether to learn the label of each frame too; clips without frame labels are skipped.
        diagnosis: whether to learn all labels of a diagnosis (`diagnosis_labels`); clips without a label are used, too.
        shuffle_clips: size of the shuffle buffer in clips.
    """

    files: tuple[Path, ...]
    label_scale: LabelScale
    features: FeatureConfig
    frames: bool = False
    diagnosis: bool = False
    shuffle_clips: int = SHUFFLE_CLIPS
    _kept: KeptArrays = dataclasses.field(
        default_factory=lambda: KeptArrays(KEPT_BYTES), init=False, compare=False, repr=False
    )

    def count(self, split: str) -> int:
        """Returns the number of clips of a split, without those that are skipped for want of a label.

        Raises:
            DatasetError: a file cannot be read, or lacks a column.
        """
        return sum(1 for file in self.files for row in self._rows(file, None) if row["split"] == split)

    def trained_values(self) -> frozenset[str]:
        """Returns the values of a diagnosis that the split train has examples of (`diagnosis_labels.trained_values`).

        Raises:
            DatasetError: a file cannot be read, or lacks a column.
        """
        columns = ["split", *(name for name in diagnosis_labels.COLUMNS if name not in DISTURBANCES)]
        values: set[str] = set()
        for file in self.files:
            for row in self._open(file).read(columns).to_pylist():
                if row["split"] == "train":
                    values |= diagnosis_labels.trained_values(row)
        return frozenset(values)

    def batches(self, split: str, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
        """Returns padded batches of clips of similar length.

        Args:
            split: "train" or "val".
            batch_size: number of clips in a batch.
            seed: seed of the order; None for the order of the files.

        Returns:
            Prefetched dataset of ({"spectrogram": float32 [B, T, 257], "mask": bool [B, T]}, {"score": float32 [B]}). With
            `frames`, the labels also have "frame_score": float32 [B, T]. With `diagnosis`, they are those of
            `diagnosis_labels`, padded.
        """
        labels = {"score": tf.TensorSpec([], tf.float32)}
        if self.frames:
            labels["frame_score"] = tf.TensorSpec([None], tf.float32)
        if self.diagnosis:
            labels = diagnosis_labels.SPECS
        clips = tf.data.Dataset.from_generator(
            lambda: self._clips(split, seed), output_signature=(tf.TensorSpec([], tf.string), labels)
        )
        if seed is not None:
            clips = clips.shuffle(self.shuffle_clips, seed=seed)
        features = clips.map(self._featurize, num_parallel_calls=2, deterministic=True)
        boundaries = list(range(BUCKET_FRAMES, MAX_FRAMES, BUCKET_FRAMES))
        # Batches of long clips have fewer clips, to bound the memory.
        sizes = [
            max(1, min(batch_size, batch_size * FULL_BATCH_FRAMES // longest)) for longest in [*boundaries, MAX_FRAMES]
        ]
        batched = features.bucket_by_sequence_length(lambda example, _: tf.shape(example["mask"])[0], boundaries, sizes)
        if seed is not None:
            # Without this shuffle, the last batches of an epoch would be ordered by length.
            batched = batched.shuffle(16, seed=seed)
        options = tf.data.Options()
        # No setting here is tuned automatically, and the autotune thread can delay the end of an epoch by many seconds.
        options.autotune.enabled = False
        return batched.prefetch(4).with_options(options)

    def _featurize(self, audio: tf.Tensor, labels: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], Any]:
        features = tf.numpy_function(self._spectrogram, [audio], tf.float32)
        features.set_shape([None, NUM_BINS])
        return {"spectrogram": features, "mask": tf.ones(tf.shape(features)[:1], tf.bool)}, labels

    def _spectrogram(self, audio: bytes) -> np.ndarray:
        kept = self._kept.get(audio)
        if kept is not None:
            return kept
        samples, _ = soundfile.read(io.BytesIO(audio), dtype="float32")
        return self._kept.add(audio, spectrogram(without_dc(samples), self.features))

    def _clips(self, split: str, seed: int | None) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Yields (FLAC bytes, labels) of every clip of a split. A seed shuffles the row groups."""
        groups = [(file, group) for file in self.files for group in range(pq.ParquetFile(file).num_row_groups)]
        if seed is not None:
            np.random.default_rng(seed).shuffle(groups)
        for file, group in groups:
            for row in self._rows(file, group):
                if row["split"] == split:
                    yield row["audio"], self._labels(row, file)

    def _labels(self, row: dict[str, Any], file: Path) -> dict[str, Any]:
        label = row[self.label_scale.column]
        if self.diagnosis:
            try:
                return diagnosis_labels.diagnosis_labels(row, label)
            except ValueError as error:
                raise DatasetError(f"{file}: a clip has labels that this version cannot use ({error})") from error
        labels: dict[str, Any] = {"score": np.float32(label)}
        if self.frames:
            symmetric, asymmetric = (np.array(row[name]) for name in DISTURBANCES)
            labels["frame_score"] = true_frame_scores(symmetric, asymmetric, label)
        return labels

    def _rows(self, file: Path, group: int | None) -> Iterator[dict[str, Any]]:
        """Yields the clips of a row group, without those that are skipped for want of a label.

        If `group` is None, it yields only the label and the split of all rows.
        """
        parquet = self._open(file)
        table = parquet.read(self._facts) if group is None else parquet.read_row_group(group, self._columns)
        for row in table.to_pylist():
            if self.diagnosis or None not in row.values():
                yield row

    def _open(self, file: Path) -> pq.ParquetFile:
        """Opens a file of the set, and checks that it has all columns.

        Raises:
            DatasetError: it cannot be read, or lacks a column.
        """
        try:
            parquet = pq.ParquetFile(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise DatasetError(f"{file}: cannot be read as Parquet ({error})") from error
        missing = set(self._columns) - set(parquet.schema_arrow.names)
        if missing:
            raise DatasetError(
                f"{file}: the column {sorted(missing)[0]!r} is missing; train on a set that `audiosieve synthesize` wrote"
            )
        return parquet

    @property
    def _facts(self) -> list[str]:
        """Columns that decide whether a clip is used."""
        return [self.label_scale.column, "split"]

    @property
    def _columns(self) -> list[str]:
        """All columns that are used."""
        columns = [*self._facts, "audio", *(DISTURBANCES if self.frames else ())]
        return [*columns, *diagnosis_labels.COLUMNS] if self.diagnosis else columns


def open_set(
    paths: Sequence[Path],
    label_scale: LabelScale,
    features: FeatureConfig,
    *,
    frames: bool = False,
    diagnosis: bool = False,
    shuffle_clips: int = SHUFFLE_CLIPS,
) -> TrainingSet:
    """Opens a set and checks that both splits hold labelled clips.

    Args:
        paths: Parquet files of clips, at least one.
        label_scale: label to learn.
        features: definition of the spectrogram.
        frames: whether to read the true value of each frame.
        diagnosis: whether to read the truth of the diagnosis.
        shuffle_clips: size of the shuffle buffer in clips, at least 1.

    Raises:
        DatasetError: a file cannot be read or lacks a column, or a split has no labelled clip.
    """
    training_set = TrainingSet(tuple(paths), label_scale, features, frames, diagnosis, shuffle_clips)
    for split in ("train", "val"):
        if not training_set.count(split):
            raise DatasetError(f"the split {split!r} has no clip with the label {label_scale.name}")
    return training_set
