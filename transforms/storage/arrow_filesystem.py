"""Files of any filesystem that Beam knows, read by Arrow: one way to them, with one set of credentials and retries."""

from __future__ import annotations

import io
from typing import Any, NoReturn

import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from pyarrow import fs

from transforms.storage.files import is_local
from transforms.storage.gcs import open_in_parts


def arrow_filesystem(root: str) -> tuple[fs.FileSystem, str]:
    """Arrow's view of a folder: a filesystem, and what to put before the name of a file in the folder.

    Local files are read by Arrow itself. Others can be opened, and not listed.
    """
    return (fs.LocalFileSystem(), f"{root}/") if is_local(root) else (fs.PyFileSystem(_Handler(root)), "")


class _Handler(fs.FileSystemHandler):
    def __init__(self, root: str) -> None:
        self._root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Handler) and other._root == self._root

    def __hash__(self) -> int:
        return hash(self._root)

    def get_type_name(self) -> str:
        return "beam"

    def normalize_path(self, path: str) -> str:
        return path

    def open_input_file(self, path: str) -> pa.NativeFile:
        return pa.PythonFile(open_in_parts(FileSystems.join(self._root, path)), mode="r")

    open_input_stream = open_input_file

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        found = []
        for path in paths:
            uri = FileSystems.join(self._root, path)
            matched = FileSystems.match([uri])[0].metadata_list
            kind = fs.FileType.File if matched else fs.FileType.NotFound
            found.append(fs.FileInfo(path, kind, size=matched[0].size_in_bytes if matched else None))
        return found

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise io.UnsupportedOperation("it is only read here")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse
