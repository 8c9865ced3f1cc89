"""Types of the columns of a corpus that are copied into `utterances`."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from transforms.corpus.word_times import word_columns
from transforms.elements import AudioRef
from transforms.schemas import carried_field, is_json
from transforms.storage.text_files import JsonText

# Larger integers are not exact as floats, and integers outside 64 bits have no type in Parquet.
EXACT, _LONGEST = 1 << 53, 1 << 63
# A struct with more fields is a map, whose keys are data.
_MOST_FIELDS = 100
# Number of distinct values that are remembered.
_VALUES = 100_000


class _Mixed(Exception):
    """Values have no type in common."""


# A type: "null", "bool", "int" (exact as a float), "long", "float", "text", ("list", type) or ("struct", {name: type}).
_Kind = Any


def carried_fields(refs: Collection[AudioRef], names: Sequence[str]) -> list[pa.Field]:
    """Returns the types of columns over all utterances.

    Args:
        refs: utterances of the corpus.
        names: names of the columns.

    Returns:
        Fields for `schemas.with_carried`. A column of texts is a text. A column of values of JSON or Parquet has their type, if
        one type holds all of them exactly; otherwise each value is written as JSON. The type is null if there is no value.
        Columns of word times are texts, and so are the columns of archives, which are not known yet.
    """
    return [_field(name, refs) for name in names]


class FieldType:
    """The type of a column, from its values.

    Args:
        name: name of the column.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._kind: _Kind = "null"
        self._known: set[str] = set()
        self.is_mixed = False

    def add(self, text: str | None) -> None:
        """Adds a value, as `cell_text` returns it; None for a missing one."""
        is_json = type(text) is JsonText
        if self.is_mixed or text is None or (is_json and (not text or text in self._known)):
            return
        try:
            self._kind = _joined(self._kind, _kind_of(json.loads(text)) if is_json else "text")
        except _Mixed:
            self.is_mixed = True
        if is_json and len(self._known) < _VALUES:
            self._known.add(text)

    def field(self) -> pa.Field:
        """Returns the field; of the type null if there was no value."""
        if self._kind == "null" and not self.is_mixed:
            return carried_field(self._name, pa.null())
        if self.is_mixed or not _is_storable(self._kind):
            return carried_field(self._name, as_json=True)
        return carried_field(self._name, _type_of(self._kind))


def _field(name: str, refs: Iterable[AudioRef]) -> pa.Field:
    if word_columns([name]):
        return carried_field(name)
    kind = FieldType(name)
    for ref in refs:
        if ref.archive is not None:
            return carried_field(name)
        kind.add(ref.columns.get(name))
        if kind.is_mixed:
            break
    return kind.field()


def joined_field(field: pa.Field, other: pa.Field) -> pa.Field:
    """Returns the field that holds the values of two fields of the same name."""
    if field.type == other.type and is_json(field) == is_json(other):
        return field
    if is_json(field) or is_json(other):
        return carried_field(field.name, as_json=True)
    try:
        kind = _joined(_kind_of_type(field.type), _kind_of_type(other.type))
    except _Mixed:
        return carried_field(field.name, as_json=True)
    return carried_field(field.name, _type_of(kind))


def carried_value(columns: Mapping[str, str], field: pa.Field) -> Any:
    """Returns the value of a column of an utterance, with the type of its field.

    Args:
        columns: columns of the utterance.
        field: one of `carried_fields`.
    """
    text = columns.get(field.name)
    if text is None or (type(text) is JsonText and not text):
        return None
    if is_json(field):
        return str(text) if type(text) is JsonText else json.dumps(text, ensure_ascii=False)
    if pa.types.is_string(field.type):
        return str(text)
    return _value(text)


@functools.lru_cache(maxsize=10_000)
def _value(text: str) -> Any:
    return json.loads(text)


def _kind_of(value: Any) -> _Kind:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        if not -_LONGEST <= value < _LONGEST:
            raise _Mixed
        return "int" if abs(value) <= EXACT else "long"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "list", functools.reduce(_joined, map(_kind_of, value), "null")
    return "struct", {name: _kind_of(item) for name, item in value.items()}


def _joined(kind: _Kind, other: _Kind) -> _Kind:
    if kind == other or other == "null":
        return kind
    if kind == "null":
        return other
    if {kind, other} <= {"int", "long"} if isinstance(kind, str) and isinstance(other, str) else False:
        return "long"
    if isinstance(kind, str) and isinstance(other, str) and {kind, other} == {"int", "float"}:
        return "float"
    if isinstance(kind, str) or isinstance(other, str) or kind[0] != other[0]:
        raise _Mixed
    if kind[0] == "list":
        return "list", _joined(kind[1], other[1])
    names = dict.fromkeys([*kind[1], *other[1]])
    return "struct", {name: _joined(kind[1].get(name, "null"), other[1].get(name, "null")) for name in names}


def _is_storable(kind: _Kind) -> bool:
    """Returns whether Parquet and SQL can hold a type: an empty struct cannot be, nor names that differ only in case."""
    if isinstance(kind, str):
        return True
    if kind[0] == "list":
        return _is_storable(kind[1])
    names = list(kind[1])
    is_valid = 0 < len(names) <= _MOST_FIELDS and all(names) and len({name.lower() for name in names}) == len(names)
    return is_valid and all(map(_is_storable, kind[1].values()))


_TYPES = {
    "null": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
}


def _type_of(kind: _Kind) -> pa.DataType:
    if isinstance(kind, str):
        return _TYPES[kind]
    if kind[0] == "list":
        return pa.list_(_type_of(kind[1]))
    return pa.struct([(name, _type_of(item)) for name, item in kind[1].items()])


def _kind_of_type(kind: pa.DataType) -> _Kind:
    if pa.types.is_list(kind):
        return "list", _kind_of_type(kind.value_type)
    if pa.types.is_struct(kind):
        return "struct", {field.name: _kind_of_type(field.type) for field in kind}
    return {pa.bool_(): "bool", pa.int64(): "long", pa.float64(): "float"}.get(kind, "text")
