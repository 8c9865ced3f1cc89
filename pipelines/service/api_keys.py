"""API keys of a service. A service without keys accepts all requests."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Sequence

VARIABLE = "AUDIOSIEVE_API_KEYS"
# A shorter key could be guessed.
MIN_LENGTH = 16


def keys_of_environment() -> tuple[str, ...]:
    """Returns the keys in AUDIOSIEVE_API_KEYS, separated by commas or spaces.

    Raises:
        ValueError: a key is too short, or has characters that are not printable ASCII.
    """
    keys = tuple(re.split(r"[,\s]+", os.environ.get(VARIABLE, "").strip(", \t\n")))
    if keys == ("",):
        return ()
    for index, key in enumerate(keys):
        if len(key) < MIN_LENGTH or not (key.isascii() and key.isprintable()):
            raise ValueError(f"{VARIABLE}: key {index + 1} must have at least {MIN_LENGTH} printable ASCII characters")
    return keys


def is_valid(key: str, keys: Sequence[str]) -> bool:
    """Whether a key is one of the keys of the service, compared in constant time."""
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
    # All keys are compared before `any`, so that the time does not depend on which one matches.
    matches = [hmac.compare_digest(digest, hashlib.sha256(known.encode()).digest()) for known in keys]
    return any(matches)
