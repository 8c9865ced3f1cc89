"""A selection: what rules, a budget and trimming keep and drop, counted and written."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.outputs import rejected, scored, write_output
from transforms.curation.rules import Rule, RuleError
from transforms.curation.selection import Amount, Selection, parse_length
from transforms.output.results import Results, open_results

BAD_MIDDLE = [4.0] * 200 + [1.0] * 60 + [4.0] * 200


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    """Utterances of 10 s with scores 4, 3, 2 and 1 of two speakers, one of a third speaker with an anomaly, and a reject."""
    utterances = [
        scored(f"u{score}", float(score), duration_s=10.0, columns={"speaker": "ab"[score % 2]})
        for score in range(1, 5)
    ]
    utterances.append(scored("v", BAD_MIDDLE, columns={"speaker": "c"}))
    root = tmp_path_factory.mktemp("selection") / "out"
    return open_results(str(write_output(root, utterances, [rejected("x")], carry=["speaker"])))


@pytest.fixture
def selection(results, tmp_path):
    with Selection(results, tmp_path) as selection:
        yield selection


def kept(selection: Selection) -> list[str]:
    return selection.kept_table()["utterance_id"].to_pylist()


def rows(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def test_without_rules_all_are_kept_the_best_first(selection):
    selection.apply_rules([])
    assert kept(selection) == ["u4", "v", "u3", "u2", "u1"]
    assert selection.kept() == selection.scored() == Amount(5, 47.376)
    assert selection.dropped() == Amount(0, 0.0)
    assert selection.rule_counts() == []
    assert selection.reject_counts() == {"corrupt": 1}


def test_rules_and_budgets_are_counted(selection):
    selection.apply_rules([Rule("r", "score < 2 OR utterance_id IN ('u4', 'v')"), Rule("s", "score > 3.9")])
    selection.keep_best(10, "budget")
    counts = {count.name: (count.matches, count.alone) for count in selection.rule_counts()}
    assert counts == {
        "r": (Amount(3, 27.376), Amount(2, 17.376)),
        "s": (Amount(1, 10.0), Amount(0, 0.0)),
        "budget": (Amount(1, 10.0), Amount(1, 10.0)),
    }
    assert kept(selection) == ["u3"]
    assert selection.kept() == Amount(1, 10.0)
    assert selection.kept().hours == pytest.approx(10 / 3600)


def test_a_budget_after_another_keeps_less(selection):
    selection.apply_rules([], balance="speaker")
    selection.keep_best(38, "quantile")
    selection.keep_best(18, "budget")
    assert [(count.name, count.matches.utterances) for count in selection.rule_counts()] == [
        ("quantile", 1),
        ("budget", 2),
    ]
    assert kept(selection) == ["u4", "v"]


def test_kept_and_dropped_are_written(selection, results, tmp_path):
    selection.apply_rules([Rule("low", "score < 2.5"), Rule("u1", "utterance_id = 'u1'")])
    assert selection.write_kept(tmp_path / "kept.parquet") == 3
    assert selection.write_dropped(tmp_path / "dropped.parquet") == 2
    scores = {row["utterance_id"]: row for row in results.dataset("utterances").to_table().to_pylist()}
    assert rows(tmp_path / "kept.parquet") == [scores[name] | {"trimmed": False} for name in ("u3", "u4", "v")]
    assert [(row["utterance_id"], row["score"], row["rules"]) for row in rows(tmp_path / "dropped.parquet")] == [
        ("u1", 1.0, ["low", "u1"]),
        ("u2", 2.0, ["low"]),
    ]
    for name in ("kept", "dropped"):
        metadata = pq.read_schema(tmp_path / f"{name}.parquet").metadata
        assert metadata[b"audiosieve.model_id"].decode() == results.model_id
        assert metadata[b"audiosieve.label_scale"].decode() == results.label_scale.name


def test_rules_decide_on_trimmed_spans(selection, tmp_path):
    selection.trim()
    selection.apply_rules([Rule("low", "score < 3.5")])
    assert sorted(kept(selection)) == ["u4", "v#0.000-3.100", "v#4.288-7.376"]
    assert [(count.name, count.matches.utterances) for count in selection.rule_counts()] == [("trim", 1), ("low", 3)]
    assert selection.dropped().utterances == selection.write_dropped(tmp_path / "dropped.parquet") == 4
    (removed,) = (row for row in rows(tmp_path / "dropped.parquet") if row["rules"] == ["trim"])
    assert removed["start_s"] == pytest.approx(3.1)
    assert removed["score"] is None
    total = selection.kept().seconds + selection.dropped().seconds
    assert total == pytest.approx(selection.scored().seconds)


def test_a_bad_rule_or_group_is_named(selection):
    rules = [Rule(f"r{number}", f"score < {number}") for number in range(3)]
    with pytest.raises(RuleError, match="rule 'r3': unknown column 'scor'"):
        selection.apply_rules([*rules, Rule("r3", "scor < 1")])
    with pytest.raises(RuleError, match="--balance: unknown column 'speakr'"):
        selection.apply_rules(rules, balance="speakr")


def test_a_large_machine_leaves_each_thread_its_memory(results, tmp_path):
    for threads, used in ((64, 4), (2, 2)):
        with Selection(results, tmp_path, threads=threads) as selection:
            selection.apply_rules([Rule("threads", f"current_setting('threads')::INTEGER = {used}")])
            assert selection.kept().utterances == 0


def test_a_corpus_that_is_gone_is_known_by_its_name_and_ids(tmp_path):
    for source, utterance_id, kind in [
        ("/gone/corpus.csv", "a.wav", ("csv", True)),
        ("/gone/corpus", "a.wav", ("paths", False)),
        ("/gone/corpus", "u1", ("csv", True)),
    ]:
        root = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        results = open_results(
            str(write_output(root, [scored(utterance_id, 4.0, uri="/gone/corpus/a.wav")], source=source))
        )
        with Selection(results, tmp_path) as selection:
            found = selection.source_kind()
            assert (found.format, found.has_spans) == kind


@pytest.mark.parametrize(("text", "seconds"), [("500h", 1_800_000), ("1.5 h", 5_400), (".5m", 30), (" 30s ", 30)])
def test_lengths_of_time(text, seconds):
    assert parse_length(text) == seconds


@pytest.mark.parametrize("text", ["", "500", "h", "-3h", "0h", "1d", "1h30m", "nanh", "1e3h"])
def test_texts_that_are_no_length_of_time(text):
    with pytest.raises(ValueError, match="is not a length of time"):
        parse_length(text)


def test_a_rule_reads_no_file(selection, tmp_path):
    (tmp_path / "list.csv").write_text("id\nu1\n", encoding="utf-8")
    condition = f"utterance_id IN (SELECT id FROM read_csv('{tmp_path}/list.csv'))"
    with pytest.raises(RuleError, match="list"):
        selection.apply_rules([Rule("listed", condition)])
