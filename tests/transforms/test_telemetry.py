"""Metrics and sums of work are correct, and log lines are JSON."""

from __future__ import annotations

import json
import logging
from collections import Counter

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from hypothesis import given
from hypothesis import strategies as st

from transforms import telemetry
from transforms.telemetry import LOGGED_REJECTS, LOGGER, NAMESPACE, Work

works = st.builds(
    Work,
    batches=st.integers(0, 9),
    utterances=st.integers(0, 99),
    frames=st.integers(0, 999),
    padded_frames=st.integers(0, 999),
    skipped=st.integers(0, 9),
)


@given(st.lists(works, max_size=6))
def test_work_adds_up_in_any_order(parts):
    total = sum(parts, Work())
    assert total == sum(reversed(parts), Work())
    assert total.frames == sum(part.frames for part in parts)
    assert Work.of_sums(total.sums()) == total
    assert Work.of_sums(total.as_dict() | {"skipped": total.skipped}) == total


def test_without_work_there_is_no_padding_and_no_batch_size():
    assert (Work().padding, Work().batch_size) == (0.0, 0.0)


def test_metrics_are_in_one_namespace():
    def work(value: int) -> int:
        telemetry.count("things", value)
        telemetry.observe("size", value + 0.4)
        return value

    with beam.Pipeline(runner=FnApiRunner()) as root:
        root | beam.Create([1, 2, 3]) | beam.Map(work)
    found = root.result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    assert {metric.key.metric.name: metric.committed for metric in found["counters"]} == {"things": 6}
    ((name, size),) = ((metric.key.metric.name, metric.committed) for metric in found["distributions"])
    assert (name, size.count, size.sum, size.min, size.max) == ("size", 3, 6, 1, 3)


@pytest.fixture
def logged(monkeypatch):
    """Returns the lines that this process logs."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(telemetry.JsonLines().format(record))

    handler = Keep()
    before = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    monkeypatch.setattr(telemetry, "logged_rejects", Counter())
    yield lines
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(before)


def test_log_lines_are_json_with_the_uri_of_the_recording(logged):
    telemetry.log_reject(reason="corrupt", uri='/corpus/"ü".wav', stage="decode")
    (line,) = map(json.loads, logged)
    assert line.pop("time")
    assert line == {
        "level": "warning",
        "event": "reject",
        "reason": "corrupt",
        "uri": '/corpus/"ü".wav',
        "stage": "decode",
    }


def test_only_some_rejects_of_each_reason_are_logged(logged):
    for i in range(3 * LOGGED_REJECTS):
        telemetry.log_reject(reason="corrupt", uri=str(i))
    telemetry.log_reject(reason="silent", uri="x")
    assert len(logged) == LOGGED_REJECTS + 2
    assert "further" in logged[-2]
    assert json.loads(logged[-1])["reason"] == "silent"


def test_events_below_the_level_are_not_logged(logged):
    LOGGER.setLevel(logging.ERROR)
    telemetry.log(logging.INFO, "something")
    assert logged == []
