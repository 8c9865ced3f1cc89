"""Fields of tables."""

from __future__ import annotations

import pyarrow as pa


def table_field(name: str, kind: pa.DataType, description: str, nullable: bool = False) -> pa.Field:
    """Returns a field with its description.

    Args:
        name: name of the column, with the unit.
        kind: type.
        description: description for the documentation.
        nullable: whether values may be null.
    """
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})
