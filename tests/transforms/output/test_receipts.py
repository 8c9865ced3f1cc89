"""A receipt has the files and the summed work of the bundles that count."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from transforms.output.receipts import GatherReceipt, Receipt
from transforms.telemetry import Work


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], Receipt((), Work())),
        (["b", "a"], Receipt(("a", "b"), Work())),
        ([Work(batches=1).sums(), "a", Work(batches=2, skipped=3).sums()], Receipt(("a",), Work(batches=3, skipped=3))),
    ],
    ids=["nothing", "paths", "both"],
)
def test_a_pipeline_writes_one_receipt_even_without_output(tmp_path, items, expected):
    place = str(tmp_path / "receipt")
    with beam.Pipeline(runner=FnApiRunner()) as root:
        root | beam.Create(items) | GatherReceipt() | beam.Map(Receipt.write, place)
    assert Receipt.read(place) == expected
