"""Learning curves as TensorBoard reads them, written without TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

FILE = "events.out.tfevents.0"
TAGS = ("loss", "lcc", "srcc", "rmse")


def write_curves(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    """Writes the history of a training as TensorBoard's event file, anew: the file begins as it did, and grows.

    Args:
        folder: for `tensorboard --logdir`.
        history: for each epoch `epoch`, `ended_unix_s`, and a value or None for each of `TAGS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    event, summary = tf.compat.v1.Event, tf.compat.v1.Summary
    began = history[0]["ended_unix_s"] if history else 0.0
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        writer.write(event(wall_time=began, file_version="brain.Event:2").SerializeToString())
        for facts in history:
            values = [summary.Value(tag=tag, simple_value=facts[tag]) for tag in TAGS if facts[tag] is not None]
            row = event(wall_time=facts["ended_unix_s"], step=facts["epoch"], summary=summary(value=values))
            writer.write(row.SerializeToString())
