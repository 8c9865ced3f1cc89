"""Formats a comparison for the terminal."""

from __future__ import annotations

from model.labels import LabelScale
from transforms.analysis.comparison import PERCENTILES, Comparison
from transforms.analysis.text_tables import aligned, cell, count_text
from transforms.durations import duration_text


def comparison_text(comparison: Comparison, worst: int) -> str:
    """Returns the whole comparison: missing utterances, agreement, decisions, causes and the largest disagreements.

    Args:
        comparison: the comparison.
        worst: number of the largest disagreements to list.
    """
    parts = [
        "\n".join(
            f"{name}: {results.root}, {results.model_id}, {_scale(results.label_scale)}"
            for name, results in (("A", comparison.a), ("B", comparison.b))
        ),
        _counts_text(comparison),
        _agreement_text(comparison),
        _decisions_text(comparison),
    ]
    if comparison.facts["causes"]:
        parts.append(_causes_text(comparison))
    if worst:
        parts.append(_worst_text(comparison, worst))
    return "\n\n".join(parts)


def _scale(scale: LabelScale) -> str:
    return f"{scale.title}, {scale.low:g} to {scale.high:g}"


def _counts_text(comparison: Comparison) -> str:
    counts = comparison.facts["counts"]
    lines = [f"scored in both: {count_text(counts['scored_in_both'], 'utterance')}"]
    for name, title in (
        ("scored_in_a_rejected_in_b", "scored in A, rejected in B"),
        ("scored_in_b_rejected_in_a", "scored in B, rejected in A"),
    ):
        if reasons := counts[name]:
            details = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
            lines.append(f"{title}: {sum(reasons.values()):,} ({details})")
    if counts["rejected_in_both"]:
        lines.append(f"rejected in both: {counts['rejected_in_both']:,}")
    for name, title in (("in_a_only", "only in A"), ("in_b_only", "only in B")):
        if any(counts[name].values()):
            lines.append(f"{title}: {counts[name]['scored']:,} scored, {counts[name]['rejected']:,} rejected")
    if counts["changed"]:
        first = comparison.joined.filter(comparison.joined["changed"])["utterance_id"][0].as_py()
        lines.append(f"recordings whose size or modification time changed: {counts['changed']:,}, first {first}")
    return "\n".join(lines)


def _agreement_text(comparison: Comparison) -> str:
    agreement, difference = comparison.facts["agreement"], dict(comparison.facts["difference"])
    quantity = difference.pop("of")
    lines = [f"LCC {cell(agreement['lcc'])}, SRCC {cell(agreement['srcc'])}"]
    if not comparison.same_scale:
        lines.append(
            "The label scales differ, so the rows below compare the percentile rank of each score within its output."
        )
    digits = 3 if comparison.same_scale else 1
    numbers = [f"{value:{'' if name == 'mean_absolute' else '+'}.{digits}f}" for name, value in difference.items()]
    names = ["mean", "mean of |B - A|", *(f"p{percentile}" for percentile in PERCENTILES)]
    lines += ["", aligned(["B - A", *names], [[quantity, *numbers]])]
    return "\n".join(lines)


def _decisions_text(comparison: Comparison) -> str:
    cells, (threshold_a, threshold_b) = comparison.facts["decisions"], comparison.thresholds

    def amount(name: str) -> str:
        return f"{cells[name]['utterances']:,}, {duration_text(3600 * cells[name]['hours'])}"

    differ = [cells[name] for name in ("kept_in_a_only", "kept_in_b_only")]
    total = comparison.facts["counts"]["scored_in_both"]
    number = sum(int(part["utterances"]) for part in differ)
    return "\n".join(
        [
            aligned(
                ["threshold", f"B: from {cell(threshold_b)}", f"B: below {cell(threshold_b)}"],
                [
                    [f"A: from {cell(threshold_a)}", amount("kept_in_both"), amount("kept_in_a_only")],
                    [f"A: below {cell(threshold_a)}", amount("kept_in_b_only"), amount("dropped_in_both")],
                ],
            ),
            f"different decisions: {count_text(number, 'utterance')} ({number / total:.1%}), "
            f"{duration_text(3600 * sum(part['hours'] for part in differ))}",
        ]
    )


def _causes_text(comparison: Comparison) -> str:
    rows = [
        [row["cause"], *(f"{row[name]:,}" for name in ("in_a", "in_b", "in_both"))]
        for row in comparison.facts["causes"]
    ]
    return aligned(["utterances with the cause", "A", "B", "both"], rows)


def _worst_text(comparison: Comparison, number: int) -> str:
    title = "B - A" if comparison.same_scale else "B - A in percentiles"
    rows = [
        [
            row["utterance_id"],
            f"{row['score_a']:.2f}",
            f"{row['score_b']:.2f}",
            f"{row['difference']:+.{2 if comparison.same_scale else 1}f}",
            f"{row['duration_s']:.1f} s",
            "changed" if row["changed"] else "",
        ]
        for row in comparison.worst(number)
    ]
    return aligned(
        ["largest disagreements", "A", "B", title, "length", ""], rows, [False, True, True, True, True, False]
    )
