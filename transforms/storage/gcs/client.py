"""Access to Cloud Storage: Beam's `GcsIO` with one client per process, and with errors that are OSErrors.

Beam's own class makes a client, and so a connection, for every file that it opens. Without credentials it searches for them
for half a minute, even if `STORAGE_EMULATOR_HOST` names an emulator that needs none. It raises Google's errors, which are not
OSErrors. `patch_beam` replaces it in a process. The client library itself retries transient failures (429, 5xx, a lost
connection) for two minutes.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from transforms.storage.storage_errors import StorageError

try:
    import google.auth
    from apache_beam.internal.gcp import auth
    from apache_beam.io.gcp import gcsio, gcsio_retry
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
PLUGIN = "transforms.storage.gcs.plugin"
_LOG_IN = (
    "no credentials were found: log in with `gcloud auth application-default login`, or name a key file in "
    "GOOGLE_APPLICATION_CREDENTIALS"
)


def patch_beam() -> None:
    """Replaces Beam's access to Cloud Storage in this process, and adds fsspec's filesystems; further calls change nothing.

    Every process that opens remote files calls it first. Beam's workers do so by importing `PLUGIN`.
    """
    from transforms.storage.fsspec_storage.filesystem import register

    register()
    if gcsio is None or gcsio.GcsIO is CloudStorage:
        return
    auth._Credentials._get_credentials_with_retrys = staticmethod(find_credentials)
    gcsio.create_storage_client = client
    gcsio.BeamBlobReader, gcsio.BeamBlobWriter, gcsio.GcsIO = _Reader, _Writer, CloudStorage


def open_in_parts(uri: str) -> BinaryIO:
    """Opens a file to read parts of it. From a bucket, only those parts are fetched."""
    if FileSystems.get_scheme(uri) != SCHEME or gcsio is None:
        if in_parts := getattr(FileSystems.get_filesystem(uri), "open_in_parts", None):
            return cast(BinaryIO, in_parts(uri))
        return FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
    return gcsio.GcsIO(pipeline_options=FileSystems._pipeline_options).open(uri, read_buffer_size=1)


def _to_os_error(path: str, error: Exception, client: Any = None, needs_bucket: bool = False) -> Exception:
    """Returns the OSError, or `StorageError`, that stands for an error of Google's libraries.

    Args:
        path: path of the object or bucket.
        error: error of the library.
        client: client that raised it.
        needs_bucket: whether only the bucket can be missing, as in a listing.
    """
    anonymous = client is not None and isinstance(client._credentials, AnonymousCredentials)
    log_in = _LOG_IN if anonymous and not os.environ.get(EMULATOR) else None
    if isinstance(error, (RetryError, RequestException, TransportError)):
        cause = getattr(error, "cause", None) or error
        return StorageError(f"{path}: the storage does not answer ({_message(cause)})")
    if isinstance(error, GoogleAuthError):
        # Also raised if there are no credentials and the storage requires them.
        return _os_error(
            PermissionError, errno.EACCES, f"{path}: {log_in or f'the credentials were refused ({error})'}"
        )
    if isinstance(error, InvalidResponse):
        return _to_os_error(path, from_http_response(error.response), client, needs_bucket)
    status: int = error.code  # type: ignore[attr-defined]
    if status == 404 and (needs_bucket or "bucket does not exist" in str(error)):
        bucket = "/".join(path.split("/")[:3])
        return _os_error(FileNotFoundError, errno.ENOENT, f"there is no bucket {bucket}")
    if status == 404:
        return _os_error(FileNotFoundError, errno.ENOENT, f"{path}: there is no such object")
    if status in (401, 403):
        return _os_error(PermissionError, errno.EACCES, f"{path}: permission is denied ({log_in or _message(error)})")
    if status == 429 or status >= 500:
        return StorageError(f"{path}: the storage does not answer ({_message(error)})")
    return _os_error(OSError, errno.EIO, f"{path}: {_message(error)}")


def _message(error: Exception) -> str:
    """Returns an error's message without the method and address of the request."""
    if isinstance(error, InvalidResponse):
        error = from_http_response(error.response)
    message = str(getattr(error, "message", "") or error)
    return re.sub(r"^\w+ \w+://\S+: ", "", message)


def _os_error(kind: type[OSError], number: int, message: str) -> OSError:
    error = kind(message)
    error.errno = number
    return error


