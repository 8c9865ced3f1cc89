"""Wraps the file of a recording for a decoder in C."""

from __future__ import annotations

import errno
import os
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


class FileAfter:
    """The part of a file after some bytes at its start.

    Args:
        file: a seekable file.
        start: number of bytes to leave out.
    """

    def __init__(self, file: BinaryIO, start: int) -> None:
        self._file, self._start = file, start
        self.read, self.readinto = file.read, file.readinto  # type: ignore[attr-defined]
        self.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Sets the position, as the file does."""
        return self._file.seek(offset + self._start if whence == os.SEEK_SET else offset, whence) - self._start

    def tell(self) -> int:
        """Returns the position in the part."""
        return self._file.tell() - self._start


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

    def is_at_end(self) -> bool:
        """Returns whether the decoder has read the last byte of the file."""
        position = self._file.tell()
        is_end = position >= self._file.seek(0, os.SEEK_END)
        self._file.seek(position)
        return is_end

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
