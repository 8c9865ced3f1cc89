"""The layout rules that code can check: the order of imports, the size of folders and modules, the versions of the locks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# A module imports from its own folder and from those above it in this list. `pipelines` alone stands for the commands.
ORDER = [
    "model",
    "model.networks",
    "model.inference",
    "model.evaluation",
    "model.training",
    "transforms",
    "transforms.storage",
    "transforms.decoders",
    "transforms.duplicates",
    "transforms.audio",
    "transforms.corpus",
    "transforms.output",
    "transforms.runs",
    "transforms.scoring",
    "transforms.synthesis",
    "transforms.evaluation",
    "transforms.curation",
    "transforms.analysis",
    "pipelines.common",
    "pipelines.scoring",
    "pipelines.filtering",
    "pipelines.experiments",
    "pipelines.service",
    "pipelines",
    "audiosieve",
]
PACKAGES = ("model", "transforms", "pipelines")
# Of this repository, but not of what is installed.
NOT_INSTALLED = {"dataflow", "tests", "setup"}
MOST_FILES = 16
MOST_LINES = 400

PYTHON_FILES = sorted(
    [*ROOT.glob("*.py"), *(path for top in (*PACKAGES, "dataflow", "tests") for path in (ROOT / top).rglob("*.py"))]
)
INSTALLED = [path for path in PYTHON_FILES if path.relative_to(ROOT).parts[0] not in {"setup.py", "dataflow", "tests"}]
CODE_FOLDERS = sorted({path.parent for path in INSTALLED} | {p.parent for p in PYTHON_FILES if "dataflow" in p.parts})


def name_of(path: Path) -> str:
    """Path relative to the checkout, as tests and failures name it."""
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, wherever in it, also for type checkers only.

    `from a import b` gives `a.b`, whether `b` is a module or a name in one.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(path)}:{node.lineno}: a relative import; name the module in full"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def folder_of(dotted: str) -> str:
    """The entry of `ORDER` for a module of ours: its package and, if it lies in one, the folder below that."""
    package, *rest = dotted.split(".")
    return f"{package}.{rest[0]}" if rest and (ROOT / package / rest[0]).is_dir() else package


def dotted_name(path: Path) -> str:
    """`a.b.c` for a/b/c.py, and `a.b` for a/b/__init__.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_every_folder_of_the_packages_has_a_place_in_the_order() -> None:
    assert {folder_of(dotted_name(path)) for path in INSTALLED} <= set(ORDER)


@pytest.mark.parametrize("path", INSTALLED, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    own = folder_of(dotted_name(path))
    for line, imported in imports_of(path):
        top = imported.partition(".")[0]
        place = f"{name_of(path)}:{line}: {own} imports {imported}"
        assert top not in NOT_INSTALLED, place
        assert (own.partition(".")[0], top) != ("model", "apache_beam"), place
        if top in (*PACKAGES, "audiosieve"):
            assert ORDER.index(folder_of(imported)) <= ORDER.index(own), place


@pytest.mark.parametrize("folder", CODE_FOLDERS, ids=name_of)
def test_no_code_folder_has_too_many_files(folder: Path) -> None:
    files = [path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    assert len(files) <= MOST_FILES, f"{name_of(folder)} has {len(files)} files: divide it"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=name_of)
def test_no_module_is_too_long(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{name_of(path)} has {lines} lines: divide it"


def test_the_versions_of_the_locks_are_the_same() -> None:
    pins: dict[str, str] = {}
    for lock in sorted(path.name for path in ROOT.glob("requirements*.lock")):
        for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
            name, _, pin = line.partition("==")
            if pin and "python_full_version" not in pin:
                # What one lock installs everywhere, another one may only need on one platform.
                version = pin.partition(";")[0].strip()
                assert pins.setdefault(name, version) == version, f"{name} in {lock}"
    assert pins["apache-beam"].startswith("2.77")
