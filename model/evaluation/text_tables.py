"""Evaluations as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from model.evaluation.bootstrap import Estimate
from model.evaluation.measures import DIMENSIONS

MISSING = "-"
# Title, part of the evaluation, measure.
OVERALL = (
    ("LCC", "overall", "lcc"),
    ("SRCC", "overall", "srcc"),
    ("RMSE", "overall", "rmse"),
    ("clean: precision", "overall", "precision"),
    ("clean: recall", "overall", "recall"),
    ("clean: F1", "overall", "f1"),
    ("clean: AUC", "overall", "auc"),
    ("bad frames: precision", "localisation", "precision"),
    ("bad frames: recall", "localisation", "recall"),
    ("bad frames: F1", "localisation", "f1"),
    ("bad frames: AUC", "localisation", "auc"),
    ("bad frames: AUC within a clip", "localisation", "auc_within_clip"),
    ("bad segments: IoU", "localisation", "iou"),
    ("false anomalies in a clean clip", "localisation", "false_anomalies_per_clean_clip"),
    ("score rises over 5 dB", "ladder", "rose_5db"),
    ("score moves under 0.1 by a gain", "level", "moved_under_0.1"),
    ("the same, rounded to 16 bits", "level_at_16_bits", "moved_under_0.1"),
    ("speech in frames: AUC", "speech", "auc"),
    ("speech in frames: F1", "speech", "f1"),
    ("causes of clips: macro F1", "causes", "macro_f1"),
    ("causes of frames: macro F1", "causes", "frame_macro_f1"),
    ("SNR: mean absolute error, dB", "snr_db", "mae"),
    ("C50: mean absolute error, dB", "c50_db", "mae"),
    ("mos_ovrl: LCC with the teacher", "mos_ovrl", "lcc"),
    ("mos_ovrl: same decision at 3.0", "mos_ovrl", "same_decision"),
)
CONDITION_COLUMNS = ("clips", "label", "score", "LCC", "SRCC", "RMSE", "precision", "recall", "F1")

LOCALISATION_COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auc": "AUC",
    "auc_within_clip": "AUC within",
    "iou": "IoU",
}
WITH_INTERVAL = ("f1", "auc_within_clip", "iou")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of cells as text: a line under the first row, the first column aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if n == 0 else cell.rjust(width) for n, (cell, width) in enumerate(cells)).rstrip()
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def number(value: float | None, digits: int = 2) -> str:
    """Returns a number as text; a dash if it is None or not finite."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def estimate(value: Estimate | None, digits: int = 3) -> str:
    """Returns a measure and its interval as text: 0.812 [0.790, 0.831]."""
    if value is None:
        return MISSING
    text = number(value.value, digits)
    return text if value.interval is None else f"{text} [{', '.join(number(end, digits) for end in value.interval)}]"


def overall_table(models: dict[str, dict[str, Any]]) -> str:
    """Returns one row for each measure that a model has, and one column for each model.

    Args:
        models: measures by model id.
    """
    rows = [["", *models]]
    for title, part, name in OVERALL:
        cells = [measured.get(part, {}).get(name) for measured in models.values()]
        if any(cell is not None for cell in cells):
            rows.append([title, *map(estimate, cells)])
    return table(rows)


def condition_table(dimension: str, conditions: dict[str, dict[str, Any]]) -> str:
    """Returns the measures of one model, one row for each condition of a dimension."""
    rows = [[f"by {dimension.replace('_', ' ')}", *CONDITION_COLUMNS]]
    for name, measured in conditions.items():
        means = [number(measured["label_mean"]), number(measured["score_mean"])]
        agreement = [estimate(measured.get(measure), 2) for measure in ("lcc", "srcc", "rmse")]
        detection = [
            number(measured[measure].value) if measure in measured else MISSING
            for measure in ("precision", "recall", "f1")
        ]
        rows.append([name, str(measured["clips"]), *means, *agreement, *detection])
    return table(rows)


def localisation_table(kinds: dict[str, dict[str, Any]]) -> str:
    """Returns the localisation of one model, one row for each kind of distortion."""
    rows = [["bad span by kind", "clips", *LOCALISATION_COLUMNS.values()]]
    for kind, measured in kinds.items():
        cells = [
            estimate(measured[name], 2) if name in WITH_INTERVAL else number(measured[name].value)
            for name in LOCALISATION_COLUMNS
        ]
        rows.append([kind, str(measured["clips"]), *cells])
    return table(rows)


def ladder_table(ladder: dict[str, Any]) -> str:
    """Returns the mean score at each rung of a ladder, and the share of clips that score higher than one rung below."""
    rose = {step["to"]: step["rose"] for step in ladder["steps"]}
    rows = [["ladder", "clips", "score", "rose"]]
    for rung in ladder["rungs"]:
        rows.append([rung["snr"], str(rung["clips"]), number(rung["score_mean"]), estimate(rose.get(rung["snr"]))])
    return table(rows)


def report(
    models: dict[str, dict[str, Any]],
    notes: Sequence[str],
    further_tables: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """Returns a whole evaluation: the models side by side, then each model under its conditions.

    Args:
        models: measures by model id: those of `measures.evaluate`, and others if measured.
        notes: notes for the reader, one sentence each.
        further_tables: tables at the end of those of a model, by model id.
    """
    parts = [overall_table(models), "In brackets: 95 % interval, from resampling the speakers."]
    for model_id, measured in models.items():
        tables = [
            condition_table(dimension, measured[f"by_{dimension}"])
            for dimension in DIMENSIONS
            if len(measured[f"by_{dimension}"]) > 1
        ]
        if measured["localisation_by_kind"]:
            tables.append(localisation_table(measured["localisation_by_kind"]))
        if "ladder" in measured:
            tables.append(ladder_table(measured["ladder"]))
        tables += further_tables.get(model_id, ())
        parts.append("\n\n".join([model_id, *tables]))
    return "\n\n".join([*parts, *(f"note: {note}" for note in notes)])
