"""Polars, DuckDB, pandas and Arrow read the same types and values from the output."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.support.command import Output
from transforms.schemas import SCORE_TABLES

pytestmark = pytest.mark.slow
WORD = pa.dictionary(pa.int8(), pa.string())
# Types of each reader.
POLARS = {
    pa.bool_(): polars.Boolean(),
    pa.string(): polars.String(),
    pa.int32(): polars.Int32(),
    pa.int64(): polars.Int64(),
    pa.float32(): polars.Float32(),
    pa.float64(): polars.Float64(),
    WORD: polars.Categorical(),
    pa.list_(pa.string()): polars.List(polars.String()),
    pa.list_(pa.int64()): polars.List(polars.Int64()),
}
DUCKDB = {
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    WORD: "VARCHAR",
    pa.list_(pa.string()): "VARCHAR[]",
    pa.list_(pa.int64()): "BIGINT[]",
}
PANDAS = {
    pa.bool_(): "bool",
    pa.string(): "str",
    pa.int32(): "int32",
    pa.int64(): "int64",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.list_(pa.string()): "object",
    pa.list_(pa.int64()): "object",
}
# Physical and logical types that Spark, BigQuery and others accept without a conversion.
PLAIN = {
    ("BOOLEAN", "NONE"),
    ("BYTE_ARRAY", "STRING"),
    ("INT32", "NONE"),
    ("INT32", "INT"),
    ("INT64", "NONE"),
    ("INT64", "INT"),
    ("FLOAT", "NONE"),
    ("DOUBLE", "NONE"),
}


@pytest.fixture(scope="module", params=SCORE_TABLES)
def table(request: pytest.FixtureRequest, sample_run: Output) -> tuple[str, Path]:
    """Returns the name and the folder of a table."""
    return request.param, sample_run.root / request.param


def plain(value: Any) -> Any:
    """Returns a value of any reader as plain Python: lists for arrays, None for missing values."""
    if isinstance(value, (list, np.ndarray, polars.Series)):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else value


def rows(found: list[dict]) -> list[str]:
    return sorted(str({name: plain(value) for name, value in row.items()}) for row in found)


def expected(name: str, folder: Path) -> list[str]:
    return rows(ds.dataset(folder, SCORE_TABLES[name]).to_table().to_pylist())


def test_polars_reads_the_same(table: tuple[str, Path]) -> None:
    name, folder = table
    frame = polars.read_parquet(folder / "*.parquet")
    assert dict(frame.schema) == {field.name: POLARS[field.type] for field in SCORE_TABLES[name]}
    assert rows(frame.to_dicts()) == expected(name, folder)


def test_duckdb_reads_the_same(table: tuple[str, Path]) -> None:
    name, folder = table
    connection = duckdb.connect()
    found = connection.execute(f"DESCRIBE FROM '{folder}/*.parquet'").fetchall()
    assert {row[0]: row[1] for row in found} == {field.name: DUCKDB[field.type] for field in SCORE_TABLES[name]}
    names = [row[0] for row in found]
    found = connection.execute(f"FROM '{folder}/*.parquet'").fetchall()
    assert rows([dict(zip(names, row, strict=True)) for row in found]) == expected(name, folder)


def test_pandas_reads_the_same(table: tuple[str, Path]) -> None:
    name, folder = table
    frame = pandas.read_parquet(folder)
    assert list(frame.columns) == SCORE_TABLES[name].names
    for field in SCORE_TABLES[name]:
        if not field.nullable:  # pandas has other types for columns with missing values
            assert str(frame.dtypes[field.name]) == PANDAS[field.type]
    assert rows(frame.to_dict("records")) == expected(name, folder)


def test_types_and_layout_are_common_ones(table: tuple[str, Path]) -> None:
    name, folder = table
    for path in folder.iterdir():
        file = pq.ParquetFile(path)
        for place, column in enumerate(file.schema):
            assert (column.physical_type, column.logical_type.type) in PLAIN
            assert "UINT" not in str(column.converted_type)
            field = SCORE_TABLES[name].field(column.path.partition(".")[0])
            assert column.path == (f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name)
            for group in range(file.num_row_groups):
                assert file.metadata.row_group(group).column(place).compression == "ZSTD"
        for field in file.schema_arrow:
            kind = pa.list_(field.type.value_type) if pa.types.is_list(field.type) else field.type
            assert kind == SCORE_TABLES[name].field(field.name).type
            assert field.nullable == SCORE_TABLES[name].field(field.name).nullable


def test_the_rows_of_a_run_are_sorted_by_score(sample_run: Output) -> None:
    files = [pq.ParquetFile(path) for path in (sample_run.root / "utterances").iterdir()]
    assert sum(file.metadata.num_rows for file in files) == 8
    for file in files:
        score = file.read()["score"].to_pylist()
        assert score == sorted(score)
        place = file.schema_arrow.names.index("score")
        for group in range(file.num_row_groups):
            assert file.metadata.row_group(group).column(place).statistics.has_min_max
