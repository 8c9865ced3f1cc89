"""Cloud Storage as Beam reaches it, made fit for a command line.

Beam makes a client, and so a connection, for every file that it opens, looks for credentials for half a minute where there
are none and even where `STORAGE_EMULATOR_HOST` names an emulator that takes none, and raises Google's errors, which are no
OSErrors. What stands here takes the place of its `GcsIO`, in every process that imports `transforms`, and as one of Beam's
plugins in every worker. What fails for a moment (429, 5xx, a lost connection) is tried again for two minutes by the client
library itself.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.utils.plugin import BeamPlugin

try:
    import google.auth
    from apache_beam.internal.gcp import auth
    from apache_beam.io.gcp import gcsio
    from google.api_core.exceptions import GoogleAPICallError, RetryError, from_http_response
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.cloud.storage.exceptions import InvalidResponse  # type: ignore[import-untyped]
    from requests.exceptions import RequestException
except ImportError:  # the extra `gcp` is not installed
    gcsio = None

IS_INSTALLED = gcsio is not None
EMULATOR = "STORAGE_EMULATOR_HOST"
SCHEME = "gs"
_LOGIN = (
    "no credentials were found: log in with `gcloud auth application-default login`, or name a key's file in "
    "GOOGLE_APPLICATION_CREDENTIALS"
)


class StorageError(RuntimeError):
    """The storage did not answer for so long that trying again was given up. It says nothing of what is stored."""


class CloudStoragePlugin(BeamPlugin):
    """Has runners import this module in their workers."""


def reason(error: BaseException) -> str:
    """What went wrong, for people: of what Beam wraps, once or twice, the inmost of the first."""
    while isinstance(error, BeamIOError) and error.exception_details:
        inner = next(iter(error.exception_details.values()))
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, ValueError) and str(error).startswith("Unable to get filesystem"):
        place = str(error).rpartition(": ")[2]
        scheme = FileSystems.get_scheme(place)
        extra = (
            'the extra gcp is not installed: pip install "audiosieve[gcp]"' if scheme == SCHEME and not gcsio else ""
        )
        return extra or f"no filesystem is known for {scheme}://"
    return str(error)


def unanswered(error: BaseException) -> str | None:
    """What a `StorageError` says, also of one that a runner put into words; None for any other error."""
    text = f"StorageError: {error}" if isinstance(error, StorageError) else str(error)
    found = re.search(r"StorageError: ([^\n]*?)(?: \[while running|\n|$)", text)
    return found[1] if found else None


def open_in_parts(uri: str) -> BinaryIO:
    """Opens a file of which only parts will be read: of an object in a bucket no more is fetched than is asked for."""
    if FileSystems.get_scheme(uri) != SCHEME or gcsio is None:
        return FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
    return gcsio.GcsIO(pipeline_options=FileSystems._pipeline_options).open(uri, read_buffer_size=1)


def _to_os_error(place: str, error: Exception, client: Any = None, needs_bucket: bool = False) -> Exception:
    """The OSError, or `StorageError`, that an error of Google's libraries amounts to.

    Args:
        place: path of what was asked for.
        error: of the library.
        client: that asked.
        needs_bucket: whether what may be missing is the bucket alone.
    """
    anonymous = client is not None and isinstance(client._credentials, AnonymousCredentials)
    login = _LOGIN if anonymous and not os.environ.get(EMULATOR) else None
    if isinstance(error, (RetryError, RequestException, TransportError)):
        cause = getattr(error, "cause", None) or error
        return StorageError(f"{place}: the storage does not answer ({_said(cause)})")
    if isinstance(error, GoogleAuthError):
        # Also where there are none, and the storage asks for some.
        return _os_error(
            PermissionError, errno.EACCES, f"{place}: {login or f'the credentials are of no use ({error})'}"
        )
    if isinstance(error, InvalidResponse):
        return _to_os_error(place, from_http_response(error.response), client, needs_bucket)
    status: int = error.code  # type: ignore[attr-defined]
    if status == 404 and (needs_bucket or "bucket does not exist" in str(error)):
        bucket = "/".join(place.split("/")[:3])
        return _os_error(FileNotFoundError, errno.ENOENT, f"there is no bucket {bucket}")
    if status == 404:
        return _os_error(FileNotFoundError, errno.ENOENT, f"{place}: there is no such object")
    if status in (401, 403):
        return _os_error(PermissionError, errno.EACCES, f"{place}: permission is denied ({login or _said(error)})")
    if status == 429 or status >= 500:
        return StorageError(f"{place}: the storage does not answer ({_said(error)})")
    return _os_error(OSError, errno.EIO, f"{place}: {_said(error)}")


def _said(error: Exception) -> str:
    """An error's message, without the address of what was asked for."""
    if isinstance(error, InvalidResponse):
        error = from_http_response(error.response)
    message = str(getattr(error, "message", "") or error)
    return re.sub(r"^\w+ \w+://\S+: ", "", message)


