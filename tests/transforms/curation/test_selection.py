"""The best of a budget, evenly over groups."""

from __future__ import annotations

from collections import defaultdict

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.curation.selection import Amount, dropped, dropped_by, fill, kept, parse_length

# Group, score and seconds; scores of few values, so that many are the same.
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from([None, "a", "b", "c"]), st.integers(1, 5), st.integers(1, 20_000_000).map(lambda us: us / 1e6)
    ),
    min_size=1,
    max_size=40,
)


def judged(entries) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    table = pa.table(
        {
            "utterance_id": [f"u{number:03d}" for number in range(len(entries))],
            "score": pa.array([entry[1] for entry in entries], pa.float32()),
            "length_us": pa.array([round(entry[2] * 1e6) for entry in entries], pa.int64()),
            "balance": pa.array([entry[0] for entry in entries], pa.string()),
        }
    )
    connection.register("given", table)
    connection.execute("CREATE TEMP TABLE judged AS SELECT *, []::VARCHAR[] AS rules FROM given")
    return connection


def groups_of(connection) -> dict[str | None, list[tuple[bool, int]]]:
    """Of each group, best first: whether it is kept, and its length."""
    found = defaultdict(list)
    for group, is_kept, length in connection.execute(
        "SELECT balance, len(rules) = 0, length_us FROM judged ORDER BY score DESC, utterance_id"
    ).fetchall():
        found[group].append((is_kept, length))
    return found


@settings(max_examples=60)
@given(ENTRIES, st.floats(0, 200))
def test_a_budget_is_filled_with_the_best_and_evenly(entries, seconds):
    connection = judged(entries)
    fill(connection, seconds, "budget")
    groups = groups_of(connection)
    budget = round(seconds * 1e6)
    filled = {name: sum(length for is_kept, length in group if is_kept) for name, group in groups.items()}
    assert sum(filled.values()) <= budget
    level = {}
    for name, group in groups.items():
        keeps = [is_kept for is_kept, _ in group]
        # None is kept that comes behind one that is dropped.
        assert keeps == sorted(keeps, reverse=True)
        if not all(keeps):
            level[name] = filled[name] + group[keeps.index(False)][1]
    if level:
        # The next one of all would be too much, and none has been given more than that one's group would then have.
        after = min(level.values())
        assert max(filled.values()) <= after
        nexts = [
            group[[k for k, _ in group].index(False)][1] for name, group in groups.items() if level.get(name) == after
        ]
        assert sum(filled.values()) + max(nexts) > budget
    assert kept(connection).utterances + dropped(connection).utterances == len(entries)


@settings(max_examples=30)
@given(ENTRIES, st.floats(1, 200))
def test_without_groups_a_budget_is_filled_as_far_as_the_best_go(entries, seconds):
    connection = judged([(None, score, length) for _, score, length in entries])
    fill(connection, seconds, "budget")
    total, expected = 0, 0
    order = sorted(range(len(entries)), key=lambda place: (-entries[place][1], place))
    for place in order:
        total += round(entries[place][2] * 1e6)
        if total > round(seconds * 1e6):
            break
        expected += 1
    assert kept(connection).utterances == expected
    best = connection.execute("SELECT utterance_id FROM judged WHERE len(rules) = 0").fetchall()
    assert {name for (name,) in best} == {f"u{place:03d}" for place in order[:expected]}


def test_what_small_groups_cannot_use_goes_to_the_others():
    entries = [("small", 1, 5.0), *[("a", 5, 10.0)] * 10, *[("b", 3, 10.0)] * 10]
    connection = judged(entries)
    fill(connection, 125, "budget")
    amounts = connection.execute(
        "SELECT balance, sum(length_us)::BIGINT // 1000000 FROM judged WHERE len(rules) = 0 GROUP BY balance ORDER BY balance"
    ).fetchall()
    assert amounts == [("a", 60), ("b", 60), ("small", 5)]


def test_what_a_rule_dropped_is_not_in_a_budget_and_each_is_told():
    connection = judged([("x", 5, 10.0), ("x", 4, 10.0), ("x", 3, 10.0), ("x", 2, 10.0)])
    connection.execute("UPDATE judged SET rules = ['r', 's'] WHERE utterance_id = 'u000'")
    connection.execute("UPDATE judged SET rules = ['r'] WHERE utterance_id = 'u003'")
    fill(connection, 10, "budget")
    found = {one.name: (one.matches, one.alone) for one in dropped_by(connection, ["r", "s", "budget"])}
    assert found == {
        "r": (Amount(2, 20.0), Amount(1, 10.0)),
        "s": (Amount(1, 10.0), Amount(0, 0.0)),
        "budget": (Amount(1, 10.0), Amount(1, 10.0)),
    }
    assert kept(connection) == Amount(1, 10.0)
    assert kept(connection).hours == pytest.approx(10 / 3600)


@pytest.mark.parametrize(("text", "seconds"), [("500h", 1_800_000), ("1.5 h", 5_400), (".5m", 30), (" 30s ", 30)])
def test_lengths(text, seconds):
    assert parse_length(text) == seconds


@pytest.mark.parametrize("text", ["", "500", "h", "-3h", "0h", "1d", "1h30m", "nanh", "1e3h"])
def test_what_is_no_length(text):
    with pytest.raises(ValueError, match="no length of time"):
        parse_length(text)
