"""Makes decoders crash or hang at recordings whose comment asks for it, in every process with this folder on its path."""

from __future__ import annotations

import ctypes
import os
import time

import numpy as np

from transforms.decoders.libsndfile_sound import LibsndfileSound

PREFIX = "on "


def misbehave(kind: str, length: int, channels: int) -> np.ndarray | None:
    if kind == "segfault":
        ctypes.string_at(0)
    elif kind == "abort":
        os.abort()
    elif kind == "exit":
        os._exit(0)
    elif kind == "hang":
        time.sleep(3_600)
    elif kind == "native hang":  # a PyDLL keeps the lock of the interpreter
        ctypes.PyDLL(None).sleep(3_600)
    elif kind == "endless":
        return np.random.default_rng(0).normal(0, 0.1, (length, channels)).astype(np.float32)
    return None


def open_or_misbehave(self: LibsndfileSound, *arguments: object) -> None:
    opened(self, *arguments)
    self.when, _, self.kind = self._file.comment.removeprefix(PREFIX).partition(": ")
    if self.when == "open":
        misbehave(self.kind, 0, 1)


def read_or_misbehave(self: LibsndfileSound, length: int, dtype: str = "float32") -> np.ndarray:
    samples = misbehave(self.kind, length, self.channels) if self.when == "read" else None
    return read(self, length, dtype) if samples is None else samples


opened, read = LibsndfileSound.__init__, LibsndfileSound.read_block
LibsndfileSound.__init__, LibsndfileSound.read_block = open_or_misbehave, read_or_misbehave
