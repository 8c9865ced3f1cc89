"""Folders that commands write to, local or in a bucket. Files appear in them complete or not at all."""

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

from pipelines.common.arguments import UsageError
from transforms.storage.atomic_files import whole_file
from transforms.storage.files import literally, match, probe
from transforms.storage.gcs import reason


class Folder(ABC):
    """A folder for the files of a command.

    Attributes:
        uri: path or URI of the folder, without a slash at the end.
        option: name of the option that gives it, for errors.
    """

    def __init__(self, uri: str, option: str = "output") -> None:
        self.uri, self.option = uri, option

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether the folder has no files or does not exist."""

    @abstractmethod
    def replace(self, record: str) -> contextlib.AbstractContextManager[Path]:
        """Replaces the content of the folder, unless the block raises.

        Args:
            record: name of a file. The content of the folder is complete while this file is there.

        Returns:
            A context with an empty local folder for the new content.

        Raises:
            UsageError: the folder cannot be written.
        """

    @abstractmethod
    def clear(self) -> None:
        """Deletes the content of the folder.

        Raises:
            UsageError: it cannot be deleted.
        """

    def load(self, name: str) -> dict[str, Any]:
        """Returns a JSON record in the folder; empty if there is none."""
        with contextlib.suppress(OSError, ValueError):
            with FileSystems.open(f"{self.uri}/{name}", compression_type=CompressionTypes.UNCOMPRESSED) as file:
                record = json.loads(file.read())
            return record if isinstance(record, dict) else {}
        return {}

    def put(self, path: Path, name: str) -> None:
        """Copies a local file into the folder.

        Args:
            path: path of the local file.
            name: name of the copy, relative to the folder.

        Raises:
            UsageError: the folder cannot be written.
        """
        with self._writing():
            self._put(path, name)

    def check_writable(self) -> None:
        """Checks that the folder can be written, by writing a file.

        Raises:
            UsageError: it cannot be written.
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
    """A local folder."""

    def is_empty(self) -> bool:
        """Whether the folder has no files or does not exist."""
        place = Path(self.uri)
        return not place.exists() or not any(place.iterdir())

    @contextlib.contextmanager
    def replace(self, record: str) -> Iterator[Path]:
        """Renames a new folder to this one."""
        del record  # Renaming replaces all files at once.
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
        """Deletes the folder."""
        with self._writing():
            shutil.rmtree(self.uri)


class BucketFolder(Folder):
    """A folder in a bucket, where files cannot be renamed together."""

    def is_empty(self) -> bool:
        """Whether the folder has no files."""
        with self._listing():
            return next(match(f"{literally(self.uri)}/**"), None) is None

    def names(self) -> list[str]:
        """Returns the paths of all files, relative to the folder, sorted.

        Raises:
            UsageError: the folder cannot be listed.
        """
        with self._listing():
            return sorted(file.uri.removeprefix(f"{self.uri}/") for file in match(f"{literally(self.uri)}/**"))

    @contextlib.contextmanager
    def replace(self, record: str) -> Iterator[Path]:
        """Deletes the old record first and writes the new record last."""
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
        """Deletes all files."""
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
