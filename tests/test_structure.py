"""The rules of the house that code can check."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# Imports go one way only: audiosieve -> pipelines -> transforms -> model.
FORBIDDEN = {
    "model": {"transforms", "pipelines", "audiosieve", "apache_beam", "dataflow", "tests"},
    "transforms": {"pipelines", "audiosieve", "dataflow", "tests"},
    "pipelines": {"audiosieve", "dataflow", "tests"},
    "dataflow": {"audiosieve", "tests"},
}


def imported(module: Path) -> set[str]:
    """Top-level names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_go_one_way(package: str) -> None:
    modules = list((ROOT / package).rglob("*.py"))
    assert modules
    for module in modules:
        assert not imported(module) & FORBIDDEN[package], module


def test_the_versions_of_the_locks_are_the_same() -> None:
    pins: dict[str, str] = {}
    for lock in sorted(path.name for path in ROOT.glob("requirements*.lock")):
        for line in (ROOT / lock).read_text().splitlines():
            name, _, pin = line.partition("==")
            if pin and "python_full_version" not in pin:
                assert pins.setdefault(name, pin) == pin, f"{name} in {lock}"
    assert pins["apache-beam"].startswith("2.77")
