"""Tests of `audiosieve score` on Prism, Beam's portable runner, in a separate process."""

from __future__ import annotations

import pytest

from tests.support.deployment.cluster import assert_same, done, score

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_800)]


def test_the_rows_are_those_of_a_local_run(prism, many, local_output, tmp_path):
    done(score(many, tmp_path / "out", *prism.options))
    assert_same(tmp_path / "out", local_output)
