"""What earlier runs into the same output did, and what is left to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from transforms.ledger import Ledger, OutputError
from transforms.records import AudioRef, Reason, printable


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """A recording that an earlier run committed: where it was, and its version then."""

    uri: str
    source_version: str


def done_recordings(ledger: Ledger) -> dict[str, Done]:
    """What has a score or a lasting reject, by utterance id.

    What could not be read may be readable the next time: such rejects do not count as done, but must be replaced, so
    their version is one that no recording has.
    """
    done: dict[str, Done] = {}
    columns = ["utterance_id", "uri", "source_version"]
    for batch in ledger.rows("utterances", columns):
        for utterance_id, uri, source_version in zip(*(batch[name].to_pylist() for name in columns), strict=True):
            done[utterance_id] = Done(uri, source_version)
    for batch in ledger.rows("rejects", [*columns, "reason"]):
        for row in batch.to_pylist():
            lasting = row["reason"] != Reason.UNREADABLE
            done[row["utterance_id"]] = Done(row["uri"], row["source_version"] if lasting else "")
    return done


def outstanding(refs: Sequence[AudioRef], done: dict[str, Done]) -> tuple[list[AudioRef], set[str]]:
    """What is left to score, and which of these have rows from before that are out of date.

    Args:
        refs: the corpus.
        done: as `done_recordings` gives it.

    Returns:
        The new and the changed refs; the ids of the changed ones.

    Raises:
        OutputError: an id stood for a recording elsewhere: the output holds another corpus.
    """
    todo, stale = [], set()
    for ref in refs:
        before = done.get(ref.utterance_id)
        if before and before.uri != printable(ref.uri):
            raise OutputError(
                f"{ref.utterance_id} is {printable(ref.uri)} here, and was {before.uri} in an earlier run into the same "
                "output; two corpora do not mix, choose another --output"
            )
        if before and before.source_version == ref.source_version:
            continue
        todo.append(ref)
        if before:
            stale.add(ref.utterance_id)
    return todo, stale
