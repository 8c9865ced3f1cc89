"""Files of fsspec's filesystems: readers that fetch ranges, and writers that leave nothing behind after an error."""

from __future__ import annotations

import io
import tempfile
from typing import Any, BinaryIO, cast

from transforms.storage.fsspec_storage.errors import os_errors

# Content of servers that cannot send ranges stays in memory up to this size.
_SPOOL_BYTES = 32 << 20


class Reader:
    """File in which every read is a request. Servers that send no ranges, or no size, are asked once for the whole content.

    Args:
        filesystem: filesystem of fsspec.
        path: path of the file in it.
        uri: URI of the file, for messages.
        size: size of the file in bytes; None if it is unknown.

    Attributes:
        size: size of the file in bytes.
    """

    def __init__(self, filesystem: Any, path: str, uri: str, size: int | None) -> None:
        self._filesystem, self._path, self._uri = filesystem, path, uri
        self._position = 0
        self._whole: BinaryIO | None = None
        self.size = self._keep(self._filesystem.cat_file(path)) if size is None else size

    def _keep(self, content: bytes) -> int:
        self._whole = cast(BinaryIO, tempfile.SpooledTemporaryFile(_SPOOL_BYTES))  # noqa: SIM115 -- closed with the reader
        return self._whole.write(content)

    def seek(self, position: int) -> None:
        """Sets the position of the next read."""
        self._position = position

    def read(self, size: int) -> bytes:
        """Reads some bytes.

        Raises:
            OSError: the file cannot be read, or has changed.
        """
        start = self._position
        end = self._position = min(start + size, self.size)
        if self._whole is None:
            with os_errors(self._uri):
                content = bytes(self._filesystem.cat_file(self._path, start=start, end=end))
            if len(content) == end - start:
                return content
            if len(content) != self.size:
                raise OSError(
                    f"{self._uri}: {len(content)} bytes arrived instead of {end - start}; it may have changed"
                )
            self._keep(content)
        assert self._whole is not None
        self._whole.seek(start)
        return self._whole.read(end - start)

    def close(self) -> None:
        """Frees the content."""
        if self._whole is not None:
            self._whole.close()


class Writer(io.RawIOBase):
    """File that is being written. It is complete when it is closed, and cancelled if a `with` block fails.

    Args:
        filesystem: filesystem of fsspec.
        path: path of the file in it.
        uri: URI of the file, for messages.

    Attributes:
        mode: mode in which it is open, which Beam's `CompressedFile` needs to know.
    """

    mode = "wb"

    def __init__(self, filesystem: Any, path: str, uri: str) -> None:
        super().__init__()
        self._uri = uri
        self._file: Any = None
        self._file = filesystem.open(path, "wb")

    def write(self, content: Any) -> int:
        """Writes bytes."""
        with os_errors(self._uri):
            return int(self._file.write(bytes(content)))

    def tell(self) -> int:
        """Returns the number of bytes written."""
        return int(self._file.tell())

    def writable(self) -> bool:
        """Returns True."""
        return True

    def close(self) -> None:
        """Completes the file.

        Raises:
            OSError: the upload fails; the file does not appear.
        """
        if self.closed:
            return
        try:
            with os_errors(self._uri):
                self._file.close()
        except BaseException:
            self._discard()
            raise
        finally:
            super().close()

    def terminate(self) -> None:
        """Cancels the file."""
        if not self.closed:
            self._discard()
            super().close()

    def _discard(self) -> None:
        try:  # noqa: SIM105 -- while the interpreter ends, contextlib may be gone
            self._file.discard()
        except Exception:  # noqa: BLE001 -- an upload that cannot be cancelled expires in the storage
            pass
        try:
            # Otherwise fsspec completes the upload when the file is garbage-collected.
            self._file.closed = True
        except AttributeError:
            # The file is not uploaded but written in place; its writer deletes it (`atomic_file`).
            self._file.close()

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self.close()
        else:
            self.terminate()

    def __del__(self) -> None:
        if self._file is not None:
            self.terminate()
