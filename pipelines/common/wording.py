"""Wording of the messages of commands."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun, such as "1 wave" or "1,484 utterances".

    Args:
        count: the number.
        noun: the noun in singular.
        plural: its plural; by default the noun with an "s".
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
