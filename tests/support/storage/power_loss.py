"""A disk that forgets what was not synced: builds every folder that a loss of power could leave behind.

Python reports each operation on a file to its audit hooks. From their record follows, for each moment, which names and contents
are certainly on the disk: a name after a sync of its folder, a content after a sync of its file. Of all others, any may be
missing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FOLDER = -1


class Operation(NamedTuple):
    """An operation on the disk.

    Attributes:
        kind: "set" (a name gets a file or folder, `old` loses it), "drop" (a name), "sync folder" or "sync file".
        path: path below the root; empty for the root.
        file: number of the file, or FOLDER.
        old: name that a renamed file had.
    """

    kind: str
    path: str
    file: int = FOLDER
    old: str | None = None


class State(NamedTuple):
    """A folder after a loss of power.

    Attributes:
        moment: number of operations before it.
        names: number of the file, or FOLDER, by path.
        contents: content by number of the file.
    """

    moment: int
    names: dict[str, int]
    contents: dict[int, bytes]

    def build(self, root: Path) -> None:
        """Creates the folder."""
        root.mkdir()
        for path, file in sorted(self.names.items()):
            if file == FOLDER:
                (root / path).mkdir()
            else:
                (root / path).write_bytes(self.contents[file])


class Disk:
    """Record of the operations below a folder.

    Attributes:
        operations: operations so far.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.operations: list[Operation] = []
        self._names: dict[str, int] = {}
        self._contents: dict[int, bytes] = {}

    @contextlib.contextmanager
    def recording(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Records the operations in the block."""
        fsync = os.fsync

        def sync(descriptor: int) -> None:
            fsync(descriptor)
            if (path := self._below(f"/proc/self/fd/{descriptor}", follow=True)) is not None:
                file = self._names.get(path, FOLDER)
                self.operations.append(Operation("sync folder" if file == FOLDER else "sync file", path, file))

        _disks.append(self)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", sync)
            try:
                yield
            finally:
                _disks.remove(self)
        for path, file in self._names.items():
            self._keep(path, file)

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Notes an operation that is about to happen, if it will succeed."""
        path = self._below(arguments[0], arguments[-1] if event in ("os.remove", "os.rmdir") else -1)
        if event in ("os.rename", "os.link"):
            target = self._below(arguments[1])
            if path in self._names and target is not None and (event == "os.rename" or target not in self._names):
                self._keep(target, self._names.get(target, FOLDER))
                file = self._names[path]
                self._names[target] = file
                if event == "os.rename":
                    del self._names[path]
                self.operations.append(Operation("set", target, file, path if event == "os.rename" else None))
        elif path is None:
            return
        elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) and path not in self._names:
            self._set(path, len(self.operations))
        elif event == "os.mkdir" and path and path not in self._names:
            self._set(path, FOLDER)
        elif event in ("os.remove", "os.rmdir") and path in self._names:
            self._keep(path, self._names.pop(path))
            self.operations.append(Operation("drop", path))

    def _set(self, path: str, file: int) -> None:
        self._names[path] = file
        self.operations.append(Operation("set", path, file))

    def _keep(self, path: str, file: int) -> None:
        """Keeps the content of a file that is about to lose its name. Files are written once."""
        if file != FOLDER:
            with contextlib.suppress(FileNotFoundError):
                self._contents[file] = (self.root / path).read_bytes()

    def _below(self, path: Any, folder: int = -1, follow: bool = False) -> str | None:
        if isinstance(path, int):
            return None
        name = os.fsdecode(path)
        if isinstance(folder, int) and folder >= 0 and not name.startswith("/"):
            name = f"{Path(f'/proc/self/fd/{folder}').readlink()}/{name}"
        if follow:
            name = str(Path(name).readlink())
        if name == str(self.root):
            return ""
        return name.removeprefix(f"{self.root}/") if name.startswith(f"{self.root}/") else None

    def states(self, forget: Callable[[Operation], bool] = lambda _: False) -> Iterator[State]:
        """Yields the folders that a loss of power could leave, each once for the first and last moment when it could.

        Of the operations that are not certainly on the disk, none, all, only one, or all but one are.

        Args:
            forget: syncs to leave out, to find out whether they are needed.
        """
        operations = [op if not (op.kind.startswith("sync") and forget(op)) else None for op in self.operations]
        for moment in range(len(operations) + 1):
            done = [op for op in operations[:moment] if op is not None]
            synced = {op.file for op in done if op.kind == "sync file"}
            uncertain = [i for i, op in enumerate(done) if not self._is_certain(i, done)]
            subsets = [set(), set(uncertain), *({i} for i in uncertain), *(set(uncertain) - {i} for i in uncertain)]
            seen = set()
            for subset in subsets:
                names = self._apply(op for i, op in enumerate(done) if i in subset or i not in uncertain)
                key = tuple(sorted(names.items()))
                if key in seen:
                    continue
                seen.add(key)
                files = {file for file in names.values() if file != FOLDER}
                for share in (0.0, 0.5, 1.0) if files - synced else (1.0,):
                    contents = {
                        file: content if file in synced else content[: int(len(content) * share)]
                        for file, content in self._contents.items()
                        if file in files
                    }
                    yield State(moment, names, contents)

    @staticmethod
    def _is_certain(index: int, done: list[Operation]) -> bool:
        op = done[index]
        if op.kind.startswith("sync"):
            return True
        folder = op.path.rpartition("/")[0]
        return any(later.kind == "sync folder" and later.path == folder for later in done[index:])

    @staticmethod
    def _apply(operations: Iterable[Operation]) -> dict[str, int]:
        names: dict[str, int] = {}
        for op in operations:
            folder = op.path.rpartition("/")[0]
            if op.kind == "set" and (not folder or names.get(folder) == FOLDER):
                names[op.path] = op.file
                if op.old is not None:
                    names.pop(op.old, None)
            elif op.kind == "drop":
                names.pop(op.path, None)
        # Names in folders that are gone.
        return {
            path: file
            for path, file in names.items()
            if all(str(p) in names or str(p) == "." for p in Path(path).parents)
        }


_disks: list[Disk] = []
_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir"}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _EVENTS and _disks:
        for disk in _disks:
            disk.note(event, arguments)


sys.addaudithook(_hook)
