"""An evaluation as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from model.evaluation.bootstrap import Estimate
from model.evaluation.measures import DIMENSIONS

NOTHING = "-"
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
)
CONDITION_COLUMNS = ("clips", "label", "score", "LCC", "SRCC", "RMSE", "precision", "recall", "F1")

PLACE_COLUMNS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auc": "AUC",
    "auc_within_clip": "AUC within",
    "iou": "IoU",
}
WITH_INTERVAL = ("f1", "auc_within_clip", "iou")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: columns aligned, the first to the left and the others to the right, a line under the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if n == 0 else cell.rjust(width) for n, (cell, width) in enumerate(cells)).rstrip()
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def estimate(value: Estimate | None, digits: int = 3) -> str:
    """A measure and its interval: 0.812 [0.790, 0.831]."""
    if value is None:
        return NOTHING
    text = number(value.value, digits)
    return text if value.interval is None else f"{text} [{', '.join(number(end, digits) for end in value.interval)}]"


def overall_table(models: dict[str, dict[str, Any]]) -> str:
    """All models side by side, a measure a row; measures that no model has are left out.

    Args:
        models: what was found, by model id.
    """
    rows = [["", *models]]
    for title, part, name in OVERALL:
        cells = [found.get(part, {}).get(name) for found in models.values()]
        if any(cell is not None for cell in cells):
            rows.append([title, *map(estimate, cells)])
    return table(rows)


def condition_table(dimension: str, conditions: dict[str, dict[str, Any]]) -> str:
    """One model under all conditions of a dimension, a condition a row."""
    rows = [[f"by {dimension.replace('_', ' ')}", *CONDITION_COLUMNS]]
    for name, found in conditions.items():
        means = [number(found["label_mean"]), number(found["score_mean"])]
        agreement = [estimate(found.get(measure), 2) for measure in ("lcc", "srcc", "rmse")]
        detection = [
            number(found[measure].value) if measure in found else NOTHING for measure in ("precision", "recall", "f1")
        ]
        rows.append([name, str(found["clips"]), *means, *agreement, *detection])
    return table(rows)


def places_table(kinds: dict[str, dict[str, Any]]) -> str:
    """How well one model finds where a clip is bad, by what it is that is bad there."""
    rows = [["bad in part by", "clips", *PLACE_COLUMNS.values()]]
    for kind, found in kinds.items():
        cells = [
            estimate(found[name], 2) if name in WITH_INTERVAL else number(found[name].value) for name in PLACE_COLUMNS
        ]
        rows.append([kind, str(found["clips"]), *cells])
    return table(rows)


def ladder_table(ladder: dict[str, Any]) -> str:
    """Mean score at each rung of a ladder, and the share of clips whose score is higher there than one rung below."""
    rose = {step["to"]: step["rose"] for step in ladder["steps"]}
    rows = [["ladder", "clips", "score", "rose"]]
    for rung in ladder["rungs"]:
        rows.append([rung["snr"], str(rung["clips"]), number(rung["score_mean"]), estimate(rose.get(rung["snr"]))])
    return table(rows)


def report(models: dict[str, dict[str, Any]], notes: Sequence[str]) -> str:
    """The whole evaluation: the models side by side, then each under its conditions.

    Args:
        models: what was found, by model id: that of `evaluation.evaluate`, and "ladder" and "level" where measured.
        notes: what the reader must know.
    """
    parts = [overall_table(models), "In brackets: 95 % interval, from resampling the speakers."]
    for model_id, found in models.items():
        tables = [
            condition_table(dimension, found[f"by_{dimension}"])
            for dimension in DIMENSIONS
            if len(found[f"by_{dimension}"]) > 1
        ]
        if found["localisation_by_kind"]:
            tables.append(places_table(found["localisation_by_kind"]))
        if "ladder" in found:
            tables.append(ladder_table(found["ladder"]))
        parts.append("\n\n".join([model_id, *tables]))
    return "\n\n".join([*parts, *(f"note: {note}" for note in notes)])
