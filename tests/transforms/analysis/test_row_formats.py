"""Every format contains the rows of the query."""

from __future__ import annotations

import csv
import io
import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.analysis.queries import QueryError, select
from transforms.analysis.row_formats import plain_rows, write_csv, write_json, write_parquet
from transforms.analysis.text_tables import NOTHING, aligned, cell, table_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | TEXT,
            "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
            "real": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "narrow": st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
            "flags": st.none() | st.lists(TEXT, max_size=3),
            "yes": st.none() | st.booleans(),
        }
    ),
    max_size=10,
)
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("whole", pa.int64()),
        ("real", pa.float64()),
        ("narrow", pa.float32()),
        ("flags", pa.list_(pa.string())),
        ("yes", pa.bool_()),
    ]
)


def query_rows(table: pa.Table):
    connection = duckdb.connect()
    connection.register("rows", table)
    return select(connection, "FROM rows")


@given(rows=ROWS)
def test_json_contains_the_rows(rows):
    out = io.StringIO()
    write_json(query_rows(pa.Table.from_pylist(rows, SCHEMA)), out)
    written = json.loads(out.getvalue())
    # The shortest number that identifies a float32 is another number in float64.
    assert pa.Table.from_pylist(written, SCHEMA).to_pylist() == rows
    assert out.getvalue().count("\n") == len(rows) + (2 if rows else 1)


@given(rows=ROWS)
def test_csv_contains_the_rows(rows):
    out = io.StringIO()
    write_csv(query_rows(pa.Table.from_pylist(rows, SCHEMA)), out)
    written = list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))
    assert [row["text"] for row in written] == [row["text"] or "" for row in rows]
    for name in ("whole", "real", "flags", "yes"):
        assert [json.loads(row[name] or "null") for row in written] == [row[name] for row in rows]


@given(rows=ROWS)
def test_parquet_contains_the_rows(rows):
    out = io.BytesIO()
    write_parquet(query_rows(pa.Table.from_pylist(rows, SCHEMA)), out)
    assert pq.read_table(out).to_pylist() == rows


@given(rows=ROWS)
def test_a_table_has_a_line_for_every_row(rows):
    assert table_text(pa.Table.from_pylist(rows, SCHEMA)).count("\n") == len(rows) + 2


def test_floats_of_32_bits_are_written_with_their_shortest_digits():
    table = pa.table(
        {"score": pa.array([4.2, None], pa.float32()), "all": pa.array([[4.2, 0.1], []], pa.list_(pa.float32()))}
    )
    assert list(plain_rows(table)) == [(4.2, [4.2, 0.1]), (None, [])]


def test_values_that_json_lacks_become_text_or_null():
    rows = json_of(
        "SELECT 'nan'::double AS a, ['inf'::float] AS b, DATE '2026-01-02' AS c, 'x'::BLOB AS d, 1.50 AS e, "
        "sum(2) AS f, MAP {'k': 1} AS g, INTERVAL 1 DAY AS h"
    )
    assert {**rows[0], "h": str(rows[0]["h"])} == {
        "a": None,
        "b": [None],
        "c": "2026-01-02",
        "d": "eA==",
        "e": 1.5,
        "f": 2,
        "g": [["k", 1]],
        "h": rows[0]["h"],
    }


def json_of(sql: str) -> list[dict]:
    out = io.StringIO()
    write_json(select(duckdb.connect(), sql), out)
    return json.loads(out.getvalue())


def test_a_type_that_parquet_lacks_is_an_error():
    with pytest.raises(QueryError, match="Parquet has no such type; cast the column"):
        write_parquet(select(duckdb.connect(), "SELECT INTERVAL 1 DAY AS a"), io.BytesIO())


@pytest.mark.parametrize(("write", "out"), [(write_json, io.StringIO()), (write_parquet, io.BytesIO())])
def test_two_columns_with_one_name_are_an_error(write, out):
    with pytest.raises(QueryError, match="two columns are named a; rename one with AS"):
        write(select(duckdb.connect(), "SELECT 1 AS a, 2 AS b, 3 AS a"), out)
    assert not out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NOTHING),
        ([], NOTHING),
        (4.0, "4.0"),
        (1 / 3, "0.3333"),
        (1e-9, "1e-09"),
        (1234567.25, "1234567.25"),
        (0.0, "0.0"),
        (-2.5, "-2.5"),
        (float("nan"), "nan"),
        (["a", "b"], "a, b"),
        ({"a": 1.0}, "a 1.0"),
        (True, "True"),
        ("", ""),
    ],
)
def test_cells_are_formatted_for_people(value, text):
    assert cell(value) == text


def test_columns_are_aligned_with_wide_combining_and_control_characters():
    lines = aligned(["id", "score"], [["名前.wav", "1.0"], ["e\u0301", "2.0"], ["two\nlines", "3.0"]]).splitlines()
    assert lines[2] == "名前.wav      1.0"
    assert lines[3] == "e\u0301" + " " * 13 + "2.0"
    assert lines[4] == "two\\nlines    3.0"
