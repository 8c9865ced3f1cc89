"""Items are computed ahead, in order, within a limit, and with their errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.scoring.work_ahead import work_ahead


def size(item: int) -> int:
    return item


@given(items=st.lists(st.integers(0, 9), max_size=30), limit=st.integers(1, 20))
def test_all_items_come_in_order(items, limit):
    assert list(work_ahead(iter(items), size, limit)) == items


def test_an_error_comes_after_the_items_before_it():
    def failing() -> Iterator[int]:
        yield from (1, 2, 3)
        raise OSError("the disk is full")

    results = work_ahead(failing(), size, 100)
    assert [next(results) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(OSError, match="the disk is full"):
        next(results)


def test_the_thread_waits_at_the_limit():
    computed = []
    reached = threading.Event()

    def items() -> Iterator[int]:
        for number in range(20):
            computed.append(number)
            if number == 4:
                reached.set()
            yield 1

    results = work_ahead(items(), size, 3)
    next(results)
    # One item is used, and at most three wait. The thread computes the fifth item only when one more is used.
    assert not reached.wait(0.2)
    next(results)
    next(results)
    assert reached.wait(10)
    assert len(list(results)) == 17
    assert computed == list(range(20))


def test_an_abandoned_iterator_ends_its_thread():
    before = threading.active_count()
    results = work_ahead(iter(range(1_000_000)), size, 5)
    next(results)
    assert threading.active_count() == before + 1
    results.close()
    assert threading.active_count() == before
