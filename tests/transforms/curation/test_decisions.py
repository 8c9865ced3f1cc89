"""SQL that keeps the best of a budget, evenly over groups."""

from __future__ import annotations

from collections import defaultdict

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.curation.decisions import budget_decisions

# Group, score and seconds. There are few scores, so that many are equal.
UTTERANCES = st.lists(
    st.tuples(
        st.sampled_from([None, "a", "b", "c"]), st.integers(1, 5), st.integers(1, 20_000_000).map(lambda us: us / 1e6)
    ),
    min_size=1,
    max_size=40,
)


def keep_best(utterances, budget_s: float) -> duckdb.DuckDBPyConnection:
    """A connection with the table `decisions` after the budget was applied."""
    connection = duckdb.connect()
    table = pa.table(
        {
            "utterance_id": [f"u{number:03d}" for number in range(len(utterances))],
            "score": pa.array([utterance[1] for utterance in utterances], pa.float32()),
            "duration_us": pa.array([round(utterance[2] * 1e6) for utterance in utterances], pa.int64()),
            "balance_group": pa.array([utterance[0] for utterance in utterances], pa.string()),
        }
    )
    connection.register("utterances", table)
    connection.execute("CREATE TABLE undecided AS SELECT *, []::VARCHAR[] AS rules FROM utterances")
    connection.execute(f"CREATE TABLE decisions AS {budget_decisions('undecided', budget_s, 'budget')}")
    return connection


def groups_of(connection) -> dict[str | None, list[tuple[bool, int]]]:
    """For each group, best first, whether an utterance is kept, and its duration in microseconds."""
    groups = defaultdict(list)
    for group, is_kept, duration_us in connection.execute(
        "SELECT balance_group, len(rules) = 0, duration_us FROM decisions ORDER BY score DESC, utterance_id"
    ).fetchall():
        groups[group].append((is_kept, duration_us))
    return groups


@settings(max_examples=60)
@given(UTTERANCES, st.floats(0, 200))
def test_a_budget_is_filled_with_the_best_and_evenly(utterances, budget_s):
    connection = keep_best(utterances, budget_s)
    groups = groups_of(connection)
    budget = round(budget_s * 1e6)
    filled = {name: sum(duration for is_kept, duration in group if is_kept) for name, group in groups.items()}
    assert sum(filled.values()) <= budget
    level = {}
    for name, group in groups.items():
        keeps = [is_kept for is_kept, _ in group]
        # None is kept that comes after a dropped one.
        assert keeps == sorted(keeps, reverse=True)
        if not all(keeps):
            level[name] = filled[name] + group[keeps.index(False)][1]
    if level:
        # The next of all would be too much, and no group got more than the group of the next would then have.
        after = min(level.values())
        assert max(filled.values()) <= after
        nexts = [
            group[[k for k, _ in group].index(False)][1] for name, group in groups.items() if level.get(name) == after
        ]
        assert sum(filled.values()) + max(nexts) > budget
    rules = connection.execute("SELECT DISTINCT unnest(rules) FROM decisions").fetchall()
    assert rules in ([], [("budget",)])
    assert connection.execute("SELECT count(*) FROM decisions").fetchall() == [(len(utterances),)]


@settings(max_examples=30)
@given(UTTERANCES, st.floats(1, 200))
def test_without_groups_the_best_are_kept_up_to_the_budget(utterances, budget_s):
    connection = keep_best([(None, score, duration) for _, score, duration in utterances], budget_s)
    total, expected = 0, 0
    order = sorted(range(len(utterances)), key=lambda place: (-utterances[place][1], place))
    for place in order:
        total += round(utterances[place][2] * 1e6)
        if total > round(budget_s * 1e6):
            break
        expected += 1
    kept = connection.execute("SELECT utterance_id FROM decisions WHERE len(rules) = 0").fetchall()
    assert sorted(name for (name,) in kept) == sorted(f"u{place:03d}" for place in order[:expected])


def test_the_rest_of_small_groups_goes_to_the_others():
    utterances = [("small", 1, 5.0), *[("a", 5, 10.0)] * 10, *[("b", 3, 10.0)] * 10]
    connection = keep_best(utterances, 125)
    amounts = connection.execute("""
        SELECT balance_group, sum(duration_us)::BIGINT // 1000000 FROM decisions WHERE len(rules) = 0
        GROUP BY balance_group ORDER BY balance_group
    """).fetchall()
    assert amounts == [("a", 60), ("b", 60), ("small", 5)]
