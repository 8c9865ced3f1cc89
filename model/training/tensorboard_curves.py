"""Writes learning curves as an event file for TensorBoard, without the TensorBoard package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from model.training.diagnosis_validation import MEASURES

FILE = "events.out.tfevents.0"
TAGS = ("loss", "lcc", "srcc", "rmse", *MEASURES)


def write_curves(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    """Writes the whole history of a training. A longer history starts with the same bytes.

    Args:
        folder: folder for `tensorboard --logdir`.
        history: one dict for each epoch with `epoch` (from 1), `ended_unix_s`, and a value or None for some of `TAGS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    event, summary = tf.compat.v1.Event, tf.compat.v1.Summary
    started_unix_s = history[0]["ended_unix_s"] if history else 0.0
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        writer.write(event(wall_time=started_unix_s, file_version="brain.Event:2").SerializeToString())
        for epoch in history:
            values = [summary.Value(tag=tag, simple_value=epoch[tag]) for tag in TAGS if epoch.get(tag) is not None]
            row = event(wall_time=epoch["ended_unix_s"], step=epoch["epoch"], summary=summary(value=values))
            writer.write(row.SerializeToString())
