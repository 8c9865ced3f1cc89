"""Carried columns keep the types of the corpus."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.outputs import scored, write_output
from transforms import schemas
from transforms.corpus.carried import carried_fields, carried_value
from transforms.elements import AudioRef, Recording
from transforms.output.results import open_results
from transforms.runs.plan import plan_table, read_plan
from transforms.storage.text_files import cell_text


def refs_of(values: list[Any]) -> list[AudioRef]:
    return [AudioRef(f"u{place}", "/u", 1, "1", {"c": cell_text(value)}) for place, value in enumerate(values)]


def stored(values: list[Any]) -> tuple[pa.Field, list[Any]]:
    refs = refs_of(values)
    (field,) = carried_fields(refs, ["c"])
    if pa.types.is_null(field.type):
        field = schemas.carried_field("c")
    return field, pa.array([carried_value(ref.columns, field) for ref in refs], field.type).to_pylist()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2**62 + 1], pa.int64()),
        ([-(2**63)], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([True, None, False], pa.bool_()),
        (["a", "", None], pa.string()),
        ([["a"], [], None, ["b", None]], pa.list_(pa.string())),
        ([[1, 2], [2.5]], pa.list_(pa.float64())),
        ([{"a": 1, "b c": [True]}, None], pa.struct([("a", pa.int64()), ("b c", pa.list_(pa.bool_()))])),
        ([None, None], pa.string()),
    ],
)
@pytest.mark.parametrize("step", [1, -1], ids=["forwards", "backwards"])
def test_values_of_one_type_keep_it(values, kind, step):
    values = values[::step]
    field, found = stored(values)
    assert field.type == kind
    assert not schemas.is_json(field)
    assert found == values
    assert [type(value) for value in found if not isinstance(value, float)] == [
        type(value) for value, kept in zip(values, found, strict=True) if not isinstance(kept, float)
    ]


def test_objects_with_other_fields_get_nulls():
    field, found = stored([{"a": 1}, {"b": "x"}])
    assert field.type == pa.struct([("a", pa.int64()), ("b", pa.string())])
    assert found == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


@pytest.mark.parametrize(
    "values",
    [
        [1, "1"],
        [True, 1],
        [2**53 + 1, 0.5],
        # A small integer between them changes nothing.
        [2**53 + 1, 1, 0.5],
        [1, 2**53 + 1, 0.5],
        [0.5, 1, -(2**53) - 1],
        [[2**53 + 1, 1], [0.5]],
        [2**63],
        [2**64],
        [{}],
        [{"": 1}],
        [{"a": 1, "A": 2}],
        [[1], {"a": 1}],
        [{str(number): number for number in range(101)}],
        ["text", {"a": None}, None, 12, False, [1.0]],
    ],
)
def test_values_without_a_type_in_common_are_json(values):
    field, found = stored(values)
    assert schemas.is_json(field)
    assert [None if text is None else json.loads(text) for text in found] == values
    for text, value in zip(found, values, strict=True):
        assert text is None or type(json.loads(text)) is type(value)


PLAIN = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=3)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def plain(value: Any) -> Any:
    """A value without nulls in objects, where a missing field and a null are the same."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if plain(item) is not None}
    return [plain(item) for item in value] if isinstance(value, list) else value


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_no_value_is_lost(values):
    field, found = stored(values)
    if schemas.is_json(field):
        found = [None if text is None else json.loads(text) for text in found]
    assert [plain(value) for value in found] == [plain(value) for value in values]


def test_a_plan_keeps_the_difference_between_texts_and_json(tmp_path):
    refs = [AudioRef("u", "/u", 1, "1", {"a": "12", "b": cell_text(12), "c": cell_text(None), "d": ""})]
    pq.write_table(plan_table([(Recording(tuple(refs)),)]), tmp_path / "plan.parquet")
    ((recording,),) = read_plan(str(tmp_path / "plan.parquet"))
    columns = recording.refs[0].columns
    assert {name: (type(value), value) for name, value in columns.items()} == {
        name: (type(value), value) for name, value in refs[0].columns.items()
    }


def test_a_later_run_with_other_types_converts_the_earlier_rows(tmp_path):
    def add(name: str, **columns: Any) -> None:
        cells = {column: cell_text(value) for column, value in columns.items()}
        write_output(tmp_path / "out", [scored(name, 4.0, columns=cells)], carry=["n", "m", "k"])

    def rows() -> dict[str, dict[str, Any]]:
        table = open_results(str(tmp_path / "out")).dataset("utterances").to_table()
        return {row.pop("utterance_id"): row for row in table.select(["utterance_id", "n", "m", "k"]).to_pylist()}

    add("a", n=1, m="x", k=None)
    add("b", n=2, m="y", k=None)
    assert rows()["a"] == {"n": 1, "m": "x", "k": None}
    add("c", n=2.5, m=3, k=None)
    assert rows() == {
        "a": {"n": 1.0, "m": '"x"', "k": None},
        "b": {"n": 2.0, "m": '"y"', "k": None},
        "c": {"n": 2.5, "m": "3", "k": None},
    }
    add("d", n=None, m=None, k=None)
    assert rows()["d"] == {"n": None, "m": None, "k": None}
    assert len(list((tmp_path / "out/utterances").iterdir())) == 4
