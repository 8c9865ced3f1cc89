"""Rules: parsed from YAML, checked against an output, and applied to its utterances."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.outputs import scored, write_output
from transforms.curation.decisions import rule_decisions
from transforms.curation.rules import (
    SUGGESTED,
    Rule,
    RuleError,
    check_rules,
    check_scale,
    parse_rules,
    read_rules,
    where,
)
from transforms.output.results import open_results


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    utterances = [
        scored("good", 4.0, columns={"speaker": "7"}),
        scored("bad", 1.5, columns={"speaker": "8"}),
        scored("unknown", 2.9, noise_floor_snr_db=None, columns={"speaker": "nine"}),
        scored("clipped", 3.5, clipped_ratio=0.1),
    ]
    root = write_output(tmp_path_factory.mktemp("rules") / "out", utterances, carry=["speaker"])
    connection = open_results(str(root)).connect()
    connection.execute("SET enable_external_access = false")
    return connection


def dropped(connection, *rules: Rule) -> dict[str, list[str]]:
    check_rules(connection, "utterances", rules)
    rows = connection.execute(f"SELECT utterance_id, rules FROM ({rule_decisions('utterances', rules)})").fetchall()
    return {name: names for name, names in rows if names}


def test_the_suggested_rules_drop_bad_and_clipped_utterances(connection):
    rules = read_rules(SUGGESTED)
    assert rules.rules[0] == Rule("bad_quality", "score < 2.0")
    assert rules.label_scales == ("pesq-wb", "pesq-nb")
    assert dropped(connection, *rules.rules) == {"bad": ["bad_quality"], "clipped": ["clipped"]}


def test_every_rule_that_drops_an_utterance_is_named(connection):
    rules = parse_rules("drop:\n  a: score < 2\n  b: duration_s < 10 and score < 3.2\n  c: 1 > 2", "r.yaml").rules
    assert dropped(connection, *rules) == {"bad": ["a", "b"], "unknown": ["b"]}


def test_a_condition_that_is_null_drops_nothing(connection):
    assert dropped(connection, Rule("noisy", "noise_floor_snr_db < 50")).keys() == {"good", "bad", "clipped"}
    assert dropped(connection, *where("noise_floor_snr_db > 50").rules).keys() == {"good", "bad", "clipped"}
    assert dropped(connection, *where("speaker <> '8'").rules) == {"bad": ["where"]}


def test_rules_may_use_lists_windows_subqueries_and_comments(connection):
    rules = [
        Rule("flagged", "list_contains(flags, 'clipped') -- a comment"),
        Rule("worst", "row_number() OVER (ORDER BY score) = 1"),
        Rule("below", "score < (SELECT avg(score) FROM utterances)"),
        Rule("named", "utterances.utterance_id LIKE 'un%' OR flags = ['x']"),
    ]
    found = dropped(connection, *rules)
    assert found == {"bad": ["worst", "below"], "clipped": ["flagged"], "unknown": ["below", "named"]}


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("scor < 2", "rule 'r': unknown column 'scor' (did you mean score?): scor < 2"),
        ("zzzzzz < 2", "unknown column 'zzzzzz' (columns: utterance_id, uri, "),
        ("score + 1", "is a FLOAT, not true or false: score + 1"),
        ("NULL", "not true or false: NULL"),
        ("score <", "the condition is incomplete: score <"),
        ("score < 2 score", "syntax error"),
        ("score < 'abc'", "Could not convert string 'abc' to FLOAT"),
        ("speaker::INTEGER < 3", "Could not convert string 'nine' to INT"),
        ("lenn(flags) > 1", 'lenn does not exist! Did you mean "len"?'),
        ("avg(score) > 2", "GROUP BY"),
        ("unnest([true, false])", "does not give one value for each utterance"),
        ("score < 2); DROP VIEW utterances; SELECT (1 = 1", "more than one statement"),
        ("(SELECT count(*) FROM read_csv('/etc/hostname')) > 0", "file system operations are disabled"),
    ],
)
def test_a_bad_condition_is_refused_in_a_sentence(connection, condition, message):
    with pytest.raises(RuleError) as caught:
        check_rules(connection, "utterances", [Rule("r", condition)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert connection.execute("SELECT count(*) FROM utterances").fetchall() == [(4,)]


def test_errors_name_the_option_where(connection):
    with pytest.raises(RuleError, match=r"^--where: unknown column 'durations' \(did you mean duration_s"):
        check_rules(connection, "utterances", where("durations > 1").rules)
    with pytest.raises(RuleError, match="--where is empty"):
        where("  ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no `drop`"),
        ("drop: score < 2", "has no `drop`"),
        ("drop: {}", "has no `drop`"),
        ("- a", "has no `drop`"),
        ("drop: {a: score < 2\n", "line 2: not valid YAML"),
        ("drop:\n  a: score < 2\n  a: score < 3", "line 3: not valid YAML .'a' is repeated"),
        ("drop:\n  a: 'x' = speaker", "line 2: not valid YAML"),
        ("drop:\n  a: 3", "the condition of 'a' is 3; must be a text"),
        ("drop:\n  a:", "the condition of 'a' is None"),
        ("drop:\n  no: score < 2", "False is not a valid rule name"),
        ("drop:\n  a b: score < 2", "'a b' is not a valid rule name"),
        ("drop:\n  budget: score < 2", "the rule name 'budget' is reserved"),
        ("drop: {a: score < 2}\nkeeps: {}", r"unknown key 'keeps' \(allowed: drop, label_scales, requires\)"),
        ("drop: {a: score < 2}\nlabel_scale: pesq-wb", r"\(did you mean label_scales\?\)"),
        ("drop: {a: score < 2}\nlabel_scales: [mos]", "must be a list of names from pesq-wb"),
    ],
)
def test_a_bad_file_is_refused_in_a_sentence(text, message):
    with pytest.raises(RuleError, match=message) as caught:
        parse_rules(text, "r.yaml")
    assert str(caught.value).startswith("r.yaml")
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_exist(tmp_path: Path):
    with pytest.raises(RuleError, match="cannot read the rules"):
        read_rules(tmp_path / "r.yaml")


def test_rules_for_another_scale_are_refused():
    with pytest.raises(RuleError, match="for scores on pesq-wb or pesq-nb, but the scores are on pseudo"):
        check_scale(read_rules(SUGGESTED), "pseudo")
    check_scale(where("score > 3"), "pseudo")
    check_scale(read_rules(SUGGESTED), "pesq-wb")
