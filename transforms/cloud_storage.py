"""Cloud Storage as Beam reaches it, made fit for a command line.

Beam makes a client, and so a connection, for every file that it opens, looks for credentials for half a minute where there
are none and even where `STORAGE_EMULATOR_HOST` names an emulator that takes none, and raises Google's errors, which are no
OSErrors. What stands here takes the place of its `GcsIO`, in every process that imports `transforms`, and as one of Beam's
plugins in every worker. What fails for a moment (429, 5xx, a lost connection) is tried again for two minutes by the client
library itself.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.utils.plugin import BeamPlugin

try:
    import google.auth
    from apache_beam.internal.gcp import auth
    from apache_beam.io.gcp import gcsio
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import InvalidResponse  # type: ignore[import-untyped]
    from requests.exceptions import RequestException
except ImportError:  # the extra `gcp` is not installed
    gcsio = None

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
    if isinstance(error, StorageError):
        return str(error)
    found = re.search(r"StorageError: ([^\n]*?)(?: \[while running|\n|$)", str(error))
    return found[1] if found else None


def open_in_parts(uri: str) -> BinaryIO:
    """Opens a file of which only parts will be read: of an object in a bucket no more is fetched than is asked for."""
    if FileSystems.get_scheme(uri) != SCHEME or gcsio is None:
        return FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
    return gcsio.GcsIO(pipeline_options=FileSystems._pipeline_options).open(uri, read_buffer_size=1)


def _retold(place: str, error: Exception, client: Any = None) -> Exception:
    """The OSError, or `StorageError`, that an error of Google's libraries amounts to."""
    if isinstance(error, (RetryError, RequestException)):
        cause = getattr(error, "cause", None) or error
        return StorageError(f"{place}: the storage does not answer ({_said(cause)})")
    if isinstance(error, GoogleAuthError):
        return _os_error(PermissionError, errno.EACCES, f"{place}: the credentials are of no use ({error})")
    status: int = error.response.status_code if isinstance(error, InvalidResponse) else error.code  # type: ignore[attr-defined]
    if status == 404 and "bucket does not exist" in str(error):
        bucket = "/".join(place.split("/")[:3])
        return _os_error(FileNotFoundError, errno.ENOENT, f"there is no bucket {bucket}")
    if status == 404:
        return _os_error(FileNotFoundError, errno.ENOENT, f"{place}: it is not there")
    if status in (401, 403):
        anonymous = client is not None and isinstance(client._credentials, AnonymousCredentials)
        why = _LOGIN if anonymous and not os.environ.get(EMULATOR) else _said(error)
        return _os_error(PermissionError, errno.EACCES, f"{place}: permission is denied ({why})")
    if status == 429 or status >= 500:
        return StorageError(f"{place}: the storage does not answer ({_said(error)})")
    return _os_error(OSError, errno.EIO, f"{place}: {_said(error)}")


def _said(error: Exception) -> str:
    """An error's message, without the address of what was asked for."""
    message = str(getattr(error, "message", "") or error)
    return re.sub(r"^\w+ https?://\S+: ", "", message)


def _os_error(kind: type[OSError], number: int, message: str) -> OSError:
    error = kind(message)
    error.errno = number
    return error


if gcsio is not None:
    _GOOGLE_ERRORS = (GoogleAPICallError, RetryError, GoogleAuthError, InvalidResponse, RequestException)
    _make_client = gcsio.create_storage_client

    @functools.cache
    def _client(process: int, emulator: str | None, use_credentials: bool) -> Any:  # noqa: ARG001 -- the cache's key
        return _make_client(_default_options(), use_credentials)

    @functools.cache
    def _default_options() -> PipelineOptions:
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
        """A method of `GcsIO` whose first argument is a path, with errors as the rest of the world knows them."""

        @functools.wraps(method)
        def guarded(self: Any, path: str, *arguments: Any, **keywords: Any) -> Any:
            try:
                return method(self, path, *arguments, **keywords)
            except _GOOGLE_ERRORS as error:
                raise _retold(path, error, self.client) from error

        return guarded

    class _Reader(gcsio.BeamBlobReader):
        def read(self, size: int = -1) -> bytes:
            try:
                return super().read(size)
            except _GOOGLE_ERRORS as error:
                _raise_of_blob(self._blob, error)

    class _Writer(gcsio.BeamBlobWriter):
        def write(self, content: Any) -> int:
            try:
                return super().write(content)
            except _GOOGLE_ERRORS as error:
                _raise_of_blob(self._blob, error)

        def close(self) -> None:
            try:
                super().close()
            except _GOOGLE_ERRORS as error:
                _raise_of_blob(self._blob, error)

    def _raise_of_blob(blob: Any, error: Exception) -> NoReturn:
        raise _retold(f"{SCHEME}://{blob.bucket.name}/{blob.name}", error, blob.client) from error

    class CloudStorage(gcsio.GcsIO):
        """Beam's access to Cloud Storage, with one client a process and errors that are OSErrors."""

        def __init__(self, storage_client: Any = None, pipeline_options: Any = None) -> None:
            # Beam would parse the command line anew for each file.
            super().__init__(storage_client or client(), pipeline_options or _default_options())

        open = _guarded(gcsio.GcsIO.open)
        exists = _guarded(gcsio.GcsIO.exists)
        delete = _guarded(gcsio.GcsIO.delete)
        copy = _guarded(gcsio.GcsIO.copy)
        _gcs_object = _guarded(gcsio.GcsIO._gcs_object)

        def list_files(self, path: str, with_metadata: bool = False) -> Iterator[Any]:
            """As Beam's."""
            try:
                yield from super().list_files(path, with_metadata)
            except _GOOGLE_ERRORS as error:
                raise _retold(path, error, self.client) from error

    auth._Credentials._get_credentials_with_retrys = staticmethod(find_credentials)
    gcsio.create_storage_client = client
    gcsio.BeamBlobReader, gcsio.BeamBlobWriter, gcsio.GcsIO = _Reader, _Writer, CloudStorage
