"""A training set on disk as batches for training: clips are decoded and turned into features as they are needed."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import tensorflow as tf

from model.features import NUM_BINS, FeatureConfig, spectrogram
from model.labels import LabelScale
from model.pooling import frame_truth

# Clips of the compressed set that are held to be shuffled among each other: some 200 MB.
SHUFFLE_CLIPS = 2048
# Clips of one batch differ in length by less than this.
BUCKET_FRAMES = 48
# Up to this length a batch is full; up to the other the clips are told apart by length.
FULL_BATCH_FRAMES = 1024
MAX_FRAMES = 8192
# What `pooling.frame_truth` is made of.
DISTURBANCES = ("disturbance", "asymmetric_disturbance")


class DatasetError(ValueError):
    """A training set that is not there or does not hold what is asked for."""


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """The Parquet files of a set made by `audiosieve synthesize`, and which of its labels to learn.

    Attributes:
        files: Parquet files with the columns `audio`, `split` and the label's.
        label_scale: which label.
        features: what the network sees.
        frames: learn the truth of each frame too; clips without it are left out.
    """

    files: tuple[Path, ...]
    label_scale: LabelScale
    features: FeatureConfig
    frames: bool = False

    def count(self, split: str) -> int:
        """Clips of a split that have the label.

        Raises:
            DatasetError: a file is not of such a set.
        """
        return sum(1 for file in self.files for row in self._rows(file, None) if row[1] == split)

    def batches(self, split: str, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
        """Padded batches of clips of like length.

        Args:
            split: "train" or "val".
            batch_size: clips in a batch.
            seed: decides the order; None leaves the clips in the order of the files.

        Returns:
            Dataset of ({"spectrogram": float32 [B, T, 257], "mask": bool [B, T]}, {"score": float32 [B]}), prefetched;
            with `frames` also "frame_score": float32 [B, T] beside "score".
        """
        truth = {"score": tf.TensorSpec([], tf.float32)}
        if self.frames:
            truth["frame_score"] = tf.TensorSpec([None], tf.float32)
        clips = tf.data.Dataset.from_generator(
            lambda: self._clips(split, seed), output_signature=(tf.TensorSpec([], tf.string), truth)
        )
        if seed is not None:
            clips = clips.shuffle(SHUFFLE_CLIPS, seed=seed)
        features = clips.map(self._featurize, num_parallel_calls=2, deterministic=True)
        boundaries = list(range(BUCKET_FRAMES, MAX_FRAMES, BUCKET_FRAMES))
        # Of clips longer than usual fewer make a batch, so that its memory is bounded.
        sizes = [
            max(1, min(batch_size, batch_size * FULL_BATCH_FRAMES // longest)) for longest in [*boundaries, MAX_FRAMES]
        ]
        batched = features.bucket_by_sequence_length(lambda example, _: tf.shape(example["mask"])[0], boundaries, sizes)
        if seed is not None:
            # Buckets fill at their own pace; what is left of each at the end comes in order of length otherwise.
            batched = batched.shuffle(16, seed=seed)
        options = tf.data.Options()
        # Nothing here is left to autotuning, and its thread can hold up the end of an epoch by many seconds.
        options.autotune.enabled = False
        return batched.prefetch(4).with_options(options)

    def _featurize(self, audio: tf.Tensor, truth: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], Any]:
        features = tf.numpy_function(self._spectrogram, [audio], tf.float32)
        features.set_shape([None, NUM_BINS])
        return {"spectrogram": features, "mask": tf.ones(tf.shape(features)[:1], tf.bool)}, truth

    def _spectrogram(self, audio: bytes) -> np.ndarray:
        samples, _ = soundfile.read(io.BytesIO(audio), dtype="float32")
        return spectrogram(samples, self.features)

    def _clips(self, split: str, seed: int | None) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """(FLAC bytes, truth) of every clip of a split; with a seed, the row groups of the set come in its order."""
        groups = [(file, g) for file in self.files for g in range(pq.ParquetFile(file).num_row_groups)]
        if seed is not None:
            np.random.default_rng(seed).shuffle(groups)
        for file, group in groups:
            for label, clip_split, audio, *disturbances in self._rows(file, group):
                if clip_split == split:
                    truth: dict[str, Any] = {"score": np.float32(label)}
                    if self.frames:
                        symmetric, asymmetric = map(np.array, disturbances)
                        truth["frame_score"] = frame_truth(symmetric, asymmetric, label)
                    yield audio, truth

    def _rows(self, file: Path, group: int | None) -> Iterator[tuple[Any, ...]]:
        """(label, split, audio) of the labelled rows of one row group, and the disturbances where they are learnt.

        For None, of all rows, and the label and split alone.
        """
        labels = [self.label_scale.column, "split"]
        columns = [*labels, "audio", *(DISTURBANCES if self.frames else ())]
        try:
            parquet = pq.ParquetFile(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise DatasetError(f"{file}: cannot be read as Parquet ({error})") from error
        missing = set(columns) - set(parquet.schema_arrow.names)
        if missing:
            raise DatasetError(
                f"{file}: the column {sorted(missing)[0]!r} is missing; is it a set made by `synthesize`?"
            )
        table = parquet.read(labels) if group is None else parquet.read_row_group(group, columns)
        for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if None not in row:
                yield row


def open_set(
    paths: Sequence[Path], label_scale: LabelScale, features: FeatureConfig, *, frames: bool = False
) -> TrainingSet:
    """Checks the files of a set: both splits must hold labelled clips.

    Raises:
        DatasetError: they do not.
    """
    found = TrainingSet(tuple(paths), label_scale, features, frames)
    for split in ("train", "val"):
        if not found.count(split):
            raise DatasetError(f"the set holds no {split!r} clip with the label {label_scale.name}")
    return found
