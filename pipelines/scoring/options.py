"""Options of `audiosieve score`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

# Values of `--listing`.
LAUNCHER, WORKERS = "launcher", "workers"


@dataclasses.dataclass(frozen=True)
class ScoreOptions:
    """Options of `audiosieve score`.

    Attributes:
        input: directory, glob, file or manifest of the corpus.
        output: folder for the tables; empty to print the score of a single recording.
        model: name or folder of a model.
        channels: channels to score: "auto", "mix", "first", "each" or the number of a channel.
        carry: columns of the corpus to copy into `utterances`.
        audio_root: folder that relative paths of a manifest refer to; None for the folder of the manifest.
        columns: names of the columns of a manifest by role, such as {"path": "clip"}.
        strict: whether a faulty row of a manifest ends the run before it starts.
        overwrite: whether to remove earlier scores from the output first.
        prune: whether to remove the rows of recordings that the corpus no longer contains.
        dry_run: whether to score a few recordings and write nothing.
        wave_hours: hours of audio that a local run commits at a time, over 0.
        batch_size: largest number of utterances in a batch, at least 1.
        batch_frames: largest number of padded frames in a batch, at least 1.
        listing: process that lists the corpus: "launcher" or "workers".
        forget: id of a pending run whose job on another runner is gone; None for no run.
        log_level: level of the log on stderr: "debug", "info", "warning" or "error".
        threads: TensorFlow threads in each process, at least 1.
        recording_timeout_s: seconds in which a local run must decode a recording, without those for its length; over 0.
    """

    input: str
    output: str
    model: str
    channels: str
    carry: tuple[str, ...]
    audio_root: str | None
    columns: Mapping[str, str]
    strict: bool
    overwrite: bool
    prune: bool
    dry_run: bool
    wave_hours: float
    batch_size: int
    batch_frames: int
    listing: str
    forget: str | None
    log_level: str
    threads: int
    recording_timeout_s: float