def _os_error(kind: type[OSError], number: int, message: str) -> OSError:
    error = kind(message)
    error.errno = number
    return error


class _Buffered(io.BufferedIOBase):
    """A file that keeps what was fetched last, wherever it is read from next; Beam's own, and Python's, forget it at a jump.

    Args:
        raw: whose every read is a request.
        size: of it, in bytes.
        buffer_size: bytes that are fetched, and kept, at least.
    """

    def __init__(self, raw: Any, size: int, buffer_size: int) -> None:
        self._raw, self._size, self._buffer_size = raw, size, buffer_size
        self._place = self._start = 0
        self._held = b""

    def read(self, size: int | None = -1) -> bytes:
        """As any file's; at the end there is no request to learn that it is the end."""
        end = self._size if size is None or size < 0 else min(self._place + size, self._size)
        if self._place >= end:
            return b""
        if not self._start <= self._place <= end <= self._start + len(self._held):
            self._raw.seek(self._place)
            self._start, self._held = self._place, b""
            found: bytes = self._raw.read(max(end - self._place, min(self._buffer_size, self._size - self._place)))
            if len(found) <= self._buffer_size:
                self._held = found
        else:
            found = self._held[self._place - self._start :]
        found = found[: end - self._place]
        self._place += len(found)
        return found

    read1 = read

    def seek(self, target: int, whence: int = io.SEEK_SET) -> int:
        """Moves, and asks nothing."""
        self._place = max(0, target + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence])
        return self._place

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True


