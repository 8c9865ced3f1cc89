"""Compares a corpus with the earlier runs into the same output, to find what remains to be scored."""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transforms.elements import AudioRef, archives_of, printable, without_channel
from transforms.errors import OutputError, Reason, Stage
from transforms.output.ledger import Ledger
from transforms.storage.source_versions import is_same_version

# Reasons of rejects that do not last, and their version, which no recording has.
_PASSING = {Reason.UNREADABLE, Reason.TIMED_OUT}
_NOT_LASTING = ""


class _State(enum.IntEnum):
    NEW = 0
    DONE = 1
    STALE = 2


class GoneRow(NamedTuple):
    """A committed row whose utterance the corpus no longer contains.

    Attributes:
        utterance_id: id of the utterance.
        uri: path or URI of its recording.
    """

    utterance_id: str
    uri: str


@dataclasses.dataclass(frozen=True)
class Outstanding:
    """Part of a corpus that remains to be scored.

    Attributes:
        refs: new and changed utterances, in the corpus's order.
        stale: ids of committed rows that are out of date, by the id of the ref that is scored again.
        gone: committed rows whose utterances the corpus no longer contains.
        corrected: ids of the rejects of faulty rows that the corpus no longer has.
        known: number of committed rows whose utterances the corpus contains.
    """

    refs: list[AudioRef]
    stale: dict[str, list[str]]
    gone: list[GoneRow] = dataclasses.field(default_factory=list)
    corrected: list[str] = dataclasses.field(default_factory=list)
    known: int = 0


def outstanding(refs: Sequence[AudioRef], ledger: Ledger) -> Outstanding:
    """Compares a corpus with the committed rows.

    A recording is done if its current version has scores or a lasting reject. The reject of a recording that was unreadable, or
    not decoded in time, does not last, because the next run may succeed. An archive is done as a whole, or not at all. Rejects
    of faulty rows that the corpus no longer has are out of date, too: they are replaced with the first ref that is scored
    again. The comparison keeps one byte per ref, and only the rows of deleted recordings, so that a million rows take little
    memory.

    Args:
        refs: the corpus.
        ledger: ledger of the output.

    Raises:
        OutputError: an id belonged to another recording, so the output is of another corpus.
    """
    states = bytearray(len(refs))
    indices = {ref.utterance_id: index for index, ref in enumerate(refs)}
    archives = {printable(ref.uri): index for index, ref in enumerate(refs) if ref.archive}

    def index_of(utterance_id: str, uri: str) -> int | None:
        index = indices.get(utterance_id)
        if index is None:
            index = indices.get(without_channel(utterance_id))
        if index is None and archives:
            index = next((archives[archive] for archive in archives_of(uri) if archive in archives), None)
        return index

    gone: list[GoneRow] = []
    corrected: list[str] = []
    known = 0
    for utterance_id, uri, version, is_row_fault in _committed(ledger):
        index = index_of(utterance_id, uri)
        if index is None:
            if is_row_fault:
                corrected.append(utterance_id)
            else:
                gone.append(GoneRow(utterance_id, uri))
            continue
        known += 1
        ref = refs[index]
        ref_uri = printable(ref.uri)
        is_same_file = uri == ref_uri or (ref.archive and uri.startswith(f"{ref_uri}#"))
        # A faulty row may name no recording or a wrong one, and a path that cannot be read may be corrected.
        if not (is_same_file or is_row_fault or ref.fault or version == _NOT_LASTING):
            raise OutputError(other_corpus(utterance_id, ref_uri, uri))
        if not is_same_version(version, ref.source_version):
            states[index] = _State.STALE
        elif states[index] == _State.NEW:
            states[index] = _State.DONE
    stale: dict[str, list[str]] = defaultdict(list)
    if _State.STALE in states:
        for utterance_id, uri, *_ in _committed(ledger):
            index = index_of(utterance_id, uri)
            if index is not None and states[index] == _State.STALE:
                stale[refs[index].utterance_id].append(utterance_id)
    remaining = [ref for ref, state in zip(refs, states, strict=True) if state != _State.DONE]
    if remaining and corrected:
        stale[remaining[0].utterance_id] += corrected
    return Outstanding(remaining, dict(stale), gone, corrected, known)


def other_corpus(utterance_id: str, uri: str, earlier_uri: str) -> str:
    """Returns the message for an id that belonged to another recording in an earlier run."""
    return (
        f"{utterance_id} is {uri}, but was {earlier_uri} in an earlier run into the same output; two corpora do not mix, "
        "choose another --output"
    )


def _committed(ledger: Ledger) -> Iterator[tuple[str, str, str, bool]]:
    """Yields the id, uri and `lasting_version` of each committed row, and whether it is the reject of a faulty row."""
    columns = ["utterance_id", "uri", "source_version"]
    for batch in ledger.rows("utterances", columns):
        yield from zip(*(batch[name].to_pylist() for name in columns), itertools.repeat(False), strict=False)
    for batch in ledger.rows("rejects", [*columns, "stage", "reason"]):
        for row in batch.to_pylist():
            version = lasting_version(row["source_version"], row["reason"])
            yield row["utterance_id"], row["uri"], version, row.get("stage") == Stage.LIST


def lasting_version(source_version: str, reason: str | None) -> str:
    """Returns the version of a committed row; for a reject that does not last, a version that no recording has."""
    return _NOT_LASTING if reason in _PASSING else source_version