class BufferedFile(io.BufferedIOBase):
    """File with a buffer that outlives seeks; the buffers of Beam and Python are dropped by a seek.

    Attributes:
        mode: mode in which it is open, which Beam's `CompressedFile` needs to know.

    Args:
        raw: file that makes a request for every read.
        size: size of the file in bytes.
        buffer_size: size of the buffer in bytes; a request fetches no less, except at the end of the file.
    """

    mode = "rb"

    def __init__(self, raw: Any, size: int, buffer_size: int) -> None:
        self._raw, self._size, self._buffer_size = raw, size, buffer_size
        self._position = self._buffer_start = 0
        self._buffer = b""

    def read(self, size: int | None = -1) -> bytes:
        """Reads at most `size` bytes, or the rest of the file by default. At its end, makes no request."""
        end = self._size if size is None or size < 0 else min(self._position + size, self._size)
        if self._position >= end:
            return b""
        if self._buffer_start <= self._position <= end <= self._buffer_start + len(self._buffer):
            content = self._buffer[self._position - self._buffer_start :]
        else:
            self._raw.seek(self._position)
            self._buffer_start, self._buffer = self._position, b""
            fetched = max(end - self._position, min(self._buffer_size, self._size - self._position))
            content = self._raw.read(fetched)
            if len(content) <= self._buffer_size:
                self._buffer = content
        content = content[: end - self._position]
        self._position += len(content)
        return content

    read1 = read

    def seek(self, target: int, whence: int = io.SEEK_SET) -> int:
        """Sets the position, without a request, and returns it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, origin + target)
        return self._position

    def tell(self) -> int:
        """Returns the position of the next read."""
        return self._position

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True


if gcsio is not None:
    _GOOGLE_ERRORS = (GoogleAPICallError, RetryError, GoogleAuthError, InvalidResponse, RequestException)
    _make_client = gcsio.create_storage_client

    @functools.cache
    def _client(process: int, emulator: str | None, use_credentials: bool) -> Any:  # noqa: ARG001 -- the cache's key
        return _make_client(_known_options(), use_credentials)

    def _known_options() -> PipelineOptions:
        """Returns Beam's options, which may name an account to impersonate. A worker gets them from its runner."""
        return FileSystems._pipeline_options or _command_line_options()

    @functools.cache
    def _command_line_options() -> PipelineOptions:
        return PipelineOptions()

    def client(pipeline_options: Any = None, use_credentials: bool = True) -> Any:  # noqa: ARG001 -- Beam's signature
        """Returns the client of this process, whose connections stay open. Threads can share it, forked processes cannot."""
        return _client(os.getpid(), os.environ.get(EMULATOR), use_credentials)

    def find_credentials(pipeline_options: PipelineOptions) -> Any:
        """Searches for credentials once. Without any, Beam continues anonymously, which public buckets allow."""
        if os.environ.get(EMULATOR):
            return AnonymousCredentials()
        return google.auth.default(scopes=pipeline_options.view_as(GoogleCloudOptions).gcp_oauth_scopes)[0]

    def _with_os_errors(method: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a method of `GcsIO` so that it raises OSErrors."""

        @functools.wraps(method)
        def wrapped(self: Any, path: Any, *arguments: Any, **keywords: Any) -> Any:
            try:
                return method(self, path, *arguments, **keywords)
            except _GOOGLE_ERRORS as error:
                # Some methods take a list of paths, or of pairs of paths.
                raise _to_os_error(path if isinstance(path, str) else str(path[0]), error, self.client) from error

        return wrapped

    @contextlib.contextmanager
    def os_errors(path: str) -> Iterator[None]:
        """Turns errors of Google's libraries in the block into OSErrors; status 404 means that the bucket is missing."""
        try:
            yield
        except _GOOGLE_ERRORS as error:
            raise _to_os_error(path, error, client(), needs_bucket=True) from error

    def retry() -> Any:
        """Returns the policy by which this process repeats requests after transient failures."""
        return gcsio_retry.get_retry(_known_options())

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
            # An upload that cannot be cancelled now expires in the storage. The buffer must be closed: an open one would
            # complete the upload when it is garbage-collected.
            try:
                with contextlib.suppress(*_GOOGLE_ERRORS):
                    super().terminate()
            finally:
                self._buffer.close()

    def _uri(blob: Any) -> str:
        return f"{SCHEME}://{blob.bucket.name}/{blob.name}"

    class CloudStorage(gcsio.GcsIO):
        """Beam's access to Cloud Storage, with one client per process and errors that are OSErrors."""

        def __init__(self, storage_client: Any = None, pipeline_options: Any = None) -> None:
            # Without options Beam would parse the command line for each file.
            super().__init__(storage_client or client(), pipeline_options or _known_options())

        @_with_os_errors
        def open(
            self,
            filename: str,
            mode: str = "r",
            read_buffer_size: int = gcsio.DEFAULT_READ_BUFFER_SIZE,
            mime_type: str = "application/octet-stream",
        ) -> Any:
            """Opens an object like Beam's method; a reader keeps the last `read_buffer_size` bytes that it fetched."""
            file = super().open(filename, mode, read_buffer_size, mime_type)
            return BufferedFile(file, file._blob.size, read_buffer_size) if isinstance(file, _Reader) else file

        exists = _with_os_errors(gcsio.GcsIO.exists)
        delete = _with_os_errors(gcsio.GcsIO.delete)
        copy = _with_os_errors(gcsio.GcsIO.copy)
        delete_batch = _with_os_errors(gcsio.GcsIO.delete_batch)
        copy_batch = _with_os_errors(gcsio.GcsIO.copy_batch)
        _gcs_object = _with_os_errors(gcsio.GcsIO._gcs_object)

        def _batch_with_retry(self, requests: Any, fn: Callable[[Any], None]) -> list[Any]:
            """Raises the errors that Beam's method returns as a status, or drops if the whole batch fails."""
            responses: list[Any] = super()._batch_with_retry(requests, fn)
            for request, response in zip(requests, responses, strict=True):
                path = request if isinstance(request, str) else request[0]
                if response is None:
                    raise StorageError(f"{path}: the storage does not answer")
                # A missing object is as good as deleted.
                if response.status_code >= 400 and response.status_code != 404:
                    raise _to_os_error(path, from_http_response(response), self.client)
            return responses

        def list_files(self, path: str, with_metadata: bool = False) -> Iterator[Any]:
            """Lists objects like Beam's method."""
            with os_errors(path):
                yield from super().list_files(path, with_metadata)
