"""The amounts that the presets of `audiosieve filter` would keep."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from transforms.analysis.text_tables import count_text
from transforms.curation.presets.presets import PRESETS, choose_rules
from transforms.curation.rules import RuleError, check_scale
from transforms.curation.selection import Amount, Selection
from transforms.output.results import Results


@dataclasses.dataclass(frozen=True)
class PresetAmount:
    """The amount that a preset keeps.

    Attributes:
        name: name of the preset; None for the suggested rules, which `filter` uses by default.
        kept: kept utterances; None if the preset cannot be applied to the output.
        note: rules that have no data, or the reason why the preset cannot be applied; empty if there is none.
    """

    name: str | None
    kept: Amount | None
    note: str


def preset_amounts(results: Results) -> list[PresetAmount]:
    """Applies the suggested rules and each preset to an output."""
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch, Selection(results, Path(scratch)) as selection:
        return [_amount(selection, results, name) for name in (None, *PRESETS)]


def _amount(selection: Selection, results: Results, name: str | None) -> PresetAmount:
    try:
        rules = choose_rules(name, None, None)
        check_scale(rules, results.label_scale.name)
        selection.check_data(rules)
        selection.apply_rules(rules.rules)
    except RuleError as error:
        return PresetAmount(name, None, str(error))
    idle = [item.rule for item in selection.unchecked() if not item.applies]
    note = f"{len(idle)} of {count_text(len(rules.rules), 'rule')} without data: {', '.join(idle)}" if idle else ""
    return PresetAmount(name, selection.kept(), note)
