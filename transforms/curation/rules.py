"""Rules of what is dropped from a corpus: named SQL conditions over the columns of `utterances`."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import yaml

from model.labels import LABEL_SCALES

SUGGESTED = Path(__file__).with_name("suggested_rules.yaml")
# The one rule of `--where`.
WHERE = "where"
# Names by which `dropped.parquet` tells what no rule dropped.
TAKEN_NAMES = ("budget", "quantile", "trim", WHERE)

_NAME = re.compile(r"[A-Za-z_][\w-]*")
_NO_COLUMN = re.compile(r'Referenced column "(.*?)" (?:was )?not found')
_KEYS = ("drop", "label_scales")
_EXAMPLE = "as `drop: {bad_quality: score < 2.5}`"


class RuleError(ValueError):
    """Rules that cannot be understood, or do not fit the output that they are for."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """A reason to drop an utterance.

    Attributes:
        name: of the rule.
        condition: SQL over the columns of `utterances`.
        keeps: whether the condition says what is kept, not what is dropped.
    """

    name: str
    condition: str
    keeps: bool = False

    @property
    def drops(self) -> str:
        """SQL that is true where the rule drops, and false elsewhere: what is unknown drops nothing."""
        # On a line of its own, so that a comment at its end ends there.
        condition = f"(\n{self.condition}\n)"
        return f"(NOT coalesce({condition}, true))" if self.keeps else f"coalesce({condition}, false)"


@dataclasses.dataclass(frozen=True)
class RuleSet:
    """What decides whether an utterance is kept.

    Attributes:
        origin: where the rules are from, for people.
        rules: any of which drops it.
        label_scales: on which the rules make sense; empty for any.
    """

    origin: str
    rules: tuple[Rule, ...]
    label_scales: tuple[str, ...] = ()


def where(condition: str) -> RuleSet:
    """The one rule of `--where`, which says what is kept."""
    if not condition.strip():
        raise RuleError("--where is empty; it must be a condition in SQL, as score >= 2.5")
    return RuleSet("--where", (Rule(WHERE, condition, keeps=True),))


def read_rules(path: Path) -> RuleSet:
    """Reads a file of rules.

    Raises:
        RuleError: it cannot be read, or is not understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(f"{path}: the rules cannot be read ({error})") from error
    return parse_rules(text, str(path))


def parse_rules(text: str, origin: str) -> RuleSet:
    """Rules from YAML: under `drop` a name and an SQL condition each, and the `label_scales` that they are for, if any.

    Raises:
        RuleError: it is not that.
    """
    try:
        found = yaml.load(text, _Unique)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f", line {mark.line + 1}"
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise RuleError(
            f"{origin}{place}: it cannot be read as YAML ({reason}); put a condition that holds `: ` or ` #`, or begins with "
            "a sign, into quotation marks"
        ) from error
    if not isinstance(found, dict) or not isinstance(found.get("drop"), dict) or not found["drop"]:
        raise RuleError(
            f"{origin}: there must be `drop`, and under it a name and a condition for each rule, {_EXAMPLE}"
        )
    unknown = [str(key) for key in found if key not in _KEYS]
    if unknown:
        close = difflib.get_close_matches(unknown[0], _KEYS, n=1)
        meant = f"is {close[0]} meant?" if close else f"there can be {' and '.join(_KEYS)}"
        raise RuleError(f"{origin}: {unknown[0]!r} means nothing here; {meant}")
    rules = tuple(_rule(name, condition, origin) for name, condition in found["drop"].items())
    return RuleSet(origin, rules, _label_scales(found.get("label_scales"), origin))


def _rule(name: Any, condition: Any, origin: str) -> Rule:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RuleError(
            f"{origin}: {name!r} cannot be the name of a rule; it must be a word of letters, digits, _ and -, and one that "
            "YAML takes for true or false needs quotation marks"
        )
    if name in TAKEN_NAMES:
        raise RuleError(
            f"{origin}: no rule can be called {name!r}, which stands for something else; choose another name"
        )
    if not isinstance(condition, str) or not condition.strip():
        raise RuleError(f"{origin}: the condition of {name!r} is {condition!r}, and no text; {_EXAMPLE}")
    return Rule(name, condition.strip())


