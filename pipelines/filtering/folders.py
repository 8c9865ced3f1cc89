"""Folders that commands write to, on this machine or in a bucket: files and records in them are whole, or not there."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.common.errors import UsageError
from transforms.storage.atomic_files import whole_file
from transforms.storage.files import literally, match, probe
from transforms.storage.gcs import reason


class Folder(ABC):
    """A place for files.

    Attributes:
        uri: of it, without a slash at its end.
        option: of the command line, that names it.
    """

    def __init__(self, uri: str, option: str = "output") -> None:
        self.uri, self.option = uri, option

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether there is nothing in it, or no folder."""

    @abstractmethod
    def drafted(self, record: str) -> contextlib.AbstractContextManager[Path]:
        """A folder of this machine, whose files become all that is in this one, if the block ends well.

        Args:
            record: name of the file without which what is there is not complete.

        Raises:
            UsageError: nothing can be written there.
        """

    @abstractmethod
    def clear(self) -> None:
        """Removes all that is in it.

        Raises:
            UsageError: that cannot be.
        """

    def load(self, name: str) -> dict[str, Any]:
        """A record of ours; empty where there is none."""
        with contextlib.suppress(OSError, ValueError):
            with FileSystems.open(f"{self.uri}/{name}", compression_type=CompressionTypes.UNCOMPRESSED) as file:
                found = json.loads(file.read())
            return found if isinstance(found, dict) else {}
        return {}

    def put(self, path: Path, name: str) -> None:
        """Copies a file of this machine into it.

        Raises:
            UsageError: it cannot be written.
        """
        with self._writing():
            self._put(path, name)

    def check_writable(self) -> None:
        """Makes it, and tries a file in it.

        Raises:
            UsageError: that does not work.
        """
        with self._writing():
            probe(self.uri)

    def _put(self, path: Path, name: str) -> None:
        with path.open("rb") as source, whole_file(f"{self.uri}/{name}") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(f"--{self.option} {self.uri}: cannot write there ({reason(error)})") from error


class LocalFolder(Folder):
    """A folder of this machine."""

    def is_empty(self) -> bool:
        """Whether there is nothing in it, or no folder."""
        place = Path(self.uri)
        return not place.exists() or not any(place.iterdir())

    @contextlib.contextmanager
    def drafted(self, record: str) -> Iterator[Path]:  # noqa: ARG002 -- all of it appears at once
        """A folder beside it, which takes its place."""
        place = Path(self.uri)
        with self._writing():
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        try:
            yield draft
            draft.chmod(0o755)
            if place.exists():
                old = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent)) / "old"
                place.rename(old)
                draft.rename(place)
                shutil.rmtree(old.parent)
            else:
                draft.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def clear(self) -> None:
        """Removes it."""
        with self._writing():
            shutil.rmtree(self.uri)


class BucketFolder(Folder):
    """A place in a filesystem without folders, as buckets are. What is in it is complete while its record is there."""

    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        with self._listing():
            return next(match(f"{literally(self.uri)}/**"), None) is None

    def names(self) -> list[str]:
        """Names of all files in it, sorted.

        Raises:
            UsageError: it cannot be listed.
        """
        with self._listing():
            return sorted(file.uri.removeprefix(f"{self.uri}/") for file in match(f"{literally(self.uri)}/**"))

    @contextlib.contextmanager
    def drafted(self, record: str) -> Iterator[Path]:
        """A folder whose files are put there; the old record is removed first, and the new one put last."""
        with tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch:
            draft = Path(scratch)
            yield draft
            files = {str(path.relative_to(draft)): path for path in draft.rglob("*") if path.is_file()}
            before = self.names()
            last = files.pop(record)
            with self._writing():
                if record in before:
                    FileSystems.delete([f"{self.uri}/{record}"])
                for name, path in sorted(files.items()):
                    self._put(path, name)
                self._delete([name for name in before if name not in files and name != record])
                self._put(last, record)

    def clear(self) -> None:
        """Removes all that is in it."""
        with self._writing():
            self._delete(self.names())

    def _delete(self, names: list[str]) -> None:
        if names:
            FileSystems.delete([f"{self.uri}/{name}" for name in names])

    @contextlib.contextmanager
    def _listing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise UsageError(f"--{self.option} {self.uri}: cannot be listed ({reason(error)})") from error
