"""Hash of the decoded samples of an utterance, which is the same for all lossless copies of the same samples."""

from __future__ import annotations

import numpy as np
import xxhash


class ContentHash:
    r"""Hashes the scored channels of an utterance block by block, at the recording's own rate.

    The hash is XXH3 with 128 bits over a header and the samples. The header is the ASCII text `RATE CHANNELS\n`, in Hz and
    scored channels. The samples are float32, little-endian, full scale 1.0, interleaved by channel, with +0.0 for -0.0. So
    the hash does not depend on the container, on a lossless coding, on the name of the file or on how it was read. It is not
    made to withstand an attacker.

    Args:
        sample_rate: sampling rate of the recording in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._hash: xxhash.xxh3_128 | None = None

    def add(self, block: np.ndarray) -> None:
        """Adds the next samples: float32 [n, channels]."""
        if self._hash is None:
            self._hash = xxhash.xxh3_128(f"{self._rate} {block.shape[1]}\n".encode())
        # Adding zero turns -0.0 into +0.0. The copy is contiguous, as the hash needs it.
        self._hash.update(np.add(block, np.float32(0), order="C").astype("<f4", copy=False))

    def hexdigest(self) -> str | None:
        """Returns the hash as 32 hex digits; None without samples."""
        return None if self._hash is None else self._hash.hexdigest()
