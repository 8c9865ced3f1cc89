"""The filter of the Python API. It returns the kept utterances of a scored corpus as one Arrow table."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import pyarrow as pa

from transforms.curation.presets.presets import PRESETS, choose_rules
from transforms.curation.presets.unchecked import check_any_applies, remark
from transforms.curation.rules import check_scale
from transforms.curation.selection import Selection
from transforms.output.results import Results


def kept_utterances(
    run: Results,
    rules: str | os.PathLike[str] | None = None,
    where: str | None = None,
    preset: str | None = None,
) -> pa.Table:
    """Returns the utterances that `audiosieve filter` would keep, best score first.

    Warns of rules that the output has no data for.

    Args:
        run: an opened output of `audiosieve score`.
        rules: path of a YAML file of rules. Default: the suggested rules, or none with a preset.
        where: an SQL condition that is true for the utterances to keep, instead of `rules`.
        preset: name of a preset, to which `rules` or `where` are added.

    Returns:
        Rows of the table `utterances`, with all its columns.

    Raises:
        RuleError: a rule is not valid, the rules are for another label scale, or the output lacks data that they need.
        TypeError: both `rules` and `where` are given.
        ValueError: there is no such preset.
    """
    if rules is not None and where is not None:
        raise TypeError("give either rules or where, not both")
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}; must be one of {', '.join(PRESETS)}")
    rule_set = choose_rules(preset, None if rules is None else os.fspath(rules), where)
    check_scale(rule_set, run.label_scale.name)
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch, Selection(run, Path(scratch)) as selection:
        selection.check_data(rule_set)
        selection.apply_rules(rule_set.rules)
        unchecked = selection.unchecked()
        check_any_applies(rule_set, unchecked, run.model_id)
        if unchecked:
            warnings.warn(remark(unchecked, run.model_id), stacklevel=3)
        return selection.kept_table()
