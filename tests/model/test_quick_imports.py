"""Imports without garbage collection."""

from __future__ import annotations

import gc

import pytest

from model.quick_imports import quick_imports


def test_collection_is_off_in_the_block_and_on_after_it():
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collection_is_on_after_an_import_that_failed():
    with pytest.raises(ImportError), quick_imports():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


def test_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with quick_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_later_collections_leave_out_what_exists():
    before = gc.get_freeze_count()
    kept = [[] for _ in range(1000)]
    with quick_imports():
        kept += [[] for _ in range(1000)]
    assert gc.get_freeze_count() >= before + 2000
    gc.unfreeze()
