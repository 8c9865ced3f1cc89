"""Rules on duplicates: which utterances they choose among, what is written, and outputs without the data."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.support.outputs import scored, write_output
from transforms.curation.kept_utterances import kept_utterances
from transforms.curation.rules import Rule, RuleError
from transforms.curation.selection import Selection
from transforms.duplicates.fingerprint import FRAME_BITS
from transforms.elements import ScoredUtterance
from transforms.output.results import Results, open_results

DUPLICATE = Rule("duplicate", "duplicate_of IS NOT NULL")
COPY = Rule("copy", "copy_of IS NOT NULL")
BAD_MIDDLE = [4.0] * 200 + [1.0] * 60 + [3.7] * 200


def item(name: str, score, samples: str, sound: int | None, **options) -> ScoredUtterance:
    """An utterance of 4 s with some samples, and a sound that others may have too."""
    made = scored(name, score, **options)
    random = np.random.default_rng(sound)
    frames, codes = np.sort(random.choice(230, 28, replace=False)), random.integers(0, 1 << 16, 28)
    fingerprint = None if sound is None else tuple((codes << FRAME_BITS | frames).tolist())
    utterance = dataclasses.replace(made.utterance, content_hash=samples, fingerprint=fingerprint)
    return dataclasses.replace(made, utterance=utterance)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Two exact copies `a1` and `a2`, the same recording `b` with a better score that is clipped, and another, `c`."""
    items = [
        item("a1", 3.0, "s", 1, columns={"speaker": "x"}),
        item("a2", 3.0, "s", 1, columns={"speaker": "y"}),
        item("b", 4.0, "t", 1, clipped_ratio=0.5, columns={"speaker": "x"}),
        item("c", 2.0, "u", 2, columns={"speaker": "x"}),
    ]
    return open_results(str(write_output(tmp_path / "out", items, carry=["speaker"])))


def filtered(results: Results, scratch: Path, *rules: Rule, trim: bool = False) -> tuple[list[str], dict[str, tuple]]:
    """Kept utterances, and rules and replacement of each dropped one."""
    with Selection(results, scratch) as selection:
        if trim:
            selection.trim()
        selection.apply_rules(rules)
        count = selection.write_dropped(scratch / "dropped.parquet")
        assert count == selection.dropped().utterances
        rows = pq.read_table(scratch / "dropped.parquet").to_pylist()
        selection.write_kept(scratch / "kept.parquet")
        kept = pq.read_table(scratch / "kept.parquet")["utterance_id"].to_pylist()
    return kept, {row["utterance_id"]: (row["rules"], row["duplicate_of"]) for row in rows}


def test_the_best_of_a_recording_is_kept_and_named(results, tmp_path):
    kept, dropped = filtered(results, tmp_path, DUPLICATE)
    assert kept == ["b", "c"]
    assert dropped == {"a1": (["duplicate"], "b"), "a2": (["duplicate"], "b")}


def test_the_choice_is_among_those_that_other_rules_keep(results, tmp_path):
    kept, dropped = filtered(results, tmp_path, Rule("clipped", "clipped_ratio > 0.1"), DUPLICATE)
    assert kept == ["a1", "c"]
    assert dropped == {"b": (["clipped"], None), "a2": (["duplicate"], "a1")}


def test_copies_only(results, tmp_path):
    kept, dropped = filtered(results, tmp_path, COPY)
    assert (kept, dropped) == (["a1", "b", "c"], {"a2": (["copy"], "a1")})


def test_a_condition_may_be_narrower(results, tmp_path):
    rule = Rule("duplicate", "duplicate_of IS NOT NULL AND speaker = 'y'")
    assert filtered(results, tmp_path, rule)[1] == {"a2": (["duplicate"], "b")}


def test_without_such_a_rule_nothing_is_named(results, tmp_path):
    assert filtered(results, tmp_path, Rule("low", "score < 2.5"))[1] == {"c": (["low"], None)}


def test_where_of_the_python_api(results):
    table = kept_utterances(results, where="score > 2.5 AND Duplicate_Of IS NULL")
    assert table["utterance_id"].to_pylist() == ["b"]
    assert table.schema.names == results.dataset("utterances").schema.names


def test_pieces_of_duplicates_are_dropped_with_them(tmp_path):
    items = [item("a", BAD_MIDDLE, "s", 1), item("b", BAD_MIDDLE, "s", 1), item("c", BAD_MIDDLE, "t", 2)]
    results = open_results(str(write_output(tmp_path / "out", items)))
    kept, dropped = filtered(results, tmp_path, DUPLICATE, trim=True)
    assert len(kept) == 4
    assert {name[0] for name in kept} == {"a", "c"}
    rows = pq.read_table(tmp_path / "kept.parquet").to_pylist()
    assert all(row["content_hash"] is None and row["fingerprint"] is None for row in rows)
    assert {(name[0], kept_id) for name, (rules, kept_id) in dropped.items() if rules == ["duplicate"]} == {("b", "a")}


def test_a_trimmed_utterance_counts_by_its_kept_pieces(tmp_path):
    """All pieces of the better one are dropped by another rule, so that it replaces nothing."""
    items = [item("a", BAD_MIDDLE, "s", 1), item("b", [3.5] * 460, "t", 1)]
    results = open_results(str(write_output(tmp_path / "out", items)))
    kept, _ = filtered(results, tmp_path, Rule("pieces", "trimmed"), DUPLICATE, trim=True)
    assert kept == ["b"]


def test_an_output_of_an_earlier_version_is_refused_only_for_these_rules(results, tmp_path):
    (path,) = Path(results.root, "utterances").glob("*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["content_hash", "fingerprint"]), path)
    old = open_results(results.root)
    assert filtered(old, tmp_path, Rule("low", "score < 2.5"))[0] == ["a1", "a2", "b"]
    with pytest.raises(RuleError) as error:
        filtered(old, tmp_path, Rule("low", "score < 2.5"), DUPLICATE)
    assert str(error.value) == (
        "rule 'duplicate': needs the column content_hash, which 4 of 4 utterances lack, because an earlier version of "
        "audiosieve scored them; score the corpus into a new output, or remove the rule"
    )


def test_a_column_of_the_corpus_keeps_its_name(tmp_path):
    items = [item("a", 3.0, "s", 1, columns={"duplicate_of": "x"}), item("b", 3.0, "s", 1)]
    results = open_results(str(write_output(tmp_path / "out", items, carry=["duplicate_of"])))
    assert filtered(results, tmp_path, DUPLICATE) == (["b"], {"a": (["duplicate"], None)})
    assert filtered(results, tmp_path, COPY) == (["a"], {"b": (["copy"], "a")})


def test_a_wrong_condition_is_refused(results, tmp_path):
    with pytest.raises(RuleError, match=r"rule 'd': unknown column 'duplicate_off' .did you mean duplicate_of"):
        filtered(results, tmp_path, Rule("d", "duplicate_off IS NOT NULL"))
