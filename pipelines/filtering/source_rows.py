"""Finds the rows of the corpus that a manifest of kept utterances copies, and says what it lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from transforms.corpus.source_rows import READ_ERRORS, manifest_versions
from transforms.curation.kept_list import KeptList
from transforms.curation.manifest_formats import refusal
from transforms.curation.piece_texts import TextState
from transforms.curation.row_writers.matching import SourceRows
from transforms.curation.row_writers.other_formats import FLAT
from transforms.curation.selection import Selection
from transforms.errors import SourceError
from transforms.storage.files import is_directory
from transforms.storage.storage_errors import reason


@dataclasses.dataclass(frozen=True)
class Fields:
    """The rows and columns of the corpus that a manifest has.

    Attributes:
        rows: rows of the corpus that the manifest copies; None if it is written from `kept`.
        kept: the kept utterances, with the columns that the manifest has.
        pieces: number of pieces by how they got their texts; None for the texts of the selection.
        remarks: clauses of a sentence on what the manifest lacks.
    """

    rows: SourceRows | None
    kept: KeptList
    pieces: dict[TextState, int] | None
    remarks: list[str]


def find_fields(
    selection: Selection, kept: KeptList, format: str, listed: Callable[[KeptList], KeptList] = lambda kept: kept
) -> Fields:
    """Returns the rows of the corpus that a manifest copies, or the columns that it has.

    Args:
        selection: the selection.
        kept: its kept utterances.
        format: format of the manifest.
        listed: function that returns the list as the manifest has it.
    """
    source = selection.results.source
    try:
        rows = selection.match_rows(kept)
    except READ_ERRORS as error:
        why = str(error) if isinstance(error, SourceError) else reason(error)
        return Fields(None, kept, None, [_gone(source, why, kept)])
    if rows is None:
        return Fields(None, kept, None, [])
    if rows.manifests.format == format:
        return Fields(rows, kept, None, _changes(selection, rows))
    if rows.manifests.format in FLAT:
        with_all, pieces = selection.with_fields(rows)
        problem = refusal(listed(with_all), format)
        if problem is None:
            return Fields(None, with_all, pieces or None, _changes(selection, rows))
        return Fields(None, kept, None, [f"{problem}; so the manifest has {_carried(kept)}"])
    own = f"in the format of the corpus, {rows.manifests.format}, it has all fields"
    return Fields(None, kept, None, [f"the manifest has {_carried(kept)}; {own}"])


def _changes(selection: Selection, rows: SourceRows) -> list[str]:
    source = selection.results.source
    (count,) = rows.kept.rows(f"SELECT count(*) AS number FROM {rows.kept.table}")
    known = selection.results.manifests
    has_changed = bool(known) and known != manifest_versions(source)
    if rows.lacking and is_directory(source) and not has_changed and rows.manifests.format != "kaldi":
        # Recordings beside the tables of a folder.
        return [
            f"{rows.lacking:,} of the {count['number']:,} kept utterances are not in the tables of {source}; these are at the "
            f"end of the manifest with {_carried(rows.kept)}"
        ]
    if rows.lacking:
        lacking = (
            f"{rows.lacking:,} of the {count['number']:,} kept utterances are no longer in it with the same id, recording, "
            f"span and channel; these are at the end of the manifest with {_carried(rows.kept)}"
        )
        rest = "" if rows.lacking == count["number"] else "; the others have the fields that the corpus has now"
        return [f"{source} has changed since it was scored: {lacking}{rest}"]
    if has_changed:
        return [f"{source} has changed since it was scored; the manifest has the fields that it has now"]
    return []


def _gone(source: str, why: str, kept: KeptList) -> str:
    return f"{source} cannot be read any more ({why.removeprefix(source).lstrip(': ')}), so the manifest has {_carried(kept)}"


def _carried(kept: KeptList) -> str:
    names = ", ".join(kept.columns)
    return f"only the carried columns ({names})" if names else "no fields of the corpus, because none were carried"
