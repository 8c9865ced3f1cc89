"""Size of the terminal that stdout is, for output that must fit."""

from __future__ import annotations

import shutil
import sys


def columns() -> int | None:
    """Returns the width of the terminal in characters; None if stdout is no terminal, which gets lines of any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def lines() -> int | None:
    """Returns the height of the terminal in lines; None if stdout is no terminal."""
    return shutil.get_terminal_size().lines if sys.stdout.isatty() else None
