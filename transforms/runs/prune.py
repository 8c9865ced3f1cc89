"""Removes the rows of recordings that the corpus no longer contains.

Rows must never be removed because a listing failed, or showed only a part of the corpus. So `check_complete` refuses whenever
the listing may be incomplete, and whenever no row would be left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from transforms.corpus.layout import MANIFEST
from transforms.elements import AudioRef, archives_of, printable
from transforms.errors import OutputError, Reason
from transforms.output.ledger import Job, Ledger, count_rows
from transforms.output.reconcile import LostRowsError
from transforms.output.rewrite import rewrite_without
from transforms.runs.incremental import GoneRow, Outstanding
from transforms.storage.files import glob_root, has_wildcards, is_directory, is_local, unreadable_folders, would_match
from transforms.storage.fsspec_storage.filesystem import OBJECT_STORES, scheme_of
from transforms.storage.source_versions import NO_VERSION

# Schemes of fsspec whose listings fail if a part of them fails. Others leave out what they cannot list.
_COMPLETE = (*OBJECT_STORES, "hf")
_ADVICE = "nothing is removed"


def check_complete(source: str, refs: Sequence[AudioRef], outstanding: Outstanding, output: str) -> None:
    """Checks that the rows of recordings that are not in a listing may be removed.

    Args:
        source: the corpus, with an absolute path.
        refs: the listed corpus.
        outstanding: comparison of the listing with the output.
        output: name of the output, for the messages.

    Raises:
        OutputError: the listing may be incomplete, or all rows would be removed.
    """
    gone = outstanding.gone
    if not gone:
        return
    if not outstanding.known:
        raise OutputError(
            f"--prune: none of the recordings in {output} is in {source}, so all their rows would be removed; if this is the "
            "right corpus, use --overwrite instead"
        )
    _check_rows(refs)
    _check_folders(source, refs, gone)
    if is_local(source) and has_wildcards(source) and not os.path.lexists(source):
        _check_pattern(source, gone)


def _check_rows(refs: Sequence[AudioRef]) -> None:
    """Refuses a manifest with faulty rows: it is not known which utterances they stand for."""
    faulty = [ref.fault for ref in refs if ref.fault is not None and ref.fault.reason != Reason.DUPLICATE_ID]
    if faulty:
        raise OutputError(
            f"--prune needs a corpus without faulty rows, and {len(faulty)} cannot be read, as {faulty[0].detail}; "
            f"correct them; {_ADVICE}"
        )


def _check_folders(source: str, refs: Sequence[AudioRef], gone: Sequence[GoneRow]) -> None:
    """Refuses a listing in which a folder may be missing."""
    scheme = scheme_of(source)
    if scheme is not None and scheme not in _COMPLETE and (has_wildcards(source) or not MANIFEST.search(source)):
        raise OutputError(
            f"--prune: a listing of {scheme}:// may be incomplete; name the recordings in a manifest; {_ADVICE}"
        )
    if is_local(source) and (has_wildcards(source) or is_directory(source)):
        root = source if is_directory(source) else glob_root(source)
        if errors := unreadable_folders(root):
            raise OutputError(f"--prune: {errors[0].filename} cannot be listed ({errors[0].strerror}); {_ADVICE}")
    # Such as a link to a folder on a disk that is not mounted.
    unreadable = {printable(ref.uri) for ref in refs if ref.source_version == NO_VERSION}
    for row in gone if unreadable else ():
        folder = next((str(path) for path in PurePosixPath(row.uri).parents if str(path) in unreadable), None)
        if folder is not None:
            raise OutputError(f"--prune: {folder} cannot be read, and {row.uri} was in it; {_ADVICE}")


def _check_pattern(pattern: str, gone: Sequence[GoneRow]) -> None:
    """Refuses a listing by a pattern if it lacks a recording that is there."""
    for row in gone:
        for path in (row.uri, *archives_of(row.uri)):
            if would_match(pattern, path) and os.path.lexists(path):
                raise OutputError(f"--prune: {path} is there, but was not listed; {_ADVICE}")


def prune(
    ledger: Ledger, run_id: str, outstanding: Outstanding, source: str, check: Callable[[], None] = lambda: None
) -> int:
    """Removes the rows of recordings that are gone. The record that it commits switches to the new files in one step.

    Args:
        ledger: ledger of the output.
        run_id: id of the new files and their record.
        outstanding: comparison of a complete listing (`check_complete`) with the output.
        source: the corpus, for the record.
        check: function that is called just before the record is written, and raises an error if it must not be.

    Returns:
        Number of rows of utterances and rejects that were removed.

    Raises:
        LostRowsError: the new files lack other rows, too; nothing was changed.
    """
    ids = {row.utterance_id for row in outstanding.gone} | set(outstanding.corrected)
    if not ids:
        return 0
    started_s, expected = time.time(), len(outstanding.gone) + len(outstanding.corrected)
    copies, replaced = rewrite_without(ledger, run_id, ids)
    removed = sum(
        count_rows(ledger, table, replaced) - count_rows(ledger, table, copies) for table in ("utterances", "rejects")
    )
    if removed != expected:
        raise LostRowsError(f"{removed} rows would be removed instead of {expected}; nothing was changed. Report this")
    record = {
        "job": Job.PRUNE,
        "options": {"input": source},
        "counts": {"removed": removed},
        "timings": {"total_s": round(time.time() - started_s, 3)},
    }
    ledger.commit(run_id, record, copies, replaced, check)
    return removed
