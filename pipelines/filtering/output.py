"""Writes the files of a selection, and prints the amounts that each rule drops."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path

from pipelines.common.wording import counted
from pipelines.filtering.decision import KEPT, Decision, FilterConfig, kaldi_remark
from pipelines.filtering.export import FILES as EXPORT_FILES
from pipelines.filtering.folders import Folder
from transforms.analysis.text_tables import aligned
from transforms.curation.manifest_formats import FORMATS, KALDI
from transforms.curation.piece_texts import TextState
from transforms.curation.presets.unchecked import remark
from transforms.curation.row_writers.kaldi_rows import without_text
from transforms.curation.row_writers.writers import WRITERS
from transforms.curation.selection import Amount, Selection
from transforms.durations import duration_text

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
        "not_applied": [item.rule for item in decision.unchecked if not item.applies],
        "unchecked": {item.rule: item.utterances for item in decision.unchecked},
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
    """Returns a text table of the amounts that each rule drops, and of all that is dropped.

    A rule without data for any utterance is "not applied".
    """
    idle = {item.rule for item in decision.unchecked if not item.applies}
    head = ["rule", "dropped", "length", "dropped only by this rule", "length"]
    rows = [
        [count.name, "not applied", "", "", ""]
        if count.name in idle
        else [count.name, *_cells(count.matches), *_cells(count.alone)]
        for count in decision.rule_counts
    ]
    return aligned(head, [*rows, ["all together", *_cells(decision.dropped), "", ""]])


def _cells(amount: Amount) -> list[str]:
    return [f"{amount.utterances:,}", duration_text(amount.seconds)]


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


def nothing_kept(decision: Decision, advice: str) -> str:
    """Returns a sentence that nothing is kept, with the strictest rule and the advice what to do.

    Args:
        decision: the decision.
        advice: words before "loosen the rules"; may be empty.
    """
    # By length, because an utterance can have many short pieces.
    strictest = max(decision.rule_counts, key=lambda count: count.matches.seconds, default=None)
    reason = (
        ""
        if strictest is None
        else (
            f"; {strictest.name!r} drops most, {duration_text(strictest.matches.seconds)} of "
            f"{duration_text(decision.scored.seconds)}"
        )
    )
    return (
        f"none of the {decision.scored.utterances:,} utterances is kept{reason}; {f'{advice} loosen the rules'.strip()}"
    )


def kept_share(decision: Decision) -> str:
    """Returns lines with the kept share, the rejects, and rules without data."""
    kept, scored = decision.kept, decision.scored
    text = (
        f"kept: {counted(kept.utterances, 'utterance')}, {duration_text(kept.seconds)} of {duration_text(scored.seconds)} "
        f"({kept.seconds / scored.seconds:.1%})"
    )
    if decision.reject_counts:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in decision.reject_counts.items())
        text += f"; {sum(decision.reject_counts.values()):,} more got no score ({reasons})"
    return "\n".join([text, *([remark(decision.unchecked, decision.model_id)] if decision.unchecked else [])])


def written_files(decision: Decision, output: str | None) -> str:
    """Returns lines with the texts of pieces, the files and remarks on the manifest.

    Args:
        decision: the decision.
        output: folder of the selection; None if nothing is written.
    """
    lines = []
    # The texts in a manifest that copies rows of the corpus are known when it is written.
    if output is not None or decision.source_rows is None:
        lines.append(_pieces(decision))
    if output is None:
        lines.append("dry run: nothing is written")
    else:
        names = [KEPT, DROPPED, RECORD] + ([FORMATS[decision.format].file] if decision.format else [])
        lines.append(f"{output}: {', '.join(names)}")
    lines.append("; ".join(decision.remarks))
    return "\n".join(line for line in lines if line)
