"""JSON files of a reproduction, written atomically: an existing file is complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.local_files import write_text

EXPERIMENT, RESULTS, TABLE = "experiment.json", "reproduction.json", "reproduction.md"


def read_json(file: Path) -> dict[str, Any]:
    """Returns the object in a JSON file."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Writes an object to a JSON file; replaces an existing file."""
    write_text(file, json.dumps(value, indent=2, allow_nan=False) + "\n")
