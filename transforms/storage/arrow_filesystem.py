"""Arrow's access to files through Beam's filesystems, so that both use the same credentials and retries."""

from __future__ import annotations

import io
from typing import Any, NoReturn

import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from pyarrow import fs

from transforms.storage.files import is_local
from transforms.storage.gcs.client import open_in_parts


def arrow_filesystem(root: str) -> tuple[fs.FileSystem, str]:
    """Returns Arrow's filesystem for a folder, and the prefix of the paths of its files in that filesystem.

    Arrow reads local files by itself. Other files can be opened, but not listed.
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
        infos = []
        for path in paths:
            uri = FileSystems.join(self._root, path)
            matches = FileSystems.match([uri])[0].metadata_list
            kind = fs.FileType.File if matches else fs.FileType.NotFound
            infos.append(fs.FileInfo(path, kind, size=matches[0].size_in_bytes if matches else None))
        return infos

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise io.UnsupportedOperation("this filesystem only opens files for reading")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse
