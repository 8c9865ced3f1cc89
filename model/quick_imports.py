"""Imports of many modules without garbage collection, which finds nothing in them and takes a fifth of their time."""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Stops the garbage collection of this process during a block of imports.

    Afterwards, what exists is left out of later collections, because the objects of modules live as long as the process. The
    collection at the end of the process takes all, because DuckDB reports objects that are left then.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()
            atexit.register(gc.unfreeze)
