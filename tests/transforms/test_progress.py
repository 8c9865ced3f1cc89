"""Progress lines of long work."""

from __future__ import annotations

import pytest

from transforms import progress
from transforms.progress import EVERY_S, Progress


@pytest.fixture
def clock(monkeypatch):
    """Clock that the test sets: `clock[0]` is the time in seconds."""
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


@pytest.mark.usefixtures("clock")
def test_short_work_prints_nothing(capsys):
    counter = Progress("clips are made")
    for _ in range(1_000):
        counter.add()
    assert capsys.readouterr().err == ""


def test_a_line_is_printed_at_most_every_30_seconds(clock, capsys):
    counter = Progress("clips are scored", total=50)
    counter.add(3)
    clock[0] += EVERY_S
    counter.add(4)
    counter.add(5)
    assert capsys.readouterr().err == "7 of 50 clips are scored\n"
    clock[0] += EVERY_S
    counter.add()
    assert capsys.readouterr().err == "13 of 50 clips are scored\n"


def test_without_a_total_only_the_count_is_printed(clock, capsys):
    counter = Progress("clips are made in this process")
    clock[0] += EVERY_S + 1
    counter.add()
    assert capsys.readouterr().err == "1 clips are made in this process\n"
