"""Writes the files of a selection, and prints the amounts that each rule drops."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path

from pipelines.filtering.decision import KEPT, Decision, FilterConfig, kaldi_remark
from pipelines.filtering.export import FILES as EXPORT_FILES
from transforms.curation.manifest_formats import FORMATS
from transforms.curation.piece_texts import TextState
from transforms.curation.row_writers.kaldi_rows import without_text
from transforms.curation.row_writers.writers import WRITERS
from transforms.curation.selection import Amount, Selection

DROPPED, RECORD = "dropped.parquet", "filter.json"


def write_selection(selection: Selection, config: FilterConfig, decision: Decision, folder: Path) -> Decision:
    """Writes all files of a selection, and returns its decision with the texts that pieces have in the manifest.

    Args:
        selection: the selection.
        config: configuration that it was made with.
        decision: its decision.
        folder: an empty local folder.

    Raises:
        RuntimeError: an utterance was lost or repeated, which is a bug.
    """
    kept, dropped = selection.write_kept(folder / KEPT), selection.write_dropped(folder / DROPPED)
    if (kept, dropped) != (decision.kept.utterances, decision.dropped.utterances):
        raise RuntimeError(
            f"{KEPT} has {kept} rows, must have {decision.kept.utterances}; "
            f"{DROPPED} has {dropped} rows, must have {decision.dropped.utterances}"
        )
    manifest = None
    if decision.format is not None:
        manifest = FORMATS[decision.format].file
        if decision.source_rows is None:
            FORMATS[decision.format].write(decision.kept_list, folder / manifest)
        else:
            pieces = WRITERS[decision.format](decision.source_rows, folder / manifest)
            if pieces:
                decision = dataclasses.replace(decision, piece_texts=dict(sorted(pieces.items())))
            silent = without_text(folder / manifest, decision.kept.utterances) if decision.format == "kaldi" else 0
            if silent:
                decision = dataclasses.replace(decision, remarks=[*decision.remarks, kaldi_remark(silent)])
    record = {
        "job": "filter",
        **config.as_dict(),
        "fingerprint": config.fingerprint,
        "manifest": manifest,
        "format": decision.format,
        "counts": {
            "scored": decision.scored.utterances,
            "kept": decision.kept.utterances,
            "dropped": decision.dropped.utterances,
            "rejected": sum(decision.reject_counts.values()),
        },
        "hours": {
            "scored": round(decision.scored.hours, 6),
            "kept": round(decision.kept.hours, 6),
            "dropped": round(decision.dropped.hours, 6),
        },
        "piece_texts": decision.piece_texts,
        "dropped_by": [
            {
                "name": count.name,
                "utterances": count.matches.utterances,
                "hours": round(count.matches.hours, 6),
                "alone_utterances": count.alone.utterances,
                "alone_hours": round(count.alone.hours, 6),
            }
            for count in decision.rule_counts
        ],
        "rejected": decision.reject_counts,
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return decision


def is_unfinished(names: Collection[str]) -> bool:
    """Whether a folder with these files may hold a selection whose writing was interrupted, and nothing else.

    Args:
        names: paths of the files, relative to the folder.
    """
    known = {KEPT, DROPPED, *EXPORT_FILES, *(format.file for format in FORMATS.values())}
    return RECORD not in names and {name.partition("/")[0] for name in names} <= known


def rule_table(decision: Decision) -> str:
    """Returns a text table of the amounts that each rule drops."""
    width = max([len(count.name) for count in decision.rule_counts] + [8])
    lines = [f"{'rule':<{width}}  {'drops':>10}{'hours':>12}  {'only it':>10}{'hours':>12}"]
    lines += [
        f"{count.name:<{width}}  {count.matches.utterances:>10,}{_hours(count.matches):>12}"
        f"  {count.alone.utterances:>10,}{_hours(count.alone):>12}"
        for count in decision.rule_counts
    ]
    for name, amount in (("dropped", decision.dropped), ("kept", decision.kept)):
        lines.append(f"{name:<{width}}  {amount.utterances:>10,}{_hours(amount):>12}")
    return "\n".join(lines)


def _pieces(decision: Decision) -> str:
    """Returns a sentence about the texts of the kept pieces; empty if there are no pieces."""
    counts = decision.piece_texts
    total = sum(counts.values())
    if not total:
        return ""
    text = f"{total:,} piece{'' if total == 1 else 's'} of trimmed utterances"
    if total == counts.get(TextState.NO_TEXT):
        return text
    with_words = counts.get(TextState.WORDS, 0) + counts.get(TextState.OTHER_WORDS, 0)
    parts = [f"{with_words:,} have the words inside them as their text"]
    if other := counts.get(TextState.OTHER_WORDS):
        parts.append(f"for {other:,} of these, the word times have other words than the text")
    if empty := counts.get(TextState.NO_WORD_INSIDE):
        parts.append(f"{empty:,} have no text, because no whole word lies inside them")
    if lost := counts.get(TextState.BAD_TIMES):
        parts.append(f"{lost:,} have no text, because their word times cannot be used (see docs/input-formats.md)")
    if lost := counts.get(TextState.NO_TIMES):
        parts.append(
            f"{lost:,} have no text, because there are no word times; to keep the words, score a corpus with word times and "
            "--carry text,words (see docs/input-formats.md)"
        )
    return f"{text}: {'; '.join(parts)}"


def nothing_kept(decision: Decision, output: str) -> str:
    """Returns a sentence that nothing was kept, with the strictest rule and the advice where to look."""
    strictest = max(decision.rule_counts, key=lambda count: count.matches.utterances, default=None)
    reason = "" if strictest is None else f"; {strictest.name!r} alone drops {strictest.matches.utterances:,}"
    return (
        f"none of the {decision.scored.utterances:,} utterances is kept{reason}; look at the column rules of "
        f"{output}/{DROPPED}, and loosen the rules"
    )


def _hours(amount: Amount) -> str:
    return f"{amount.hours:,.2f}" if amount.hours >= 10 or not amount.seconds else f"{amount.hours:.4f}"


def summary(decision: Decision, output: str) -> str:
    """Returns lines with the kept share, the rejects, the texts of pieces, the files and remarks on the manifest."""
    share = decision.kept.seconds / decision.scored.seconds
    text = f"{_hours(decision.kept)} of {_hours(decision.scored)} h are kept ({share:.1%})"
    if decision.reject_counts:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in decision.reject_counts.items())
        text += f"; {sum(decision.reject_counts.values()):,} more got no score ({reasons})"
    if pieces := _pieces(decision):
        text += f"\n{pieces}"
    names = [KEPT, DROPPED, RECORD] + ([FORMATS[decision.format].file] if decision.format else [])
    text += f"\n{output}: {', '.join(names)}"
    return f"{text}\n{'; '.join(decision.remarks)}" if decision.remarks else text
