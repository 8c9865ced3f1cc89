"""The filter of the Python API: the kept utterances of a scored corpus as one Arrow table."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from transforms.curation.rules import SUGGESTED, check_scale, read_rules
from transforms.curation.rules import where as rules_where
from transforms.curation.selection import judge
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
    connection = run.connect()
    connection.execute("SET enable_external_access = false")
    connection.execute("CREATE TEMP VIEW entries AS SELECT * FROM utterances")
    judge(connection, rule_set.rules, None)
    kept = "SELECT entries.* FROM entries JOIN judged USING (utterance_id) WHERE len(rules) = 0 ORDER BY score DESC"
    return connection.sql(kept).to_arrow_table()
