"""Presets: files of rules for a purpose, such as speech synthesis. Further rules of the user are added to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from transforms.curation.rules import SUGGESTED, RuleError, RuleSet, read_rules, where

# Files of rules by name of the preset, in the order in which the documentation has them.
PRESETS = {
    name: Path(__file__).with_name(f"{name}.yaml") for name in ("tts", "asr", "enhancement", "telephony", "emilia")
}
# Values of `--rules` that are not files.
SUGGESTED_RULES, NO_RULES = "suggested", "none"


def choose_rules(preset: str | None, rules: str | None, condition: str | None) -> RuleSet:
    """Returns the rules that a user has chosen.

    Args:
        preset: name of a preset; None for none.
        rules: path of a YAML file, "suggested" or "none"; None for the preset alone, or the suggested rules without one.
        condition: SQL condition that kept utterances meet, in place of `rules`; None for no condition.

    Raises:
        RuleError: a file cannot be read, the rules are not valid, or they are for other label scales than the preset.
    """
    base = None if preset is None else _read(PRESETS[preset], f"the preset {preset}")
    if condition is not None:
        own = where(condition)
    elif rules == NO_RULES:
        own = RuleSet("no rules", ())
    elif rules == SUGGESTED_RULES or (rules is None and base is None):
        own = _read(SUGGESTED, "the suggested rules")
    elif rules is None:
        own = RuleSet("", ())
    else:
        own = read_rules(Path(rules))
    if base is None:
        return own
    return base.with_own(own) if own.rules else base


def rules_as_yaml(preset: str | None, rules: str | None) -> str:
    """Returns the rules that a user has chosen, as a file of rules.

    One file is returned as it is, with its comments. If there are two, only their rules remain, in one file.

    Args:
        preset: name of a preset; None for none.
        rules: as for `choose_rules`.

    Raises:
        RuleError: as for `choose_rules`, or there are no rules.
    """
    chosen = choose_rules(preset, rules, None)
    if not chosen.rules:
        raise RuleError(f"--rules {rules} has no rules to print")
    files = [] if preset is None else [PRESETS[preset]]
    if rules == SUGGESTED_RULES or (rules is None and preset is None):
        files.append(SUGGESTED)
    elif rules not in (None, NO_RULES):
        files.append(Path(str(rules)))
    if len(files) == 1:
        return files[0].read_text(encoding="utf-8")
    document = {
        **({"label_scales": list(chosen.label_scales)} if chosen.label_scales else {}),
        **({"requires": list(chosen.requires)} if chosen.requires else {}),
        "drop": {rule.name: rule.condition for rule in chosen.rules},
    }
    return f"# Rules of {chosen.origin}.\n{yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)}"


def _read(path: Path, origin: str) -> RuleSet:
    return dataclasses.replace(read_rules(path), origin=origin)
