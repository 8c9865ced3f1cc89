"""Formats a summary for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from transforms.analysis.summary import QUANTILES, Bin, Summary
from transforms.analysis.text_tables import aligned, cell, count_text
from transforms.durations import duration_text

# Characters of the longest bar.
BAR = 40


def summary_text(summary: Summary) -> str:
    """Returns the whole summary: counts, quantiles, histogram, formats, causes, flags, groups and rejects."""
    scale = summary.scale
    parts = [
        f"{summary.output}: {summary.model_id}, {scale.title}, {scale.low:g} to {scale.high:g}; "
        f"{count_text(summary.runs, 'run')}\n"
        f"{count_text(summary.utterances, 'utterance')}, {duration_text(3600 * summary.hours)}; "
        f"{count_text(sum(row['rejects'] for row in summary.rejects), 'reject')}; "
        f"{count_text(int(summary.anomalies['anomalies']), 'anomaly', 'anomalies')} in "
        f"{count_text(int(summary.anomalies['utterances']), 'utterance')}, {duration_text(3600 * summary.anomalies['hours'])}"
    ]
    if summary.utterances:
        quantile_rows = [
            [name, *(f"{value:.2f}" for value in quantiles.values())]
            for name, quantiles in (("by utterance", summary.quantiles), ("by hours", summary.quantiles_by_hours))
        ]
        parts += [
            aligned(["score", *QUANTILES], quantile_rows),
            histogram(summary.bins),
            _groups_text("format", summary.formats),
        ]
    if summary.causes:
        parts.append(_groups_text("cause", summary.causes))
    if summary.flags:
        parts.append(_groups_text("flag", summary.flags))
    if summary.groups:
        parts.append(_groups_text(_title(summary.grouped_by), summary.groups))
    if summary.rejects:
        parts.append(aligned(["reject", "number"], [[row["reason"], f"{row['rejects']:,}"] for row in summary.rejects]))
    return "\n\n".join(parts)


def histogram(bins: Sequence[Bin]) -> str:
    """Returns hours by score as bars, with the hours that a threshold at the lower end of each bin keeps."""
    longest = max(item.hours for item in bins)
    rows = []
    for item in bins:
        # Rounded up, so that every bin with utterances is visible.
        length = math.ceil(BAR * item.hours / longest)
        rows.append(
            [
                f"{item.low:g} to {item.high:g}",
                f"{item.utterances:,}",
                duration_text(3600 * item.hours),
                duration_text(3600 * item.hours_from_here),
                "#" * length,
            ]
        )
    return aligned(["score", "utterances", "length", "with all above", ""], rows, [False, True, True, True, False])


def _title(expression: str) -> str:
    return "folder" if expression.startswith("array_to_string(") else expression


def _groups_text(title: str, groups: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            cell(row["group"]) or ".",
            f"{row['utterances']:,}",
            duration_text(3600 * row["hours"]),
            *(f"{row[name]:.2f}" for name in ("mean_score", "p5", "p50")),
            *(f"{row[name]:.1%}" for name in ("with_anomalies", "with_flags")),
        ]
        for row in groups
    ]
    return aligned([title, "utterances", "length", "mean score", "p5", "p50", "with anomalies", "with flags"], rows)
