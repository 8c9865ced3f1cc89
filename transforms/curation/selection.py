"""Which utterances are kept: rules first, then the best of a share or a budget of hours. DuckDB does the work.

All of it happens in two tables of a connection:

    entries    what is judged: the utterances, or, where they are trimmed, what is left of them
    judged     one row for each entry: its id, score, time in microseconds, group, and the names of all that drop it
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import duckdb

from transforms.curation.rules import Rule, RuleError, check_expression, check_rules

_LENGTH = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}
MICROSECONDS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Amount:
    """Some utterances: how many, and how long together."""

    utterances: int
    seconds: float

    @property
    def hours(self) -> float:
        """How long together, in hours."""
        return self.seconds / 3600


@dataclasses.dataclass(frozen=True)
class Dropped:
    """What a rule, a quantile or a budget drops.

    Attributes:
        name: of the rule.
        matches: all that it drops.
        alone: what nothing else drops.
    """

    name: str
    matches: Amount
    alone: Amount


def parse_length(text: str) -> float:
    """Seconds of a length such as `500h`, `90m` or `30s`.

    Raises:
        ValueError: it is none, or not over 0.
    """
    found = _LENGTH.fullmatch(text.strip())
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise ValueError(f"{text!r} is no length of time; it must be a number over 0 with h, m or s behind it, as 500h")
    return seconds


def judge(connection: duckdb.DuckDBPyConnection, rules: Sequence[Rule], balance: str | None = None) -> None:
    """Makes `judged` of `entries`: each with the names of the rules that drop it.

    Args:
        connection: with `entries`.
        rules: any of which drops an entry.
        balance: SQL of the group that an entry is in; None for one group of all.

    Raises:
        RuleError: a rule or `balance` cannot be evaluated.
    """
    check_rules(connection, "entries", rules)
    if balance is not None:
        check_expression(connection, "entries", balance, "--balance")
    names = ", ".join(f"CASE WHEN {rule.drops} THEN '{rule.name}' END" for rule in rules)
    dropping = f"list_filter([{names}], lambda name: name IS NOT NULL)" if rules else "[]::VARCHAR[]"
    group = "''" if balance is None else f"(\n{balance}\n)::VARCHAR"
    try:
        connection.execute(f"""
            CREATE TEMP TABLE judged AS
            SELECT utterance_id, score, round(duration_s * {MICROSECONDS})::BIGINT AS length_us, {group} AS balance,
                {dropping} AS rules
            FROM entries AS utterances
        """)
    except duckdb.Error as error:  # each by itself was evaluated without one
        raise RuleError(f"the rules cannot be evaluated together ({str(error).splitlines()[0]})") from error


def fill(connection: duckdb.DuckDBPyConnection, seconds: float, name: str) -> None:
    """Drops all but the best of what `judged` has kept so far, evenly over groups.

    Each group is in the order of falling scores (and of ids, where those are the same). An entry's level is how long its
    group is up to its own end. The level rises in all groups alike, until the next entry, in whichever group, would be
    too much: so a group that is small is kept as a whole, and what it leaves goes to the others. Within a group no entry is
    kept that comes behind one that is dropped, and of two groups that are not kept as a whole neither gets more than the
    other but for the length of one entry.

    Args:
        connection: with `judged`.
        seconds: which the rest has at most.
        name: by which the dropped are known.
    """
    # In whole microseconds, so that the sums do not depend on the order of adding.
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE beyond AS
        WITH levels AS (
            SELECT utterance_id, score, length_us, sum(length_us) OVER (
                PARTITION BY balance ORDER BY score DESC, utterance_id ROWS UNBOUNDED PRECEDING) AS level
            FROM judged WHERE len(rules) = 0
        )
        SELECT utterance_id FROM (
            SELECT utterance_id, sum(length_us) OVER (
                ORDER BY level, score DESC, utterance_id ROWS UNBOUNDED PRECEDING) AS filled
            FROM levels
        ) WHERE filled > {round(seconds * MICROSECONDS)}
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE judged AS
        SELECT judged.* REPLACE (CASE WHEN beyond.utterance_id IS NULL THEN rules ELSE ['{name}'] END AS rules)
        FROM judged LEFT JOIN beyond USING (utterance_id)
    """)


def kept(connection: duckdb.DuckDBPyConnection) -> Amount:
    """What `judged` keeps."""
    return _amount(connection, "len(rules) = 0")


def dropped(connection: duckdb.DuckDBPyConnection) -> Amount:
    """What `judged` drops."""
    return _amount(connection, "len(rules) > 0")


def dropped_by(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> list[Dropped]:
    """What each rule drops, in the order of the names."""
    found = []
    for name in names:
        matches = _amount(connection, f"list_contains(rules, '{name}')")
        found.append(Dropped(name, matches, _amount(connection, f"rules = ['{name}']")))
    return found


def _amount(connection: duckdb.DuckDBPyConnection, condition: str) -> Amount:
    ((count, microseconds),) = connection.execute(
        f"SELECT count(*), coalesce(sum(length_us), 0)::DOUBLE FROM judged WHERE {condition}"
    ).fetchall()
    return Amount(count, microseconds / MICROSECONDS)