if gcsio is not None:
    _GOOGLE_ERRORS = (GoogleAPICallError, RetryError, GoogleAuthError, InvalidResponse, RequestException)
    _make_client = gcsio.create_storage_client

    @functools.cache
    def _client(process: int, emulator: str | None, use_credentials: bool) -> Any:  # noqa: ARG001 -- the cache's key
        return _make_client(_known_options(), use_credentials)

    def _known_options() -> PipelineOptions:
        """Beam's options, as whom to impersonate: a worker is told them, and has none on its own command line."""
        return FileSystems._pipeline_options or _own_command_line()

    @functools.cache
    def _own_command_line() -> PipelineOptions:
        return PipelineOptions()

    def client(pipeline_options: Any = None, use_credentials: bool = True) -> Any:  # noqa: ARG001 -- Beam's signature
        """The client of this process, whose connections stay open; threads may share it, forks not."""
        return _client(os.getpid(), os.environ.get(EMULATOR), use_credentials)

    def find_credentials(pipeline_options: PipelineOptions) -> Any:
        """Looks once: where there are none, Beam goes on without, as public buckets allow."""
        if os.environ.get(EMULATOR):
            return AnonymousCredentials()
        return google.auth.default(scopes=pipeline_options.view_as(GoogleCloudOptions).gcp_oauth_scopes)[0]

    def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        """A method of `GcsIO` with errors as the rest of the world knows them."""

        @functools.wraps(method)
        def guarded(self: Any, path: Any, *arguments: Any, **keywords: Any) -> Any:
            try:
                return method(self, path, *arguments, **keywords)
            except _GOOGLE_ERRORS as error:
                # Several are paths, or pairs of them.
                raise _to_os_error(path if isinstance(path, str) else str(path[0]), error, self.client) from error

        return guarded

    @contextlib.contextmanager
    def retelling(place: str) -> Iterator[None]:
        """Errors of Google's libraries in the block become those of the rest of the world; what may be missing is a bucket."""
        try:
            yield
        except _GOOGLE_ERRORS as error:
            raise _to_os_error(place, error, client(), needs_bucket=True) from error

    class _Reader(gcsio.BeamBlobReader):
        def read(self, size: int = -1) -> bytes:
            try:
                return super().read(size)
            except _GOOGLE_ERRORS as error:
                raise _to_os_error(_uri(self._blob), error, self._blob.client) from error

    class _Writer(gcsio.BeamBlobWriter):
        def write(self, content: Any) -> int:
            try:
                return super().write(content)
            except _GOOGLE_ERRORS as error:
                raise _to_os_error(_uri(self._blob), error, self._blob.client, needs_bucket=True) from error

        def close(self) -> None:
            try:
                super().close()
            except _GOOGLE_ERRORS as error:
                raise _to_os_error(_uri(self._blob), error, self._blob.client, needs_bucket=True) from error

        def terminate(self) -> None:
            # What cannot be given up now the storage forgets later. It must not stay open: then it would be there after all.
            try:
                with contextlib.suppress(*_GOOGLE_ERRORS):
                    super().terminate()
            finally:
                self._buffer.close()

    def _uri(blob: Any) -> str:
        return f"{SCHEME}://{blob.bucket.name}/{blob.name}"

    class CloudStorage(gcsio.GcsIO):
        """Beam's access to Cloud Storage, with one client a process and errors that are OSErrors."""

        def __init__(self, storage_client: Any = None, pipeline_options: Any = None) -> None:
            # Beam would parse the command line anew for each file.
            super().__init__(storage_client or client(), pipeline_options or _known_options())

        @_guarded
        def open(
            self,
            filename: str,
            mode: str = "r",
            read_buffer_size: int = gcsio.DEFAULT_READ_BUFFER_SIZE,
            mime_type: str = "application/octet-stream",
        ) -> Any:
            """As Beam's; of what is read, the last so many bytes are kept."""
            file = super().open(filename, mode, read_buffer_size, mime_type)
            return _Buffered(file, file._blob.size, read_buffer_size) if isinstance(file, _Reader) else file

        exists = _guarded(gcsio.GcsIO.exists)
        delete = _guarded(gcsio.GcsIO.delete)
        copy = _guarded(gcsio.GcsIO.copy)
        delete_batch = _guarded(gcsio.GcsIO.delete_batch)
        copy_batch = _guarded(gcsio.GcsIO.copy_batch)
        _gcs_object = _guarded(gcsio.GcsIO._gcs_object)

        def _batch_with_retry(self, requests: Any, fn: Callable[[Any], None]) -> list[Any]:
            """As Beam's, which keeps no more than the status of an error, and of one of the whole batch not even that."""
            responses: list[Any] = super()._batch_with_retry(requests, fn)
            for request, response in zip(requests, responses, strict=True):
                path = request if isinstance(request, str) else request[0]
                if response is None:
                    raise StorageError(f"{path}: the storage does not answer")
                if response.status_code >= 400 and response.status_code != 404:  # gone is as good as deleted
                    raise _to_os_error(path, from_http_response(response), self.client)
            return responses

        def list_files(self, path: str, with_metadata: bool = False) -> Iterator[Any]:
            """As Beam's."""
            with retelling(path):
                yield from super().list_files(path, with_metadata)

    auth._Credentials._get_credentials_with_retrys = staticmethod(find_credentials)
    gcsio.create_storage_client = client
    gcsio.BeamBlobReader, gcsio.BeamBlobWriter, gcsio.GcsIO = _Reader, _Writer, CloudStorage
