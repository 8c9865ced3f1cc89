"""Who may use a service: whoever has one of its keys, or everybody if it has none."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Sequence

VARIABLE = "AUDIOSIEVE_API_KEYS"
# What is shorter can be guessed.
SHORTEST = 16


def keys_of_environment() -> tuple[str, ...]:
    """The keys in AUDIOSIEVE_API_KEYS, with commas or spaces between them.

    Raises:
        ValueError: one is too short, or cannot stand in a header.
    """
    keys = tuple(re.split(r"[,\s]+", os.environ.get(VARIABLE, "").strip(", \t\n")))
    if keys == ("",):
        return ()
    for place, key in enumerate(keys):
        if len(key) < SHORTEST or not (key.isascii() and key.isprintable()):
            raise ValueError(f"{VARIABLE}: key {place + 1} must have {SHORTEST} ASCII letters or digits at least")
    return keys


def is_one(key: str, keys: Sequence[str]) -> bool:
    """Whether a key is one of them, found out in a time that does not tell how much of it is right."""
    asked = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    right = [hmac.compare_digest(asked, hashlib.sha256(known.encode()).digest()) for known in keys]
    return any(right)
