"""Files of a reproduction. Each appears as a whole: a file that exists is complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transforms.storage.atomic_files import new_text

EXPERIMENT, RESULTS, TABLE = "experiment.json", "reproduction.json", "reproduction.md"


def read_json(file: Path) -> dict[str, Any]:
    """Returns the object in a JSON file."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Writes an object to a JSON file."""
    write_text(file, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Writes a text file, over an earlier one."""
    with new_text(str(file), overwrite=True) as out:
        out.write(text)
