"""Wraps the file of a recording for a decoder in C."""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, BinaryIO

from transforms.errors import AudioFault


class PatchedFile:
    """A file with four bytes replaced.

    Args:
        file: a seekable file.
        at: position of the bytes.
        data: four bytes.
    """

    def __init__(self, file: BinaryIO, at: int, data: bytes) -> None:
        self._file, self._at, self._data = file, at, data
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Reads bytes, as the file does."""
        start = self._file.tell()
        content = bytearray(self._file.read(size))
        for at, value in enumerate(self._data, self._at - start):
            if 0 <= at < len(content):
                content[at] = value
        return bytes(content)

    def readinto(self, buffer: Any) -> int:
        """Reads bytes into a buffer, as the file does."""
        content = self.read(len(buffer))
        memoryview(buffer).cast("B")[: len(content)] = content
        return len(content)


class SourceFile:
    """Keeps the first error of a read until `raise_error`.

    Decoders call the methods of the file from C. An exception there would be printed and dropped, and the file would seem to
    end.

    Args:
        file: a seekable file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: Exception | None = None

    def nameless_file(self) -> SimpleNamespace:
        """Returns the file without its name, because a decoder would guess the format from it: `x.raw` has no header."""
        names = ("readinto", "read", "seek", "tell")
        return SimpleNamespace(**{name: self._keep_error(getattr(self._file, name)) for name in names})

    def raise_error(self) -> None:
        """Raises the first error that reading the file raised, if any."""
        if self._error is not None:
            raise self._error

    def _keep_error(self, method: Callable[..., Any]) -> Callable[..., Any]:
        nothing: Any = b"" if method.__name__ == "read" else 0

        def call(*arguments: Any) -> Any:
            try:
                return method(*arguments)
            except Exception as error:  # noqa: BLE001 -- Python would print any exception, and the decoder would go on
                # A damaged header can make a decoder seek outside the file, which raises one of these.
                is_invalid = isinstance(error, ValueError | OverflowError) or getattr(error, "errno", 0) == errno.EINVAL
                if isinstance(error, AudioFault) or not (is_invalid and method.__name__ == "seek"):
                    self._error = self._error or error
                return nothing

        return call
