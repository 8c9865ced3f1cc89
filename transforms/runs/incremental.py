"""What earlier runs into the same output did, and what is left to do."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence

from transforms.elements import AudioRef, archives_of, printable, without_channel
from transforms.errors import OutputError, Reason
from transforms.output.ledger import Ledger

_NEW, _DONE, _STALE = range(3)


@dataclasses.dataclass(frozen=True)
class Outstanding:
    """What is left of a corpus.

    Attributes:
        refs: the new and the changed utterances, in the corpus's order.
        stale: ids of the committed rows that are out of date, by the id of the ref that is done again.
        gone: rows of earlier runs whose utterances are not in the corpus any more.
    """

    refs: list[AudioRef]
    stale: dict[str, list[str]]
    gone: int


def outstanding(refs: Sequence[AudioRef], ledger: Ledger) -> Outstanding:
    """Compares a corpus with what is committed.

    A recording is done that has scores or a lasting reject of its present version. What could not be read may be readable
    the next time: such a reject does not count. Of an archive all is done, or nothing. Nothing is kept of a row but what
    became of its ref, so that a million of them take little memory.

    Raises:
        OutputError: an id stood for a recording elsewhere: the output holds another corpus.
    """
    states = bytearray(len(refs))
    places = {ref.utterance_id: place for place, ref in enumerate(refs)}
    archives = {printable(ref.uri): place for place, ref in enumerate(refs) if ref.archive}

    def place_of(utterance_id: str, uri: str) -> int | None:
        place = places.get(utterance_id)
        if place is None:
            place = places.get(without_channel(utterance_id))
        if place is None and archives:
            place = next((archives[archive] for archive in archives_of(uri) if archive in archives), None)
        return place

    gone = 0
    for utterance_id, uri, version in _committed(ledger):
        place = place_of(utterance_id, uri)
        if place is None:
            gone += 1
            continue
        ref = refs[place]
        here = printable(ref.uri)
        if uri != here and not (ref.archive and uri.startswith(f"{here}#")):
            raise OutputError(another_corpus(utterance_id, here, uri))
        if version != ref.source_version:
            states[place] = _STALE
        elif states[place] == _NEW:
            states[place] = _DONE
    stale: dict[str, list[str]] = defaultdict(list)
    if _STALE in states:
        for utterance_id, uri, _ in _committed(ledger):
            place = place_of(utterance_id, uri)
            if place is not None and states[place] == _STALE:
                stale[refs[place].utterance_id].append(utterance_id)
    todo = [ref for ref, state in zip(refs, states, strict=True) if state != _DONE]
    return Outstanding(todo, dict(stale), gone)


def another_corpus(utterance_id: str, here: str, before: str) -> str:
    """What to say where an id stands for another recording than in an earlier run."""
    return (
        f"{utterance_id} is {here} here, and was {before} in an earlier run into the same output; two corpora do not "
        "mix, choose another --output"
    )


def _committed(ledger: Ledger) -> Iterator[tuple[str, str, str]]:
    """Id, uri and version of each committed row; of a reject that may not last, a version that no recording has."""
    columns = ["utterance_id", "uri", "source_version"]
    for batch in ledger.rows("utterances", columns):
        yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)
    for batch in ledger.rows("rejects", [*columns, "reason"]):
        for row in batch.to_pylist():
            yield row["utterance_id"], row["uri"], version_that_lasts(row["source_version"], row["reason"])


def version_that_lasts(source_version: str, reason: str | None) -> str:
    """The version of a committed row; of a reject that may not last, one that no recording has."""
    return "" if reason == Reason.UNREADABLE else source_version
