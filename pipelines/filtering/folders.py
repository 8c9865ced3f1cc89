"""Folders that commands write to, on this machine or in a bucket. Each file is written completely or not at all."""

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

from model.local_files import DRAFT_PREFIX, atomic_path
from pipelines.common.errors import UsageError
from transforms.storage.atomic_files import atomic_file
from transforms.storage.files import literally, match, probe
from transforms.storage.storage_errors import reason


class Folder(ABC):
    """A folder that a command writes to.

    Attributes:
        uri: path or URI of the folder, without a slash at its end.
        option: name of the command-line option that names the folder.
    """

    def __init__(self, uri: str, option: str = "output") -> None:
        self.uri, self.option = uri, option

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether it contains nothing, or does not exist."""

    @abstractmethod
    def replace(self, record: str) -> contextlib.AbstractContextManager[Path]:
        """Yields a local draft folder. If the block succeeds, its files become the content of this folder.

        Args:
            record: name of the file that marks the content as complete.

        Raises:
            UsageError: the folder cannot be written.
        """

    @abstractmethod
    def clear(self) -> None:
        """Deletes its content.

        Raises:
            UsageError: it cannot be deleted.
        """

    @abstractmethod
    def remove(self, name: str) -> None:
        """Deletes a file in it, or a folder with its files; does nothing if there is none.

        Raises:
            UsageError: it cannot be deleted.
        """

    @abstractmethod
    def remove_drafts(self) -> None:
        """Deletes the unfinished files that a killed command left in it.

        Raises:
            UsageError: they cannot be deleted.
        """

    def load(self, name: str) -> dict[str, Any]:
        """Returns a JSON record; an empty one if the file is missing or not readable."""
        with contextlib.suppress(OSError, ValueError):
            with FileSystems.open(f"{self.uri}/{name}", compression_type=CompressionTypes.UNCOMPRESSED) as file:
                record = json.loads(file.read())
            return record if isinstance(record, dict) else {}
        return {}

    def put(self, path: Path, name: str) -> None:
        """Copies a local file into it.

        Args:
            path: the local file.
            name: name of the copy.

        Raises:
            UsageError: it cannot be written.
        """
        with self._usage_errors():
            self._put(path, name)

    def check_writable(self) -> None:
        """Creates it, and creates and deletes a file in it.

        Raises:
            UsageError: one of these steps fails.
        """
        with self._usage_errors():
            probe(self.uri)

    def _put(self, path: Path, name: str) -> None:
        with path.open("rb") as source, atomic_file(f"{self.uri}/{name}") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    @contextlib.contextmanager
    def _usage_errors(self, problem: str = "cannot write there") -> Iterator[None]:
        """Turns storage errors of the block into usage errors."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise UsageError(f"--{self.option} {self.uri}: {problem} ({reason(error)})") from error


class LocalFolder(Folder):
    """A folder on this machine."""

    def is_empty(self) -> bool:
        """Whether it contains nothing, or does not exist."""
        folder = Path(self.uri)
        return not folder.exists() or not any(folder.iterdir())

    @contextlib.contextmanager
    def replace(self, record: str) -> Iterator[Path]:  # noqa: ARG002 -- the rename is atomic
        """Yields a folder that replaces this one."""
        with contextlib.ExitStack() as stack:
            with self._usage_errors():
                draft = stack.enter_context(atomic_path(Path(self.uri), replace_folder=True))
                draft.mkdir()
            yield draft

    def clear(self) -> None:
        """Deletes the folder."""
        with self._usage_errors():
            shutil.rmtree(self.uri)

    def remove(self, name: str) -> None:
        """Deletes a file in it, or a folder with its files."""
        path = Path(self.uri, name)
        with self._usage_errors("cannot delete there"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def remove_drafts(self) -> None:
        """Deletes the unfinished files that a killed command left in it."""
        with self._usage_errors("cannot delete there"):
            for path in sorted(Path(self.uri).rglob(f"{DRAFT_PREFIX}*"), reverse=True):
                self.remove(path.relative_to(self.uri).as_posix())


class BucketFolder(Folder):
    """A prefix in a bucket, which has no folders. Its content is complete while its record exists."""

    def is_empty(self) -> bool:
        """Whether it contains nothing."""
        with self._listing_errors():
            return next(match(f"{literally(self.uri)}/**"), None) is None

    def names(self) -> list[str]:
        """Returns the names of all files in it, sorted.

        Raises:
            UsageError: it cannot be listed.
        """
        with self._listing_errors():
            return sorted(file.uri.removeprefix(f"{self.uri}/") for file in match(f"{literally(self.uri)}/**"))

    @contextlib.contextmanager
    def replace(self, record: str) -> Iterator[Path]:
        """Yields a draft folder, then uploads its files. Deletes the old record first, and uploads the new one last."""
        with tempfile.TemporaryDirectory(prefix="audiosieve-") as folder:
            draft = Path(folder)
            yield draft
            files = {str(path.relative_to(draft)): path for path in draft.rglob("*") if path.is_file()}
            old_names = self.names()
            new_record = files.pop(record)
            with self._usage_errors():
                if record in old_names:
                    FileSystems.delete([f"{self.uri}/{record}"])
                for name, path in sorted(files.items()):
                    self._put(path, name)
                self._delete([name for name in old_names if name not in files and name != record])
                self._put(new_record, record)

    def clear(self) -> None:
        """Deletes all files in it."""
        names = self.names()
        with self._usage_errors():
            self._delete(names)

    def remove(self, name: str) -> None:
        """Deletes a file in it, or a folder with its files."""
        names = [other for other in self.names() if other == name or other.startswith(f"{name}/")]
        with self._usage_errors("cannot delete there"):
            self._delete(names)

    def remove_drafts(self) -> None:
        """Deletes the unfinished files that a killed command left in it."""
        names = [name for name in self.names() if name.rpartition("/")[2].startswith(DRAFT_PREFIX)]
        with self._usage_errors("cannot delete there"):
            self._delete(names)

    def _delete(self, names: list[str]) -> None:
        if names:
            FileSystems.delete([f"{self.uri}/{name}" for name in names])

    def _listing_errors(self) -> contextlib.AbstractContextManager[None]:
        return self._usage_errors("cannot be listed")
