"""The filter of the Python API. It returns the kept utterances of a scored corpus as one Arrow table."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa

from transforms.curation.rules import SUGGESTED, check_scale, read_rules
from transforms.curation.rules import where as rules_where
from transforms.curation.selection import Selection
from transforms.output.results import Results


def kept_utterances(run: Results, rules: str | os.PathLike[str] | None = None, where: str | None = None) -> pa.Table:
    """Returns the utterances that `audiosieve filter` would keep, best score first.

    Args:
        run: an opened output of `audiosieve score`.
        rules: path of a YAML file of rules. Default: the suggested rules.
        where: an SQL condition that is true for the utterances to keep, instead of `rules`.

    Returns:
        Rows of the table `utterances`, with all its columns.

    Raises:
        RuleError: a rule is not valid, or the rules are for another label scale.
        TypeError: both `rules` and `where` are given.
    """
    if rules is not None and where is not None:
        raise TypeError("give either rules or where, not both")
    rule_set = rules_where(where) if where is not None else read_rules(Path(rules or SUGGESTED))
    check_scale(rule_set, run.label_scale.name)
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as scratch, Selection(run, Path(scratch)) as selection:
        selection.apply_rules(rule_set.rules)
        return selection.kept_table()
