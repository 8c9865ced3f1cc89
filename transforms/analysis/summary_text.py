"""Formats a summary for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from transforms.analysis.summary import QUANTILES, Bin, Summary
from transforms.analysis.text_tables import aligned, cell, count_text, wrapped
from transforms.durations import duration_text

# Characters of the longest bar.
BAR = 40


def summary_text(summary: Summary, width: int | None = None) -> str:
    """Returns the whole summary: counts, quantiles, histogram, formats, causes, flags, groups and rejects.

    Args:
        summary: the summary.
        width: width of the terminal in characters, to which names and bars are shortened; None for lines of any length.
    """
    scale = summary.scale
    other_files = f" (and {count_text(summary.other_files, 'other file')})" if summary.other_files else ""
    parts = [
        f"{summary.output}: {summary.model_id}, {scale.title}, {scale.low:g} to {scale.high:g}; "
        f"{count_text(summary.runs, 'run')}\n"
        f"{count_text(summary.utterances, 'utterance')}, {duration_text(3600 * summary.hours)}; "
        f"{count_text(sum(row['rejects'] for row in summary.rejects), 'reject')}{other_files}; "
        f"{count_text(int(summary.anomalies['anomalies']), 'anomaly', 'anomalies')} in "
        f"{count_text(int(summary.anomalies['utterances']), 'utterance')}, {duration_text(3600 * summary.anomalies['hours'])}"
    ]
    if width is not None:
        parts = ["\n".join(line for text in parts[0].splitlines() for line in wrapped(text, width))]
    if summary.utterances:
        quantile_rows = [
            [name, *(f"{value:.2f}" for value in quantiles.values())]
            for name, quantiles in (("by utterance", summary.quantiles), ("by hours", summary.quantiles_by_hours))
        ]
        parts += [
            aligned(["score", *QUANTILES], quantile_rows, width=width),
            histogram(summary.bins, width),
            _groups_text("format", summary.formats, width),
        ]
    if summary.causes:
        parts.append(_groups_text("cause", summary.causes, width))
    if summary.flags:
        parts.append(_groups_text("flag", summary.flags, width))
    if summary.groups:
        parts.append(_groups_text(_title(summary.grouped_by), summary.groups, width))
    if summary.rejects:
        parts.append(aligned(["reject", "number"], [[row["reason"], f"{row['rejects']:,}"] for row in summary.rejects]))
    return "\n\n".join(parts)


def histogram(bins: Sequence[Bin], width: int | None = None) -> str:
    """Returns hours by score as bars, with the hours that a threshold at the lower end of each bin keeps.

    Args:
        bins: the bins.
        width: width of the terminal in characters, which shortens the bars; None for the usual length.
    """
    head = ["score", "utterances", "length", "with all above", ""]
    right = [False, True, True, True, False]
    cells = [
        [
            f"{item.low:g} to {item.high:g}",
            f"{item.utterances:,}",
            duration_text(3600 * item.hours),
            duration_text(3600 * item.hours_from_here),
        ]
        for item in bins
    ]
    bar = BAR
    if width is not None:
        beside = max(map(len, aligned(head[:-1], cells, right[:-1]).splitlines())) + 2
        bar = max(1, min(BAR, width - beside))
    longest = max(item.hours for item in bins)
    # Rounded up, so that every bin with utterances is visible.
    bars = ["#" * math.ceil(bar * item.hours / longest) for item in bins]
    return aligned(head, [[*row, bar] for row, bar in zip(cells, bars, strict=True)], right)


def _title(expression: str) -> str:
    return "folder" if expression.startswith("array_to_string(") else expression


def _groups_text(title: str, groups: Sequence[dict[str, Any]], width: int | None) -> str:
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
    head = [title, "utterances", "length", "mean score", "p5", "p50", "with anomalies", "with flags"]
    return aligned(head, rows, width=width)
