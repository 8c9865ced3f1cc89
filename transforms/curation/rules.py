"""Rules that drop utterances: named SQL conditions over the columns of `utterances`."""

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
# Reserved rule names, which the column `rules` of dropped.parquet uses for other reasons.
BUDGET, QUANTILE, TRIM, WHERE = "budget", "quantile", "trim", "where"
RESERVED_NAMES = (BUDGET, QUANTILE, TRIM, WHERE)

_NAME = re.compile(r"[A-Za-z_][\w-]*")
_UNKNOWN_COLUMN = re.compile(r'Referenced column "(.*?)" (?:was )?not found')
_KEYS = ("drop", "label_scales", "requires")
_EXAMPLE = "for example `drop: {bad_quality: score < 2.5}`"


class RuleError(ValueError):
    """Rules are not valid, or do not fit the output that they are applied to."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """A reason to drop an utterance.

    Attributes:
        name: name of the rule.
        condition: SQL expression over the columns of `utterances`.
        keeps: whether the condition selects utterances to keep; False if it selects those to drop.
    """

    name: str
    condition: str
    keeps: bool = False

    @property
    def drops(self) -> str:
        """SQL expression: true if the rule drops the utterance, else false. A NULL condition drops nothing."""
        # The line breaks end a comment at the end of the condition.
        condition = f"(\n{self.condition}\n)"
        return f"(NOT coalesce({condition}, true))" if self.keeps else f"coalesce({condition}, false)"

    @property
    def title(self) -> str:
        """Name of the rule in error messages."""
        return "--where" if self.keeps else f"rule {self.name!r}"


@dataclasses.dataclass(frozen=True)
class RuleSet:
    """Rules that are applied together.

    Attributes:
        origin: source of the rules, as error messages name it.
        rules: rules; an utterance is dropped if any of them drops it.
        label_scales: names of the label scales that the thresholds are made for; empty for any.
        requires: columns without whose values the rules make no sense; an output that lacks them is refused.
    """

    origin: str
    rules: tuple[Rule, ...]
    label_scales: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    def with_own(self, own: RuleSet) -> RuleSet:
        """Returns these rules and further ones. An own rule replaces the one with its name.

        Raises:
            RuleError: no label scale fits both.
        """
        rules = {rule.name: rule for rule in (*self.rules, *own.rules)}
        scales = self.label_scales or own.label_scales
        if self.label_scales and own.label_scales:
            scales = tuple(name for name in self.label_scales if name in own.label_scales)
            if not scales:
                raise RuleError(
                    f"{own.origin} is for scores on {' or '.join(own.label_scales)}, but {self.origin} for those on "
                    f"{' or '.join(self.label_scales)}"
                )
        requires = tuple(dict.fromkeys([*self.requires, *own.requires]))
        return RuleSet(f"{self.origin} and {own.origin}", tuple(rules.values()), scales, requires)


def where(condition: str) -> RuleSet:
    """Returns the rule set of `--where`: one rule that keeps the utterances that meet the condition.

    Raises:
        RuleError: the condition is empty.
    """
    if not condition.strip():
        raise RuleError("--where is empty; give an SQL condition, for example score >= 2.5")
    return RuleSet("--where", (Rule(WHERE, condition, keeps=True),))


def read_rules(path: Path) -> RuleSet:
    """Reads a YAML file of rules.

    Raises:
        RuleError: the file cannot be read or is not valid.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleError(f"{path}: cannot read the rules ({error})") from error
    return parse_rules(text, str(path))


