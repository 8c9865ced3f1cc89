"""Wording of the messages of commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from transforms.elements import AudioRef


def counted(count: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun, such as "1 wave" or "1,484 utterances".

    Args:
        count: the number.
        noun: the noun in singular.
        plural: its plural; by default the noun with an "s".
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def counted_inputs(refs: Sequence[AudioRef]) -> str:
    """Returns the number of utterances, or of inputs if some are archives: their utterances are counted when they are read.

    Args:
        refs: utterances and archives of a corpus.
    """
    return counted(len(refs), "input" if any(ref.archive for ref in refs) else "utterance")


def most_first(counts: Counter[str]) -> list[tuple[str, int]]:
    """Returns names with their counts, the highest first, and equal ones by name, so that a second run prints the same."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
