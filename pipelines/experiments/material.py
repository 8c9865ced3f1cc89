"""Selection of speech, noise and room responses: shared options, and conditions on columns of a manifest."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.common.arguments import Parser
from pipelines.common.errors import UsageError
from transforms.elements import AudioRef


def add_material_options(parser: Parser) -> None:
    """Adds the options `--speech`, `--noise` and `--where`."""
    add = parser.add_argument
    add("--speech", required=True, help="clean speech: directory, glob or manifest CSV (path, speaker, split, ...)")
    add("--noise", required=True, help="noise: directory, glob or manifest CSV (path, group, split, ...)")
    add(
        "--where",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="use only recordings with this value in a column of the manifest (or COLUMN!=VALUE); may be repeated",
    )


def select_material(refs: Sequence[AudioRef], kind: str, conditions: Sequence[str]) -> list[AudioRef]:
    """Returns the recordings of a kind that meet all conditions.

    Args:
        refs: listed recordings.
        kind: "speech", "noise", "music" or "rir"; compared to the column `kind` of a manifest that has one.
        conditions: conditions COLUMN=VALUE or COLUMN!=VALUE.

    Raises:
        UsageError: a condition is malformed or names a missing column, or no recording meets all conditions.
    """
    selected = [ref for ref in refs if ref.columns.get("kind", kind) == kind]
    if archive := next((ref for ref in selected if ref.archive), None):
        raise UsageError(
            f"{archive.uri} is an archive; synthesis draws recordings at random, which needs single files: unpack it"
        )
    for condition in conditions:
        parts = re.fullmatch(r"(\w+)(!?=)(.*)", condition)
        if not parts:
            raise UsageError(f"--where {condition!r} is not COLUMN=VALUE or COLUMN!=VALUE")
        column, operator, value = parts.groups()
        if not any(column in ref.columns for ref in selected):
            raise UsageError(f"--where {condition!r}: the {kind} has no column {column!r}")
        selected = [ref for ref in selected if (ref.columns.get(column) == value) == (operator == "=")]
    if not selected:
        after = f" after --where {' --where '.join(conditions)}" if conditions else ""
        raise UsageError(f"the {kind} has no recordings{after}")
    return selected