def parse_rules(text: str, origin: str) -> RuleSet:
    """Parses rules in YAML: conditions by name under `drop`, and optionally `label_scales` and `requires`.

    Raises:
        RuleError: the text is not valid.
    """
    try:
        document = yaml.load(text, _UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise RuleError(
            f"{origin}{line}: not valid YAML ({reason}); put quotation marks around a condition that contains `: ` or ` #`, "
            "or starts with a special character"
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("drop"), dict) or not document["drop"]:
        raise RuleError(f"{origin}: has no `drop` with a name and a condition for each rule; {_EXAMPLE}")
    unknown = [str(key) for key in document if key not in _KEYS]
    if unknown:
        raise RuleError(f"{origin}: unknown key {unknown[0]!r} ({_suggestion(unknown[0], _KEYS, 'allowed')})")
    rules = tuple(_rule(name, condition, origin) for name, condition in document["drop"].items())
    return RuleSet(origin, rules, _label_scales(document.get("label_scales"), origin), _requires(document, origin))


def _rule(name: Any, condition: Any, origin: str) -> Rule:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RuleError(
            f"{origin}: {name!r} is not a valid rule name; use letters, digits, _ and -, and put quotation marks around words "
            "that YAML reads as true or false"
        )
    if name in RESERVED_NAMES:
        raise RuleError(f"{origin}: the rule name {name!r} is reserved; choose another name")
    if not isinstance(condition, str) or not condition.strip():
        raise RuleError(f"{origin}: the condition of {name!r} is {condition!r}; must be a text; {_EXAMPLE}")
    return Rule(name, condition.strip())


def _label_scales(value: Any, origin: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or any(name not in LABEL_SCALES for name in names):
        raise RuleError(f"{origin}: label_scales is {value!r}; must be a list of names from {', '.join(LABEL_SCALES)}")
    return tuple(names)


def _requires(document: dict[str, Any], origin: str) -> tuple[str, ...]:
    value = document.get("requires")
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
        raise RuleError(f"{origin}: requires is {value!r}; must be a list of columns, for example [mos_ovrl]")
    return tuple(names)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses repeated keys; YAML itself would silently lose the first of two rules with the same name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is repeated", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def check_scale(rules: RuleSet, label_scale: str) -> None:
    """Checks that the rules are made for a label scale.

    Raises:
        RuleError: the rules are made for other label scales.
    """
    if rules.label_scales and label_scale not in rules.label_scales:
        raise RuleError(
            f"{rules.origin}: the rules are for scores on {' or '.join(rules.label_scales)}, but the scores are on "
            f"{label_scale}; give other rules with --rules FILE or --where"
        )


def check_rules(connection: duckdb.DuckDBPyConnection, table: str, rules: Sequence[Rule]) -> None:
    """Checks that each condition is a boolean expression over the rows of a table.

    Args:
        connection: DuckDB.
        table: name of a table with the columns of `utterances`.
        rules: rules to check.

    Raises:
        RuleError: a condition is not valid; the message names the rule.
    """
    for rule in rules:
        check_expression(connection, table, rule.condition, rule.title, boolean=True)


def check_expression(
    connection: duckdb.DuckDBPyConnection, table: str, expression: str, title: str, boolean: bool = False
) -> None:
    """Checks that an expression has one value for each row of a table, by evaluating it.

    Args:
        connection: DuckDB.
        table: name of a table with the columns of `utterances`.
        expression: SQL expression.
        title: name of the expression in error messages.
        boolean: whether its type must be boolean.

    Raises:
        RuleError: the expression is not valid, or its type is wrong.
    """
    query = f"SELECT utterance_id, (\n{expression}\n) AS value FROM {table} AS utterances"
    try:
        if len(connection.extract_statements(query)) != 1:
            raise RuleError(f"{title}: more than one statement; must be a single expression")
        kind = connection.execute(f"DESCRIBE {query}").fetchall()[1][1]
        if boolean and kind != "BOOLEAN":
            found = "always null" if "NULL" in kind else f"a {kind}"
            raise RuleError(f"{title}: is {found}, not true or false: {_short(expression)}")
        rows, values = connection.execute(
            f"SELECT (SELECT count(*) FROM {table}), count(value IS NULL) FROM ({query})"
        ).fetchall()[0]
    except duckdb.Error as error:
        columns = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()]
        raise RuleError(f"{title}: {_reason(error, columns)}: {_short(expression)}") from error
    if rows != values:
        raise RuleError(f"{title}: does not give one value for each utterance: {_short(expression)}")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:117]}..."


def _reason(error: duckdb.Error, columns: Sequence[str]) -> str:
    """Returns the first part of DuckDB's message, without the query that it quotes."""
    first = str(error).split("\n\n")[0].splitlines()
    if unknown := _UNKNOWN_COLUMN.search(first[0]):
        return f"unknown column {unknown[1]!r} ({_suggestion(unknown[1], columns, 'columns')})"
    reason = " ".join(line.strip() for line in first[:2] if not line.lstrip().startswith("Candidate"))
    reason = re.sub(r"^(?:\w+ )*Error: ", "", reason)
    # The closing bracket is the one that `check_expression` adds.
    return "the condition is incomplete" if reason == 'syntax error at or near ")"' else reason.rstrip("!.")


def _suggestion(word: str, known: Sequence[str], title: str) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"{title}: {', '.join(known)}"
