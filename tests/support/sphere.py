"""Writes NIST SPHERE files, also compressed with shorten, which FFmpeg can only read."""

from __future__ import annotations

import numpy as np

_BLOCK = 256
_DIFF1, _QUIT, _BLOCK_SIZE = 1, 4, 5
_S16_LOW_HIGH = 5


class _Bits:
    """Bits in the codes of shorten, the highest first."""

    def __init__(self) -> None:
        self.bits: list[int] = []

    def plain(self, value: int, bits: int) -> None:
        self.bits += [(value >> bit) & 1 for bit in reversed(range(bits))]

    def rice(self, value: int, bits: int) -> None:
        self.bits += [0] * (value >> bits) + [1]
        self.plain(value & ((1 << bits) - 1), bits)

    def signed(self, value: int, bits: int) -> None:
        self.rice(value << 1 if value >= 0 else (~value << 1) | 1, bits)

    def number(self, value: int) -> None:
        self.rice(value.bit_length(), 2)
        self.rice(value, value.bit_length())

    def to_bytes(self) -> bytes:
        return np.packbits(np.array(self.bits + [0] * (-len(self.bits) % 32), np.uint8)).tobytes()


def shorten(samples: np.ndarray) -> bytes:
    """Compresses int16 samples [n] of one channel with shorten 2, as differences."""
    bits = _Bits()
    for value in (_S16_LOW_HIGH, 1, _BLOCK, 0, 0, 0):
        bits.number(value)
    for start in range(0, len(samples), _BLOCK):
        block = samples[max(start - 1, 0) : start + _BLOCK].astype(int)
        differences = np.diff(block, prepend=[0] if start == 0 else [])
        if len(differences) != _BLOCK:
            bits.rice(_BLOCK_SIZE, 2)
            bits.number(len(differences))
        energy = int(np.abs(differences).mean()).bit_length()
        bits.rice(_DIFF1, 2)
        bits.rice(energy, 3)
        for difference in differences:
            bits.signed(int(difference), energy + 1)
    bits.rice(_QUIT, 2)
    return b"ajkg\x02" + bits.to_bytes()


def sphere(samples: np.ndarray, rate: int, is_compressed: bool = False) -> bytes:
    """Returns a NIST SPHERE file of int16 samples [n] of one channel."""
    coding = "-s26 pcm,embedded-shorten-v2.00" if is_compressed else "-s3 pcm"
    header = (
        f"NIST_1A\n   1024\nsample_count -i {len(samples)}\nsample_rate -i {rate}\nchannel_count -i 1\n"
        f"sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_sig_bits -i 16\nsample_coding {coding}\nend_head\n"
    )
    data = shorten(samples) if is_compressed else samples.astype("<i2").tobytes()
    return header.encode().ljust(1024) + data
