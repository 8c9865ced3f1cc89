"""The filter of the Python API keeps what the command keeps."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from tests.support.command import audiosieve
from tests.support.outputs import scored, write_output
from transforms.curation.kept_utterances import kept_utterances
from transforms.curation.rules import RuleError
from transforms.output.results import Results, open_results


@pytest.fixture
def run(tmp_path) -> Results:
    utterances = [scored("a", 2.5), scored("b", 1.5), scored("c", 4.0, clipped_ratio=0.5), scored("d", 4.5)]
    return open_results(str(write_output(tmp_path / "out", utterances)))


def ids(table) -> list[str]:
    return table["utterance_id"].to_pylist()


def test_without_rules_the_suggested_ones_are_used_as_by_the_command(run, tmp_path):
    kept = kept_utterances(run)
    audiosieve("filter", run.root, "--output", tmp_path / "keep")
    assert ids(kept) == ["d", "a"]
    of_command = pq.read_table(tmp_path / "keep/kept.parquet").drop_columns(["trimmed"])
    assert kept.sort_by("utterance_id").to_pylist() == of_command.to_pylist()


def test_rules_or_a_condition_can_be_given(run, tmp_path):
    assert ids(kept_utterances(run, where="score < 4.2")) == ["c", "a", "b"]
    (tmp_path / "rules.yaml").write_text("drop:\n  low: score < 2\n  high: score > 4.2\n")
    assert ids(kept_utterances(run, tmp_path / "rules.yaml")) == ["c", "a"]
    assert ids(kept_utterances(run, str(tmp_path / "rules.yaml"))) == ["c", "a"]
    with pytest.raises(TypeError, match="either rules or where"):
        kept_utterances(run, tmp_path / "rules.yaml", where="score > 2")


def test_bad_rules_are_refused(run, tmp_path):
    with pytest.raises(RuleError, match="unknown column 'scoer'"):
        kept_utterances(run, where="scoer > 2")
    with pytest.raises(RuleError, match="cannot read the rules"):
        kept_utterances(run, tmp_path / "none.yaml")
    (tmp_path / "rules.yaml").write_text("label_scales: [pseudo]\ndrop: {low: score < 2}\n")
    with pytest.raises(RuleError, match="the rules are for scores on pseudo"):
        kept_utterances(run, tmp_path / "rules.yaml")
