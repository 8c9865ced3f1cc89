"""Errors of fsspec's filesystems as OSErrors, and the packages that they need."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
from collections.abc import Iterator

from transforms.storage.storage_errors import StorageError

# Extras with the packages of a scheme.
_EXTRAS = {"s3": "s3", "s3a": "s3", "http": "fsspec", "https": "fsspec", "hf": "fsspec"}
# Names of errors by which libraries report that a storage does not answer, and that credentials are missing.
_NO_ANSWER = re.compile(
    r"Timeout|Connect|Connection|HTTPClientError|ServerDisconnected|ClientPayload|SlowDown|ReadError"
)
_NO_CREDENTIALS = re.compile(r"Credential|TokenRetrieval|SSOToken|UnauthorizedSSO|ProfileNotFound|GatedRepo")
_LOG_IN = {
    "s3": "no credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or, for a public "
    "bucket, FSSPEC_S3_ANON=true",
    "hf": "no credentials were found: log in with `hf auth login`, or set HF_TOKEN",
}


def missing_package(scheme: str) -> str:
    """Returns why fsspec cannot serve a scheme, and what to install; an empty text if it can serve it."""
    extra = _EXTRAS.get(scheme)
    install = f'the extra {extra} is not installed: pip install "audiosieve[{extra}]"'
    try:
        import fsspec
    except ImportError:
        return install if extra else f"no filesystem is known for {scheme}://"
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        return install if extra else f"{scheme}:// needs another package ({error})"
    except ValueError:
        return f"no filesystem is known for {scheme}://"
    return ""


@contextlib.contextmanager
def os_errors(uri: str) -> Iterator[None]:
    """Turns the errors of fsspec's filesystems in the block into OSErrors with the URI, or `StorageError`s.

    A web server that does not answer is one of many, so its error is an OSError: it costs its own recordings only.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        raise _translated(uri, error) from error


def _translated(uri: str, error: Exception) -> Exception:
    cause = (
        error.__cause__ if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception) else error
    )
    name, status = type(cause).__name__, _status(cause)
    message = " ".join(str(cause).split()) or name
    if uri in message and isinstance(error, OSError):
        message = message.replace(uri, "").strip(" :'\"") or name
    if _NO_CREDENTIALS.search(name):
        log_in = _LOG_IN.get(uri.partition(":")[0], "no credentials were found")
        return _os_error(PermissionError, errno.EACCES, f"{uri}: {log_in} ({message})")
    if isinstance(cause, PermissionError) or status in (401, 403):
        return _os_error(PermissionError, errno.EACCES, f"{uri}: permission is denied ({message})")
    no_answer = isinstance(cause, asyncio.TimeoutError) or _NO_ANSWER.search(name) or status == 429 or status >= 500
    if no_answer and uri.startswith(("http://", "https://")):
        return _os_error(OSError, errno.EIO, f"{uri}: the server does not answer ({message})")
    if no_answer:
        return StorageError(f"{uri}: the storage does not answer ({message})")
    if isinstance(error, FileNotFoundError) and "bucket" in str(error):
        return _os_error(FileNotFoundError, errno.ENOENT, f"there is no bucket {'/'.join(uri.split('/')[:3])}")
    if isinstance(error, FileNotFoundError) or status == 404:
        return _os_error(FileNotFoundError, errno.ENOENT, f"{uri}: there is no such file")
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    return _os_error(OSError, number, f"{uri}: {message}")


def _status(error: Exception) -> int:
    """Returns the HTTP status of an error; 0 if it has none."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else 0


def _os_error(kind: type[OSError], number: int, message: str) -> OSError:
    error = kind(message)
    error.errno = number
    return error