def _label_scales(found: Any, origin: str) -> tuple[str, ...]:
    names = [found] if isinstance(found, str) else found or []
    if not isinstance(names, list) or any(name not in LABEL_SCALES for name in names):
        raise RuleError(f"{origin}: label_scales is {found!r}; it must be a list of some of {', '.join(LABEL_SCALES)}")
    return tuple(names)


class _Unique(yaml.SafeLoader):
    """YAML in which no key stands twice: of two rules with one name the first would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def check_scale(rules: RuleSet, label_scale: str) -> None:
    """Refuses rules whose thresholds are for another scale.

    Raises:
        RuleError: they are.
    """
    if rules.label_scales and label_scale not in rules.label_scales:
        raise RuleError(
            f"{rules.origin}: the rules are for scores on {' or '.join(rules.label_scales)}, and these are on {label_scale}; "
            "give rules of your own (--rules FILE or --where)"
        )


def check_rules(connection: duckdb.DuckDBPyConnection, table: str, rules: Sequence[Rule]) -> None:
    """Evaluates each rule over all rows, and refuses what does not give true or false for each.

    Args:
        connection: DuckDB.
        table: the table or view that has the columns.
        rules: to be checked.

    Raises:
        RuleError: a condition cannot be understood or evaluated. It names the rule, and a column that may be meant.
    """
    for rule in rules:
        check_expression(connection, table, rule.condition, _said(rule), boolean=True)


def check_expression(
    connection: duckdb.DuckDBPyConnection, table: str, expression: str, name: str, boolean: bool = False
) -> None:
    """Evaluates an expression over all rows of a table.

    Args:
        connection: DuckDB.
        table: the table or view that has the columns.
        expression: SQL.
        name: how errors call it.
        boolean: whether it must be true or false.

    Raises:
        RuleError: it cannot be evaluated for each row by itself, or is not boolean.
    """
    query = f"SELECT utterance_id, (\n{expression}\n) AS found FROM {table} AS utterances"
    try:
        if len(connection.extract_statements(query)) != 1:
            raise RuleError(f"{name} is more than one statement; it must be a single expression")
        kind = connection.execute(f"DESCRIBE {query}").fetchall()[1][1]
        if boolean and kind != "BOOLEAN":
            what = "always null" if "NULL" in kind else f"a {kind}"
            raise RuleError(f"{name} is {what}, not true or false: {_short(expression)}")
        rows, heard = connection.execute(
            f"SELECT (SELECT count(*) FROM {table}), count(found IS NULL) FROM ({query})"
        ).fetchall()[0]
    except duckdb.Error as error:
        columns = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()]
        raise RuleError(f"{name}: {_reason(error, columns)}: {_short(expression)}") from error
    if rows != heard:
        raise RuleError(f"{name} does not give one value for each utterance: {_short(expression)}")


def _said(rule: Rule) -> str:
    return "--where" if rule.keeps else f"the rule {rule.name!r}"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 120 else f"{words[:117]}..."


def _reason(error: duckdb.Error, columns: Sequence[str]) -> str:
    """DuckDB's complaint as a part of a sentence."""
    first = str(error).split("\n\n")[0].splitlines()
    if missing := _NO_COLUMN.search(first[0]):
        close = difflib.get_close_matches(missing[1], columns, n=1)
        meant = f"is {close[0]} meant?" if close else f"there are {', '.join(columns)}"
        return f"there is no column {missing[1]!r}, {meant}"
    reason = " ".join(line.strip() for line in first[:2] if not line.lstrip().startswith("Candidate"))
    reason = re.sub(r"^(?:\w+ )*Error: ", "", reason)
    # The bracket is ours, behind the condition.
    return "the condition breaks off" if reason == 'syntax error at or near ")"' else reason.rstrip("!.")
