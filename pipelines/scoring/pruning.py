"""`audiosieve score --prune`: removes the rows of recordings that are gone, before anything is scored, or counts them."""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set

from pipelines.common.output_lock import OutputLock
from pipelines.common.wording import counted
from pipelines.scoring.options import ScoreOptions
from transforms.elements import AudioRef
from transforms.output.ledger import Ledger
from transforms.runs.commit import check_unchanged
from transforms.runs.incremental import Outstanding, outstanding
from transforms.runs.prune import check_complete, prune
from transforms.storage.files import absolute


def print_gone(ledger: Ledger, options: ScoreOptions, refs: Sequence[AudioRef]) -> None:
    """Prints how many rows `remove_gone` would remove, and writes nothing.

    Args:
        ledger: ledger of the output.
        options: options of the command.
        refs: the listed corpus.

    Raises:
        OutputError: the rows could not be removed, because the listing may be incomplete.
    """
    found = outstanding(refs, ledger)
    check_complete(absolute(options.input), refs, found, options.output)
    rows = [row.utterance_id for row in found.gone] + found.corrected
    print(
        f"would remove {counted(len(rows), 'row')} of recordings that are no longer in {options.input}"
        f"{f', as {min(rows)}' if rows else ''}"
    )


def remove_gone(
    ledger: Ledger,
    options: ScoreOptions,
    refs: Sequence[AudioRef],
    unscored: Outstanding,
    known: Set[str],
    lock: OutputLock,
) -> set[str]:
    """Removes the rows of recordings that the corpus no longer contains, and prints their number.

    Args:
        ledger: ledger of the output.
        options: options of the command.
        refs: the listed corpus.
        unscored: comparison of the corpus with the output.
        known: ids of the runs that the comparison included.
        lock: lock on the output.

    Returns:
        Id of the record that replaces the files, if there was anything to remove.

    Raises:
        OutputError: the listing may be incomplete, or another process has changed the output.
    """
    source, run_id = absolute(options.input), ledger.new_run_id()
    check_complete(source, refs, unscored, options.output)

    def check() -> None:
        check_unchanged(ledger, run_id, known)
        lock.check()

    removed = prune(ledger, run_id, unscored, source, check)
    print(f"removed {counted(removed, 'row')} of recordings that are no longer in {options.input}", file=sys.stderr)
    return {run_id} if removed else set()
