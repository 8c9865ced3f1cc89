"""Writes the files of a selection, and prints the amounts that each rule drops."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path

from pipelines.filtering.decision import KEPT, Decision, FilterConfig, kaldi_remark
from pipelines.filtering.export import FILES as EXPORT_FILES
from pipelines.filtering.folders import Folder
from transforms.curation.manifest_formats import FORMATS, KALDI
from transforms.curation.piece_texts import TextState
from transforms.curation.row_writers.kaldi_rows import without_text
from transforms.curation.row_writers.writers import WRITERS
from transforms.curation.selection import Amount, Selection

DROPPED, RECORD = "dropped.parquet", "filter.json"


def write_selection(selection: Selection, config: FilterConfig, decision: Decision, folder: Path) -> Decision:
    """Writes all files of a selection, and returns its decision with the texts that pieces have in the manifest.

    A manifest that lists exported files is written after the export (`write_manifest`).

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
    if not decision.lists_files:
        decision = write_manifest(decision, folder)
    _write_record(config, decision, folder, has_manifest=not decision.lists_files)
    return decision


def write_manifest(decision: Decision, folder: Path) -> Decision:
    """Writes the manifest into a folder, and returns the decision with the texts that pieces have in it."""
    if decision.format is None:
        return decision
    path = folder / FORMATS[decision.format].file
    if decision.source_rows is None:
        FORMATS[decision.format].write(decision.kept_list, path)
        return decision
    pieces = WRITERS[decision.format](decision.source_rows, path)
    if pieces:
        decision = dataclasses.replace(decision, piece_texts=dict(sorted(pieces.items())))
    (row,) = decision.kept_list.rows(f"SELECT count(*) AS count FROM {decision.kept_list.table}")
    silent = without_text(path, row["count"]) if decision.format == KALDI else 0
    if silent:
        decision = dataclasses.replace(decision, remarks=[*decision.remarks, kaldi_remark(silent)])
    return decision


def put_manifest(config: FilterConfig, decision: Decision, output: Folder, scratch: Path) -> Decision:
    """Adds the manifest of exported files to a selection, in place of an earlier manifest.

    Args:
        config: configuration of the selection.
        decision: its decision, with the exported files.
        output: folder of the selection.
        scratch: a local folder for temporary files.

    Returns:
        The decision with the texts that pieces have in the manifest.

    Raises:
        UsageError: the folder cannot be written.
    """
    draft = scratch / "manifest"
    draft.mkdir()
    decision = write_manifest(decision, draft)
    if earlier := output.load(RECORD).get("manifest"):
        output.remove(earlier)
    for path in sorted(draft.rglob("*")):
        if path.is_file():
            output.put(path, path.relative_to(draft).as_posix())
    _write_record(config, decision, draft, has_manifest=True)
    output.put(draft / RECORD, RECORD)
    return decision


def _write_record(config: FilterConfig, decision: Decision, folder: Path, has_manifest: bool) -> None:
    record = {
        "job": "filter",
        **config.as_dict(),
        "fingerprint": config.fingerprint,
        "manifest": FORMATS[decision.format].file if decision.format and has_manifest else None,
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


def kept_share(decision: Decision) -> str:
    """Returns a line with the kept share and the rejects."""
    share = decision.kept.seconds / decision.scored.seconds
    text = f"{_hours(decision.kept)} of {_hours(decision.scored)} h are kept ({share:.1%})"
    if decision.reject_counts:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in decision.reject_counts.items())
        text += f"; {sum(decision.reject_counts.values()):,} more got no score ({reasons})"
    return text


def written_files(decision: Decision, output: str) -> str:
    """Returns lines with the texts of pieces, the files and remarks on the manifest."""
    names = [KEPT, DROPPED, RECORD] + ([FORMATS[decision.format].file] if decision.format else [])
    lines = [_pieces(decision), f"{output}: {', '.join(names)}", "; ".join(decision.remarks)]
    return "\n".join(line for line in lines if line)
