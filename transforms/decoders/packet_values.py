"""Values of FFmpeg's packets and tags: delay, padding and length."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

# A container that states a time rounds it; the last frame of a codec may be incomplete.
SLACK_S = 0.25


def skipped_at_start(packet: Any) -> int:
    """Returns how many samples of the encoder's delay FFmpeg leaves out at the start of a packet."""
    for data in packet.iter_sidedata():
        if data.data_type == "skip_samples":
            return int(struct.unpack_from("<I", bytes(data))[0])
    return 0


def duration_of(packet: Any) -> Fraction | None:
    """Returns the stated length of a packet in seconds."""
    return packet.duration * packet.time_base if packet.duration and packet.time_base else None


def without_padding(gapless: str, stated: int, rate: int) -> int:
    """Returns the exact length of a recording from Apple's gapless tag if it agrees with the stated length."""
    words = gapless.split()
    try:
        exact = int(words[3], 16)
    except (IndexError, ValueError):
        return stated
    return exact if abs(exact - stated) < SLACK_S * rate else stated
