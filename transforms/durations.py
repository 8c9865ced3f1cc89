"""Formats lengths of time for people."""

from __future__ import annotations


def duration_text(seconds: float) -> str:
    """Returns a length of time in the unit that suits: "12.3 s", "41.7 min" or "1,234.5 h".

    The unit is chosen after rounding, so that 59.96 s is "1.0 min", not "60.0 s".

    Args:
        seconds: length of time, at least 0.
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if round(minutes, 1) < 60 else f"{minutes / 60:,.1f} h"
