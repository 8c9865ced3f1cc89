"""Arrow reads through Beam's filesystems."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import Proxy, first
from transforms.storage.arrow_filesystem import arrow_filesystem


@pytest.fixture
def table() -> pa.Table:
    noise = np.random.default_rng(0)
    return pa.table(
        {"small": np.arange(200_000) % 7, "large": noise.normal(size=200_000), "name": [f"{i}" for i in range(200_000)]}
    )


def dataset(root: str, names: list[str], table: pa.Table) -> ds.Dataset:
    filesystem, prefix = arrow_filesystem(root)
    return ds.dataset([f"{prefix}{name}" for name in names], table.schema, "parquet", filesystem)


def parquet(table: pa.Table, rows: int) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=rows, compression="none", use_dictionary=False)
    return buffer.getvalue()


def test_a_dataset_in_a_bucket_is_read(bucket: Bucket, proxy: Proxy, table: pa.Table) -> None:
    for i in range(3):
        bucket.write(f"out/t/{i} ü.parquet", parquet(table.slice(i * 50_000, 50_000), 20_000))
    proxy.fail = first(1, 503)
    names = [f"t/{i} ü.parquet" for i in range(3)]
    found = dataset(bucket / "out", names, table).to_table()
    assert found.equals(table.slice(0, 150_000))


def test_a_column_is_read_without_the_others(bucket: Bucket, proxy: Proxy, table: pa.Table) -> None:
    content = parquet(table, 100_000)
    bucket.write("out/t.parquet", content)
    whole = dataset(bucket / "out", ["t.parquet"], table)
    assert whole.to_table(["large"])["large"].equals(table["large"])
    assert 200_000 * 8 < proxy.sent < 0.75 * len(content)


def test_a_missing_object_is_an_os_error(bucket: Bucket, table: pa.Table) -> None:
    with pytest.raises(OSError, match="there is no such object"):
        dataset(bucket / "out", ["no.parquet"], table).to_table()


def test_a_local_folder_is_read(tmp_path, table: pa.Table) -> None:
    (tmp_path / "t.parquet").write_bytes(parquet(table, 100_000))
    found = dataset(str(tmp_path), ["t.parquet"], table)
    assert found.to_table().equals(table)
