"""Whether this process was started for one command, or is a Python program that calls commands, such as a test.

A command in its own process starts further processes, which are safer. In a Python program, one process may score several
corpora, and loads TensorFlow once.
"""

from __future__ import annotations

_declared = False


def declare() -> None:
    """States that this process was started for one command."""
    global _declared
    _declared = True


def is_own() -> bool:
    """Whether this process was started for one command."""
    return _declared
