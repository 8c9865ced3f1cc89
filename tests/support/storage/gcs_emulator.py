"""A Cloud Storage that runs on this machine: `gcp-storage-emulator` as a process of its own, and buckets in it.

Unlike the package, it honours `ifGenerationMatch` when an object is written, deleted or read.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.support.paths import ROOT


@contextlib.contextmanager
def running_emulator() -> Iterator[str]:
    """Starts an emulator that keeps all in memory, on a free port of loopback.

    It ends with the block; and with this process, however that ends.

    Yields:
        Its address, for `STORAGE_EMULATOR_HOST`.
    """
    command = [sys.executable, "-m", "tests.support.storage.gcs_emulator"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            assert port.isdecimal(), "the emulator did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


class Bucket:
    """A bucket, looked at from outside of audiosieve, by Google's own client.

    Attributes:
        uri: `gs://NAME`.
        address: of the emulator.
    """

    def __init__(self, address: str, name: str | None = None) -> None:
        """Makes it, empty; under a new name where none is given."""
        name = name or f"test-{secrets.token_hex(6)}"
        self.uri = f"gs://{name}"
        self.address = address
        client = storage.Client(
            project="test", credentials=AnonymousCredentials(), client_options={"api_endpoint": address}
        )
        self._bucket: Any = client.create_bucket(name)

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects, sorted."""
        return sorted(blob.name for blob in self._bucket.list_blobs(prefix=prefix))

    def write(self, name: str, content: bytes | str) -> str:
        """Makes an object; returns its uri."""
        self._bucket.blob(name).upload_from_string(content)
        return self / name

    def read(self, name: str) -> bytes:
        """The content of an object."""
        content: bytes = self._bucket.blob(name).download_as_bytes()
        return content

    def generation(self, name: str) -> int:
        """The generation of an object."""
        generation: int = self._bucket.get_blob(name).generation
        return generation

    def delete(self, name: str) -> None:
        """Deletes an object."""
        self._bucket.blob(name).delete()

    def edit_metadata(self, name: str) -> None:
        """Labels an object, which changes its update time and not its content."""
        blob = self._bucket.blob(name)
        blob.metadata = {"label": secrets.token_hex(3)}
        blob.patch()

    def upload(self, folder: Path, prefix: str) -> str:
        """Copies a local folder, or a file, to a place in the bucket; returns its uri."""
        if folder.is_file():
            return self.write(prefix, folder.read_bytes())
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.write(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
        return self / prefix

    def download(self, prefix: str, folder: Path) -> Path:
        """Copies all below a place in the bucket into a local folder; returns that."""
        for name in self.names(f"{prefix}/"):
            path = folder / name.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(name))
        return folder


class _PreconditionError(Exception):
    """The generation of an object is not the one that the request expects."""


def _answer(lock: threading.Lock, method: Callable[[Any], None]) -> Callable[[Any], None]:
    """Wraps a method of a request handler: one request at a time, and a failed precondition is status 412."""

    @functools.wraps(method)
    def answer(self: Any) -> None:
        expected = parse_qs(urlsplit(self.path).query).get("ifGenerationMatch")
        with lock:
            self.storage.expected = int(expected[0]) if expected else None
            self.storage.is_read = self.command == "GET"
            try:
                method(self)
            except _PreconditionError:
                content = b'{"error": {"code": 412, "message": "conditionNotMet"}}'
                self.send_response(412)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

    return answer


class _Server(ThreadingHTTPServer):
    # A connection on which nothing is asked holds up no other, and a burst of them finds room.
    daemon_threads = True
    request_queue_size = 128


def _update_time_follows_metadata() -> None:
    """Makes an edit of an object's metadata change its update time, as on Cloud Storage."""
    from gcp_storage_emulator.handlers import objects

    edit = objects._patch

    def edit_and_date(storage: Any, bucket_name: str, object_id: str, metadata: Any) -> Any:
        found = edit(storage, bucket_name, object_id, metadata)
        if found is not None:
            found["updated"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
            storage.patch_object(bucket_name, object_id, found)
        return found

    objects._patch = edit_and_date


def main() -> None:
    """Serves until standard input ends; the port is printed first."""
    _update_time_follows_metadata()
    from gcp_storage_emulator.server import RequestHandler
    from gcp_storage_emulator.storage import Storage

    one_at_a_time = threading.Lock()  # what it keeps is not made for threads

    class ConditionalStorage(Storage):  # type: ignore[misc]
        """Storage with preconditions. `expected` is the generation that the request expects; 0 is that of no object."""

        expected: int | None = None
        is_read = False

        def _check(self, bucket: str, name: str) -> None:
            current = self.objects.get(bucket, {}).get(name, {}).get("generation", 0)
            if self.expected is not None and int(current) != self.expected:
                raise _PreconditionError

        def create_file(self, bucket: str, name: str, *rest: Any) -> None:
            self._check(bucket, name)
            super().create_file(bucket, name, *rest)

        def delete_file(self, bucket: str, name: str) -> None:
            self._check(bucket, name)
            super().delete_file(bucket, name)

        def get_file_obj(self, bucket: str, name: str) -> Any:
            if self.is_read:
                self._check(bucket, name)
            return super().get_file_obj(bucket, name)

    class Handler(RequestHandler):  # type: ignore[misc]
        disable_nagle_algorithm = True

    for method in ("do_GET", "do_POST", "do_PUT", "do_PATCH", "do_DELETE"):
        setattr(Handler, method, _answer(one_at_a_time, getattr(RequestHandler, method)))

    logging.disable()  # or it warns at each answer
    server = _Server(("127.0.0.1", 0), functools.partial(Handler, ConditionalStorage(use_memory_fs=True)))

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
