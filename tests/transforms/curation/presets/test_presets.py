"""Presets: each drops what its purpose cannot use, and keeps what it can; own rules are added and win."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.curated import utterance, whole
from tests.support.outputs import write_output
from transforms.curation.presets.presets import PRESETS, choose_rules, rules_as_yaml
from transforms.curation.rules import Rule, RuleError, RuleSet, parse_rules, read_rules
from transforms.curation.selection import Selection
from transforms.elements import ScoredUtterance
from transforms.output.results import open_results

ORIGIN = re.compile(r"\b(Definition|Publication|Measured|Choice)\b")


def dropped_by(folder: Path, preset: str, *items: ScoredUtterance) -> dict[str, list[str]]:
    """Returns the rules of a preset that drop each utterance, beside a clean one."""
    root = write_output(folder / "out", [utterance("clean"), *items])
    rules = choose_rules(preset, None, None)
    with Selection(open_results(str(root)), folder) as selection:
        selection.check_data(rules)
        selection.apply_rules(rules.rules)
        selection.write_dropped(folder / "dropped.parquet")
        dropped = selection._connection.execute(
            "SELECT utterance_id, rules FROM decisions WHERE len(rules) > 0"
        ).fetchall()
        assert selection.unchecked() == []
    return dict(dropped)


CASES: dict[str, tuple[ScoredUtterance, dict[str, set[str]]]] = {}


def case(name: str, made: ScoredUtterance, **rules: str) -> None:
    """Adds an utterance with the rules that drop it, separated by blanks, by preset; the other presets keep it."""
    CASES[name] = made, {preset: set(rules.get(preset, "").split()) for preset in PRESETS}


def add_cases() -> None:
    heard: Any = {"snr_db": 25.0}
    case("noise at 25 dB", utterance("x", 3.2, heard=heard), enhancement="bad_quality noise")
    heard = {"snr_db": 10.0, "mos_ovrl": 2.4}
    strict = "bad_quality noise rating"
    case(
        "noise at 10 dB",
        utterance("x", 1.5, heard=heard),
        tts=strict,
        enhancement=strict,
        telephony="bad_quality",
        emilia="rating",
    )
    heard = {"snr_db": -3.0, "mos_ovrl": 1.2}
    loose = "bad_quality noise"
    all_noise = dict.fromkeys(("tts", "enhancement"), strict) | dict.fromkeys(("asr", "telephony"), loose)
    case("more noise than speech", utterance("x", 1.1, heard=heard), **all_noise, emilia="rating")
    case("an audible room", utterance("x", heard={"c50_db": 12.0}), tts="room", enhancement="room")
    every = ("tts", "asr", "enhancement", "telephony")
    case("a hall", utterance("x", heard={"c50_db": -2.0}), **dict.fromkeys(every, "room"))
    case("music", utterance("x", heard=whole("music")), **dict.fromkeys(every, "music"))
    half_second = {"spans": {"second_voice": [(0, 31)]}}
    case("a short second voice", utterance("x", heard=half_second), tts="second_voice", enhancement="second_voice")
    case("a codec", utterance("x", heard=whole("codec")), tts="codec", enhancement="codec")
    narrow: Any = {"bandwidth_hz": 3_900.0}
    case("a telephone", utterance("x", 3.4, **narrow), tts="narrow_band", enhancement="bad_quality narrow_band")
    case("a few clipped samples", utterance("x", clipped_ratio=0.005), tts="clipped", enhancement="clipped")
    case("many clipped samples", utterance("x", clipped_ratio=0.05), **dict.fromkeys(every, "clipped"))
    strict_gaps = dict.fromkeys(("tts", "enhancement"), "dropouts")
    case("a short dropout", utterance("x", dropouts=1, dropout_s=0.05), **strict_gaps)
    case("many dropouts", utterance("x", dropouts=9, dropout_s=0.5), **dict.fromkeys(every, "dropouts"))
    case("hum", utterance("x", hum_db=-10.0), tts="hum", enhancement="hum")
    limits = {"asr": "too_long", "tts": "too_long", "emilia": "too_long"}
    case("31 s", utterance("x", duration_s=31.0), **limits)
    limits = {"tts": "too_short", "enhancement": "too_short", "emilia": "too_short"}
    case("0.9 s", utterance("x", duration_s=0.9), **limits)
    case("0.3 s", utterance("x", duration_s=0.3), **dict.fromkeys(PRESETS, "too_short"))
    copies = dict.fromkeys(("tts", "enhancement"), "duplicate") | dict.fromkeys(("asr", "telephony"), "copy")
    case("a copy", utterance("x", samples="clean", score=4.1), **copies)


add_cases()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_dropped_where_the_purpose_cannot_use_it(preset: str, name: str, tmp_path: Path) -> None:
    made, rules = CASES[name]
    dropped = dropped_by(tmp_path, preset, made)
    assert {utterance_id: set(names) for utterance_id, names in dropped.items()} == (
        {"x": rules[preset]} if rules[preset] else {}
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_every_threshold_says_where_it_comes_from(preset: str) -> None:
    _, _, text = PRESETS[preset].read_text(encoding="utf-8").partition("\ndrop:\n")
    blocks = re.findall(r"((?:^  #.*\n)+)((?:^  \w+: .*\n)+)", text, re.MULTILINE)
    assert "".join(comment + rules for comment, rules in blocks) == text
    assert all(ORIGIN.search(comment) for comment, _ in blocks)


@pytest.mark.parametrize("preset", PRESETS)
def test_scores_are_only_compared_on_their_scale(preset: str) -> None:
    rules = read_rules(PRESETS[preset])
    assert bool(rules.label_scales) == any("score" in rule.condition for rule in rules.rules)


def test_own_rules_are_added_and_win(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("drop:\n  noise: snr_db < 30\n  speaker: utterance_id = 'x'\n", encoding="utf-8")
    rules = choose_rules("tts", str(own), None)
    conditions = {rule.name: rule.condition for rule in rules.rules}
    preset = {rule.name: rule.condition for rule in read_rules(PRESETS["tts"]).rules}
    assert conditions == {**preset, "noise": "snr_db < 30", "speaker": "utterance_id = 'x'"}
    assert rules.origin == f"the preset tts and {own}"
    assert rules.label_scales == ("pesq-wb",)
    with_condition = choose_rules("tts", None, "score > 4")
    assert [rule.name for rule in with_condition.rules] == [*preset, "where"]
    assert choose_rules("tts", "none", None) == choose_rules("tts", None, None)


def test_own_rules_for_another_scale_are_refused(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("label_scales: [pseudo]\ndrop: {low: score < 4}\n", encoding="utf-8")
    with pytest.raises(RuleError, match=r"own\.yaml is for scores on pseudo, but the preset tts for those on pesq-wb"):
        choose_rules("tts", str(own), None)


NAMES = st.sampled_from(["a", "b", "c", "d"])
RULES = st.dictionaries(NAMES, st.sampled_from(["score < 1", "score < 2", "score < 3"])).map(
    lambda rules: RuleSet("r", tuple(Rule(*item) for item in rules.items()))
)


@given(RULES, RULES)
def test_every_name_has_the_own_condition_or_that_of_the_preset(preset: RuleSet, own: RuleSet) -> None:
    rules = preset.with_own(own).rules
    expected = {rule.name: rule for rule in preset.rules} | {rule.name: rule for rule in own.rules}
    assert len(rules) == len(expected)
    assert {rule.name: rule for rule in rules} == expected


def test_printed_rules_are_those_that_are_applied(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text('requires: score\ndrop:\n  noise: "snr_db < 30 -- mine"\n', encoding="utf-8")
    for preset, rules in [("tts", None), ("emilia", str(own)), ("asr", "suggested"), (None, str(own)), (None, None)]:
        printed, chosen = parse_rules(rules_as_yaml(preset, rules), "r"), choose_rules(preset, rules, None)
        assert printed.rules == chosen.rules
        assert set(printed.requires) == set(chosen.requires)
        assert printed.label_scales == chosen.label_scales
    assert rules_as_yaml("tts", None) == PRESETS["tts"].read_text(encoding="utf-8")
    with pytest.raises(RuleError, match="has no rules to print"):
        rules_as_yaml(None, "none")
