"""A folder in a bucket for what a command writes: made here, and put there with its record last."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.options import UsageError
from transforms.cloud_storage import reason
from transforms.files import match


class BucketFolder:
    """A place in a filesystem without folders, as buckets are. What is in it is complete while its record is there.

    Attributes:
        uri: of it.
        record: name of the file that is written last, and removed first.
    """

    def __init__(self, uri: str, record: str) -> None:
        self.uri, self.record = uri.rstrip("/"), record

    def names(self) -> list[str]:
        """Names of all files in it, sorted.

        Raises:
            UsageError: it cannot be listed.
        """
        try:
            return sorted(file.uri.removeprefix(f"{self.uri}/") for file in match(f"{self.uri}/**"))
        except (OSError, ValueError) as error:
            raise UsageError(f"--output {self.uri}: cannot be listed ({reason(error)})") from error

    def load(self) -> dict[str, Any]:
        """The record; empty where there is none."""
        with contextlib.suppress(OSError, ValueError):
            with FileSystems.open(f"{self.uri}/{self.record}") as file:
                found = json.loads(file.read())
            return found if isinstance(found, dict) else {}
        return {}

    @contextlib.contextmanager
    def drafted(self) -> Iterator[Path]:
        """A folder of this machine, whose files become all that is in the bucket's, if the block ends well.

        Raises:
            UsageError: nothing can be written there.
        """
        with tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch:
            draft = Path(scratch)
            yield draft
            files = {str(path.relative_to(draft)): path for path in draft.rglob("*") if path.is_file()}
            before = self.names()
            last = files.pop(self.record)
            try:
                if self.record in before:
                    FileSystems.delete([f"{self.uri}/{self.record}"])
                for name, path in sorted(files.items()):
                    self._put(path, name)
                if stale := [f"{self.uri}/{name}" for name in before if name not in files and name != self.record]:
                    FileSystems.delete(stale)
                self._put(last, self.record)
            except OSError as error:
                raise UsageError(f"--output {self.uri}: cannot be written ({reason(error)})") from error

    def _put(self, path: Path, name: str) -> None:
        with (
            path.open("rb") as source,
            FileSystems.create(f"{self.uri}/{name}", compression_type=CompressionTypes.UNCOMPRESSED) as file,
        ):
            shutil.copyfileobj(source, file, 1 << 20)
