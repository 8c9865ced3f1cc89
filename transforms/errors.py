"""Errors that several folders raise or handle, and the stages and reasons of rejects."""

from __future__ import annotations

import enum
from typing import Any


class Stage(enum.StrEnum):
    """Step that rejected an input."""

    LIST = "list"
    READ = "read"
    DECODE = "decode"
    FEATURIZE = "featurize"
    SCORE = "score"
    REFERENCE = "reference"
    MIX = "mix"
    LABEL = "label"
    EXPORT = "export"


class Reason(enum.StrEnum):
    """Why an input was rejected."""

    INVALID_ROW = "invalid_row"
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
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    MODEL_FAILED = "model_failed"
    NOT_CLEAN = "not_clean"
    PESQ_FAILED = "pesq_failed"
    LABELS_DISAGREE = "labels_disagree"
    NO_MATERIAL = "no_material"
    CHANGED = "changed"
    UNWRITABLE = "unwritable"


class AudioFault(Exception):
    """Expected fault of an input, which becomes a `Reject`. Other exceptions end the job.

    Args:
        stage: step that found the fault.
        reason: kind of the fault.
        detail: explanation in a sentence, for the user.
    """

    def __init__(self, stage: Stage, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.stage = stage
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return AudioFault, (self.stage, self.reason, self.detail)


class SourceError(ValueError):
    """The corpus cannot be listed."""


class OutputError(ValueError):
    """The output cannot be read or written, or belongs to another command or corpus."""
