"""Groups of the same recording: which one is kept, chains, ties, and the limits of the index."""

from __future__ import annotations

import dataclasses

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.duplicates.fingerprint import CODE_BITS, FRAME_BITS
from transforms.duplicates.groups import find_duplicates


@dataclasses.dataclass(frozen=True)
class Item:
    """An utterance with its fingerprint: codes, and the frames that they are at."""

    name: str
    score: float
    codes: np.ndarray
    frames: np.ndarray
    duration_s: float = 5.0
    samples: str | None = None

    @property
    def row(self) -> dict:
        return {
            "utterance_id": self.name,
            "score": self.score,
            "duration_s": self.duration_s,
            "content_hash": self.samples or f"samples of {self.name}",
            "fingerprint": (self.codes << FRAME_BITS | self.frames).tolist() or None,
        }

    def copy(self, name: str, score: float, **changes: object) -> Item:
        return dataclasses.replace(self, name=name, score=score, **changes)

    def moved(self, name: str, score: float, frames: int) -> Item:
        """The same sound, cut off at the start."""
        inside = self.frames >= frames
        return self.copy(name, score, codes=self.codes[inside], frames=self.frames[inside] - frames)

    def coded(self, name: str, score: float, seed: int, lost: float = 0.4, wrong: float = 0.3) -> Item:
        """The same sound with a share of landmarks lost, and some bits of others wrong."""
        random = np.random.default_rng(seed)
        inside = random.random(len(self.codes)) >= lost
        flips = (random.random(len(self.codes)) < wrong) * (1 << random.integers(0, CODE_BITS, len(self.codes)))
        return self.copy(name, score, codes=(self.codes ^ flips)[inside], frames=self.frames[inside])


def recording(name: str, score: float, seed: int, count: int = 36, samples: str | None = None) -> Item:
    random = np.random.default_rng(seed)
    frames = np.sort(random.choice(300, count, replace=False))
    return Item(name, score, random.integers(0, 1 << CODE_BITS, count), frames, samples=samples)


def found(items: list[Item], similar: bool = True) -> dict[str, tuple[str | None, str]]:
    """`copy_of` and `duplicate_of` by utterance."""
    connection = duckdb.connect()
    types = {"score": pa.float32(), "fingerprint": pa.list_(pa.int64())}
    rows = [item.row for item in items]
    names = ("utterance_id", "score", "duration_s", "content_hash", "fingerprint")
    connection.register("t", pa.table({name: pa.array([row[name] for row in rows], types.get(name)) for name in names}))
    find_duplicates(connection, "SELECT * FROM t", similar)
    return {row[0]: row[1:] for row in connection.execute("FROM duplicates").fetchall()}


def replaced(items: list[Item]) -> dict[str, str]:
    return {name: kept for name, (_, kept) in found(items).items()}


def test_the_best_of_a_group_is_kept():
    a = recording("a", 3.0, 1)
    items = [a, a.coded("b", 4.0, 2), a.coded("c", 2.0, 3), recording("d", 5.0, 4)]
    assert replaced(items) == {"a": "b", "c": "b"}


def test_ties_go_to_the_first_id():
    a = recording("z", 3.0, 1)
    assert replaced([a, a.copy("x", 3.0), a.copy("y", 3.0)]) == {"y": "x", "z": "x"}
    samples = [a.copy(name, 3.0, samples="s") for name in "cab"]
    assert found(samples) == {"b": ("a", "a"), "c": ("a", "a")}


def test_a_chain_does_not_replace_its_end():
    """Each one is cut by half a second more than the one before. Only neighbours are the same recording."""
    whole = recording("s0", 4.0, 1, count=60)
    chain = [whole, *(whole.moved(f"s{cut}", 4.0 - cut / 10, 32 * cut) for cut in range(1, 4))]
    assert replaced(chain) == {"s1": "s0", "s3": "s2"}


