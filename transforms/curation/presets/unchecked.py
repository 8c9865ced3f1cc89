"""Finds the rules that an output has no data for. A condition that is null drops nothing, and nobody would notice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb

from model.diagnosis import RATINGS
from transforms.curation.duckdb_rows import quoted
from transforms.curation.rules import Rule, RuleError, RuleSet
from transforms.schemas import HEARD

# Causes that no samples prove, only a model hears. Without a diagnosis, no utterance has them.
ONLY_HEARD = frozenset({"noise", "music", "reverberation", "codec"})
# Columns that a model without a diagnosis leaves empty.
OF_DIAGNOSIS = frozenset({"music_s", "overlap_s", "snr_db", "c50_db", "mos_sig", "mos_bak", "mos_ovrl"})
# Columns whose null is a value: no hum, the mean of all channels, no other utterance.
NULL_IS_A_VALUE = frozenset({"hum_db", "channel", "copy_of", "duplicate_of"})

_NO_DIAGNOSIS = "{model_id} has no diagnosis, so score with a model that has one (score --model)"


@dataclasses.dataclass(frozen=True)
class Unchecked:
    """A rule without data for some utterances, which it therefore does not drop.

    Attributes:
        rule: name of the rule.
        columns: columns of the rule that are null, in the order of the table; empty if its condition is null for another
            reason.
        utterances: number of kept utterances that it could not check.
        applies: whether it could check any utterance, kept or not.
        needs_diagnosis: whether the model lacks the diagnosis that the rule needs.
    """

    rule: str
    columns: tuple[str, ...]
    utterances: int
    applies: bool
    needs_diagnosis: bool


def find_unchecked(
    connection: duckdb.DuckDBPyConnection, rules: Sequence[Rule], candidates: str, decisions: str
) -> list[Unchecked]:
    """Returns the rules that have no data for kept utterances, or for none at all.

    Args:
        connection: DuckDB with the table `utterances`.
        rules: rules that were applied; each condition is valid.
        candidates: name of a table with the columns of `utterances`, on which the rules decide.
        decisions: name of the table of decisions on them (`decisions.py`).
    """
    if not rules:
        return []
    has_diagnosis = not lacks_diagnosis(connection)
    columns = _columns(connection, candidates)
    used = {rule.name: _Names.of(connection, rule.condition) for rule in rules}
    nulls = ", ".join(f"((\n{rule.condition}\n)) IS NULL AS null_{number}" for number, rule in enumerate(rules))
    counts = ", ".join(
        f"count_if(null_{number}), count_if(null_{number} AND len(decisions.rules) = 0)" for number in range(len(rules))
    )
    total, kept, *numbers = connection.execute(f"""
        SELECT count(*), count_if(len(decisions.rules) = 0), {counts}
        FROM (SELECT utterance_id, {nulls} FROM {candidates} AS utterances) AS checked
        JOIN {decisions} AS decisions USING (utterance_id)
    """).fetchall()[0]
    found = []
    for rule, all_nulls, kept_nulls in zip(rules, numbers[::2], numbers[1::2], strict=True):
        names = used[rule.name]
        if not has_diagnosis and names.has("causes") and names.texts & ONLY_HEARD:
            found.append(Unchecked(rule.name, ("causes",), kept, False, True))
        elif kept_nulls or (total and all_nulls == total):
            lacking = [name for name in columns if names.has(name) and _has_null(connection, candidates, name)]
            if lacking and NULL_IS_A_VALUE.issuperset(lacking):
                continue
            needs_diagnosis = not has_diagnosis and bool(OF_DIAGNOSIS & set(lacking))
            found.append(Unchecked(rule.name, tuple(lacking), kept_nulls, all_nulls < total, needs_diagnosis))
    return found


def lacks_diagnosis(connection: duckdb.DuckDBPyConnection) -> bool:
    """Returns whether the scores are those of a model without a diagnosis.

    Args:
        connection: DuckDB with the table `utterances`.
    """
    # A model that was trained without ratings leaves only those null.
    return all(_is_empty(connection, "utterances", name) for name in HEARD)


def check_data(connection: duckdb.DuckDBPyConnection, rules: RuleSet) -> None:
    """Checks that an output has the columns that rules require.

    Args:
        connection: DuckDB with the table `utterances`.
        rules: the rules.

    Raises:
        RuleError: a required column does not exist, or is null for all utterances.
    """
    columns = {name.lower() for name in _columns(connection, "utterances")}
    for name in rules.requires:
        if name.lower() not in columns:
            raise RuleError(f"{rules.origin} needs the column {name}, which does not exist")
        if _is_empty(connection, "utterances", name):
            advice = "choose other rules"
            if name.lower() in OF_DIAGNOSIS:
                advice = f"score with a model that predicts it (score --model), or {advice}"
            raise RuleError(f"{rules.origin} needs {name}, which is null for all utterances; {advice}")


def check_any_applies(rules: RuleSet, unchecked: Sequence[Unchecked], model_id: str) -> None:
    """Checks that not all rules lack the data of a diagnosis.

    Args:
        rules: the rules that were applied.
        unchecked: those without data.
        model_id: model that made the scores, as name@hash.

    Raises:
        RuleError: no rule can check any utterance, so all would be kept.
    """
    idle = [
        item
        for item in unchecked
        if not item.applies and (item.needs_diagnosis or OF_DIAGNOSIS.intersection(item.columns))
    ]
    if rules.rules and len(idle) == len(rules.rules):
        idle_columns = dict.fromkeys(name for item in idle for name in item.columns)
        # A model can have a diagnosis without ratings, and pieces have none.
        advice = "all values are null, because only whole utterances have them, and only if the model predicts them;"
        if not idle_columns.keys() <= set(RATINGS):
            advice = (
                "all values are null, because the model does not predict them, there is no speech, or all utterances are "
                "pieces of a corpus that an older version scored (score --overwrite);"
            )
        if any(item.needs_diagnosis for item in idle):
            advice = f"{_NO_DIAGNOSIS.format(model_id=model_id)}, or"
        raise RuleError(
            f"{rules.origin}: would keep all utterances unchecked, because the rules are only about {', '.join(idle_columns)}; "
            f"{advice} choose other rules"
        )


def remark(unchecked: Sequence[Unchecked], model_id: str) -> str:
    """Returns lines on the rules without data, for people; empty if all rules have data.

    Args:
        unchecked: the rules without data.
        model_id: model that made the scores, as name@hash.
    """
    idle = [item for item in unchecked if not item.applies]
    lines = []
    for item_group, reason in (
        ([item for item in idle if item.needs_diagnosis], f"; {_NO_DIAGNOSIS.format(model_id=model_id)}"),
        ([item for item in idle if not item.needs_diagnosis], "; all values are null"),
    ):
        if item_group:
            names = ", ".join(f"{item.rule} ({', '.join(item.columns) or 'always null'})" for item in item_group)
            lines.append(f"not applied, for lack of data: {names}{reason}")
    lines += [
        f"{item.rule} could not check {item.utterances:,} kept utterance{'' if item.utterances == 1 else 's'}, for which "
        f"{' or '.join(item.columns) or 'its condition'} is null"
        for item in unchecked
        if item.applies
    ]
    return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class _Names:
    """Names in an SQL expression, in lower case.

    Attributes:
        columns: columns.
        texts: constants that are texts.
    """

    columns: frozenset[str]
    texts: frozenset[str]

    @classmethod
    def of(cls, connection: duckdb.DuckDBPyConnection, expression: str) -> _Names:
        query = f"SELECT (\n{expression}\n)"
        ((text,),) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()
        nodes = list(_nodes(json.loads(text)))
        columns = [node["column_names"][-1].lower() for node in nodes if node.get("class") == "COLUMN_REF"]
        texts = [node["text"] for node in nodes if node.get("kind") == "STRING" and "text" in node]
        return cls(frozenset(columns), frozenset(map(str.lower, texts)))

    def has(self, column: str) -> bool:
        """Returns whether the expression names a column."""
        return column.lower() in self.columns


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from _nodes(branch)


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()]


def _is_empty(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> bool:
    return connection.execute(f"SELECT count({quoted(column)}) = 0 FROM {table}").fetchall() == [(True,)]


def _has_null(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> bool:
    return connection.execute(f"SELECT count({quoted(column)}) < count(*) FROM {table}").fetchall() == [(True,)]
