"""SQL that decides which utterances are dropped: by rules, and by a limit on the total duration.

The queries make a table of decisions with one row for each candidate:

    utterance_id, score
    duration_us     duration in whole microseconds, so that sums do not depend on the order of adding
    balance_group   value of the --balance expression; the same for all without one
    rules           names of the rules that drop the utterance; empty if it is kept
"""

from __future__ import annotations

from collections.abc import Sequence

from transforms.curation.rules import Rule

MICROSECONDS = 1_000_000


def rule_decisions(candidates: str, rules: Sequence[Rule], balance: str | None = None) -> str:
    """Returns the query that lists for each candidate the rules that drop it.

    Args:
        candidates: name of a table with the columns of `utterances`.
        rules: rules; an utterance is dropped if any of them drops it.
        balance: SQL expression for the group of an utterance; None for a single group.
    """
    names = ", ".join(f"CASE WHEN {rule.drops} THEN '{rule.name}' END" for rule in rules)
    dropping = f"list_filter([{names}], lambda name: name IS NOT NULL)" if rules else "[]::VARCHAR[]"
    group = "''" if balance is None else f"(\n{balance}\n)::VARCHAR"
    return f"""
        SELECT utterance_id, score, round(duration_s * {MICROSECONDS})::BIGINT AS duration_us,
            {group} AS balance_group, {dropping} AS rules
        FROM {candidates} AS utterances
    """


def budget_decisions(decisions: str, budget_s: float, name: str) -> str:
    """Returns the query that keeps the best of the utterances kept so far, within a total duration.

    The budget is spread evenly over the groups. Each group is sorted by descending score, then by id. The level of an
    utterance is the total duration of its group up to and including it. Utterances are kept in the order of their
    levels, over all groups, until the next one would exceed the budget. Three things follow:

    - A small group is kept whole, and the rest of its share goes to the other groups.
    - Within a group, no utterance is kept that comes after a dropped one.
    - Groups that are not kept whole differ by at most the duration of one utterance.

    Args:
        decisions: name of the table of decisions.
        budget_s: largest total duration to keep, in seconds.
        name: rule name to record for the utterances over the budget.
    """
    return f"""
        WITH levels AS (
            SELECT utterance_id, score, duration_us, sum(duration_us) OVER (
                PARTITION BY balance_group ORDER BY score DESC, utterance_id ROWS UNBOUNDED PRECEDING) AS level_us
            FROM {decisions} WHERE len(rules) = 0
        ),
        over_budget AS (
            SELECT utterance_id FROM (
                SELECT utterance_id, sum(duration_us) OVER (
                    ORDER BY level_us, score DESC, utterance_id ROWS UNBOUNDED PRECEDING) AS total_us
                FROM levels
            ) WHERE total_us > {round(budget_s * MICROSECONDS)}
        )
        SELECT decisions.* REPLACE (CASE WHEN over_budget.utterance_id IS NULL THEN rules ELSE ['{name}'] END AS rules)
        FROM {decisions} AS decisions LEFT JOIN over_budget USING (utterance_id)
    """
