"""Fixtures of the tests of dataflow/."""

from __future__ import annotations

from tests.pipelines.conftest import sample_run as sample_run
