"""A filesystem of Beam's with a scheme, as buckets have, that keeps its files below a local directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.localfilesystem import LocalFileSystem

SCHEME = "shelf"


def bucket(path: object) -> str:
    """The name in the bucket of a local file."""
    return f"{SCHEME}:/{path}"


class Shelf(LocalFileSystem):
    """`shelf://tmp/x/a.wav` is /tmp/x/a.wav. Like a bucket it has no directories, and lists by prefix.

    Attributes:
        listings: how often something was listed, by place.
    """

    listings: ClassVar[list[str]] = []

    @classmethod
    def scheme(cls) -> str:
        return SCHEME

    def has_dirs(self) -> bool:
        return False

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *(path.strip("/") for path in paths)])

    def split(self, path: str) -> tuple[str, str]:
        folder, _, name = path.rpartition("/")
        return folder, name

    def exists(self, path: str) -> bool:
        return Path(_local(path)).is_file()

    def metadata(self, path: str) -> FileMetadata:
        return _renamed(super().metadata(_local(path)))

    def _list(self, prefix: str) -> Iterator[FileMetadata]:
        self.listings.append(prefix)
        local = _local(prefix)
        folder = local.rpartition("/")[0]
        for path in Path(folder).rglob("*"):
            if path.is_file() and str(path).startswith(local):
                yield _renamed(super().metadata(str(path)))
            elif path.is_dir() and not any(path.iterdir()):
                # As consoles show a folder in a bucket: by an object whose name ends so.
                yield FileMetadata(f"{bucket(path)}/", 0, 0.0)

    def create(self, path: str, *args: Any, **kwargs: Any) -> Any:
        Path(_local(path)).parent.mkdir(parents=True, exist_ok=True)
        return self._path_open(path, "wb", *args, **kwargs)

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        super().rename([*map(_local, source_file_names)], [*map(_local, destination_file_names)])

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            Path(_local(path)).unlink()

    def _path_open(self, path: str, *args: Any, **kwargs: Any) -> Any:
        return super()._path_open(_local(path), *args, **kwargs)

    def _url_dirname(self, path: str) -> str:
        return path.rpartition("/")[0]


def _local(path: str) -> str:
    return path.removeprefix(f"{SCHEME}:/")


def _renamed(found: FileMetadata) -> FileMetadata:
    return FileMetadata(bucket(found.path), found.size_in_bytes, found.last_updated_in_seconds)
