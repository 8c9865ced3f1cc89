"""Errors that several folders raise or handle, and the words for why an input was lost."""

from __future__ import annotations

import enum
from typing import Any


class Stage(enum.StrEnum):
    """Where an input was lost."""

    READ = "read"
    DECODE = "decode"
    FEATURIZE = "featurize"
    SCORE = "score"
    REFERENCE = "reference"
    MIX = "mix"
    LABEL = "label"
    EXPORT = "export"


class Reason(enum.StrEnum):
    """Why an input was lost."""

    UNREADABLE = "unreadable"
    NOT_A_FILE = "not_a_file"
    EMPTY_FILE = "empty_file"
    UNSUPPORTED_FORMAT = "unsupported_format"
    UNSUPPORTED_RATE = "unsupported_rate"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    NON_FINITE = "non_finite"
    NO_CHANNEL = "no_channel"
    EMPTY_ARCHIVE = "empty_archive"
    DUPLICATE_ID = "duplicate_id"
    OUTSIDE = "outside"
    TOO_LONG = "too_long"
    TOO_SHORT = "too_short"
    SILENT = "silent"
    MODEL_FAILED = "model_failed"
    NOT_CLEAN = "not_clean"
    PESQ_FAILED = "pesq_failed"
    LABELS_DISAGREE = "labels_disagree"
    NO_MATERIAL = "no_material"
    CHANGED = "changed"


class AudioFault(Exception):
    """An expected fault of an input. Becomes a `Reject`; any other exception is a bug and ends the job."""

    def __init__(self, stage: Stage, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.stage = stage
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return AudioFault, (self.stage, self.reason, self.detail)


class SourceError(ValueError):
    """A corpus that cannot be listed."""


class OutputError(ValueError):
    """An output folder that cannot be written, or that holds something else."""
