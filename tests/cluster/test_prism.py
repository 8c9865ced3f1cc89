"""Tests of `audiosieve score` on Prism, Beam's portable runner, in a separate process."""

from __future__ import annotations

import pytest

from tests.support.committed_rows import assert_alike, committed_rows
from tests.support.deployment.cluster import done, score

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_800)]


def test_the_rows_are_those_of_a_local_run(prism, many, local_output, tmp_path):
    done(score(many, tmp_path / "out", *prism.options))
    assert_alike(committed_rows(tmp_path / "out"), committed_rows(local_output))