def test_the_middle_of_a_chain_replaces_both_ends():
    whole = recording("s0", 3.0, 1, count=60)
    assert replaced([whole, whole.moved("s1", 4.0, 32), whole.moved("s2", 3.0, 64)]) == {"s0": "s1", "s2": "s1"}


def test_copies_of_a_replaced_utterance_are_replaced_by_the_kept_one():
    a = recording("a", 4.0, 1, samples="one")
    b = a.coded("b", 3.5, 2)
    items = [a, a.copy("a2", 4.0), dataclasses.replace(b, samples="two"), b.copy("b2", 3.0, samples="two")]
    assert found(items) == {"a2": ("a", "a"), "b": (None, "a"), "b2": ("b", "a")}
    assert found(items, similar=False) == {"a2": ("a", "a"), "b2": ("b", "b")}


def test_samples_count_also_without_a_fingerprint():
    none = np.empty(0, np.int64)
    items = [Item(name, 3.0, none, none, samples=samples) for name, samples in (("a", "s"), ("b", "s"), ("c", "t"))]
    assert found(items) == {"b": ("a", "a")}


@pytest.mark.parametrize(("changes", "is_same"), [({"duration_s": 6.2}, True), ({"duration_s": 6.3}, False)])
def test_the_length_is_alike(changes, is_same):
    a = recording("a", 4.0, 1)
    assert bool(replaced([a, a.copy("b", 3.0, **changes)])) is is_same


@pytest.mark.parametrize(("shift", "is_same"), [(46, True), (48, False), (-46, True), (-48, False)])
def test_the_shift_is_limited(shift, is_same):
    a = recording("a", 4.0, 1)
    a = dataclasses.replace(a, frames=a.frames + 100)
    assert bool(replaced([a, a.copy("b", 3.0, frames=a.frames + shift)])) is is_same


def test_few_common_landmarks_are_not_enough():
    """A jingle of a fifth of the sound, at the same time in both."""
    a, b = recording("a", 4.0, 1), recording("b", 3.0, 2)
    jingle = a.codes[:7], a.frames[:7]
    rest = b.frames > jingle[1].max()
    b = b.copy(
        "b", 3.0, codes=np.concatenate([jingle[0], b.codes[rest]]), frames=np.concatenate([jingle[1], b.frames[rest]])
    )
    assert replaced([a, b]) == {}


def test_many_copies_of_one_recording_are_one_group():
    """The index pairs each with few others, and still finds all."""
    a = recording("a", 5.0, 1)
    copies = [a.coded(f"c{number:03}", 4.0 - number / 1_000, number, wrong=0.2) for number in range(300)]
    assert replaced([a, *copies]) == {copy.name: "a" for copy in copies}


def test_many_recordings_that_begin_alike_hide_no_copy():
    """All share some landmarks, such as those of a beep, so that the lists of the index are long."""
    items = []
    for number in range(300):
        item = recording(f"r{number:03}", 4.0, 1_000 + number)
        items.append(item.copy(item.name, 4.0, codes=np.concatenate([np.arange(5), item.codes[5:]])))
    copies = [item.coded(f"x{item.name}", 3.0, 7) for item in items[::10]]
    assert replaced([*items, *copies]) == {copy.name: copy.name[1:] for copy in copies}


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_every_replaced_one_is_the_same_as_a_kept_better_one(data):
    """Whatever the groups, scores and order of the rows."""
    groups = data.draw(st.lists(st.lists(st.sampled_from([2.0, 3.0, 4.0]), min_size=1, max_size=4), max_size=5))
    items = []
    for number, scores in enumerate(groups):
        first = recording(f"g{number}-0", scores[0], number)
        items += [first, *(first.copy(f"g{number}-{place}", score) for place, score in enumerate(scores[1:], 1))]
    shuffled = data.draw(st.permutations(items))
    best = {}
    for item in sorted(items, key=lambda item: (-item.score, item.name)):
        best.setdefault(item.name.partition("-")[0], item.name)
    expected = {item.name: best[item.name.partition("-")[0]] for item in items}
    assert replaced(list(shuffled)) == {name: kept for name, kept in expected.items() if name != kept}
