"""A comparison for the terminal."""

from __future__ import annotations

from model.labels import LabelScale
from transforms.analysis.comparison import PERCENTILES, Comparison
from transforms.analysis.text_tables import aligned, cell, counted, hours


def comparison_text(found: Comparison, worst: int) -> str:
    """All of a comparison: what each lacks, agreement, decisions, the largest disagreements.

    Args:
        found: the comparison.
        worst: how many of the largest disagreements are listed.
    """
    parts = [
        "\n".join(
            f"{name}: {results.root}, {results.model_id}, {_scale(results.label_scale)}"
            for name, results in (("A", found.a), ("B", found.b))
        ),
        _counts_text(found),
        _agreement_text(found),
        _decisions_text(found),
    ]
    if worst:
        parts.append(_worst_text(found, worst))
    return "\n\n".join(parts)


def _scale(scale: LabelScale) -> str:
    return f"{scale.title}, {scale.low:g} to {scale.high:g}"


def _counts_text(found: Comparison) -> str:
    counts = found.facts["counts"]
    lines = [f"scored in both: {counted(counts['scored_in_both'], 'utterance')}"]
    for name, words in (
        ("scored_in_a_rejected_in_b", "scored in A, rejected in B"),
        ("scored_in_b_rejected_in_a", "scored in B, rejected in A"),
    ):
        if reasons := counts[name]:
            details = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
            lines.append(f"{words}: {sum(reasons.values()):,} ({details})")
    if counts["rejected_in_both"]:
        lines.append(f"rejected in both: {counts['rejected_in_both']:,}")
    for name, words in (("in_a_only", "only in A"), ("in_b_only", "only in B")):
        if any(counts[name].values()):
            lines.append(f"{words}: {counts[name]['scored']:,} scored, {counts[name]['rejected']:,} rejected")
    if counts["changed"]:
        first = found.joined.filter(found.joined["changed"])["utterance_id"][0].as_py()
        lines.append(f"changed recordings (another size or time of modification): {counts['changed']:,}, {first} first")
    return "\n".join(lines)


def _agreement_text(found: Comparison) -> str:
    agreement, difference = found.facts["agreement"], dict(found.facts["difference"])
    of = difference.pop("of")
    lines = [f"LCC {cell(agreement['lcc'])}, SRCC {cell(agreement['srcc'])}"]
    if not found.same_scale:
        lines.append(
            "The label scales differ: what is compared below is each score's percentile rank in its own output."
        )
    digits = 3 if found.same_scale else 1
    numbers = [f"{value:{'' if name == 'mean_absolute' else '+'}.{digits}f}" for name, value in difference.items()]
    names = ["mean", "mean of |B - A|", *(f"p{percentile}" for percentile in PERCENTILES)]
    lines += ["", aligned(["B - A", *names], [[of, *numbers]])]
    return "\n".join(lines)


def _decisions_text(found: Comparison) -> str:
    cells, (of_a, of_b) = found.facts["decisions"], found.thresholds

    def said(name: str) -> str:
        return f"{cells[name]['utterances']:,}, {hours(cells[name]['hours'])}"

    differ = [cells[name] for name in ("kept_in_a_only", "kept_in_b_only")]
    total = found.facts["counts"]["scored_in_both"]
    number = sum(int(each["utterances"]) for each in differ)
    return "\n".join(
        [
            aligned(
                ["threshold", f"B: {cell(of_b)} on", f"B: under {cell(of_b)}"],
                [
                    [f"A: {cell(of_a)} on", said("kept_in_both"), said("kept_in_a_only")],
                    [f"A: under {cell(of_a)}", said("kept_in_b_only"), said("dropped_in_both")],
                ],
            ),
            f"decided otherwise: {counted(number, 'utterance')} ({number / total:.1%}), "
            f"{hours(sum(each['hours'] for each in differ))}",
        ]
    )


def _worst_text(found: Comparison, number: int) -> str:
    title = "B - A" if found.same_scale else "B - A in percentiles"
    rows = [
        [
            row["utterance_id"],
            f"{row['score_a']:.2f}",
            f"{row['score_b']:.2f}",
            f"{row['difference']:+.{2 if found.same_scale else 1}f}",
            f"{row['duration_s']:.1f} s",
            "changed" if row["changed"] else "",
        ]
        for row in found.worst(number)
    ]
    return aligned(
        ["largest disagreements", "A", "B", title, "length", ""], rows, [False, True, True, True, True, False]
    )
