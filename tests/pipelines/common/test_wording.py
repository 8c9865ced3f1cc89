"""Messages name what they count, in singular and plural."""

from __future__ import annotations

from collections import Counter

import pytest

from pipelines.common.wording import counted, counted_inputs, most_first
from transforms.elements import ArchiveKind, AudioRef


@pytest.mark.parametrize(("count", "text"), [(0, "0 waves"), (1, "1 wave"), (1_484, "1,484 waves")])
def test_a_count_has_its_noun(count, text):
    assert counted(count, "wave") == text
    assert counted(count, "process", "processes").endswith("process" if count == 1 else "processes")


def test_archives_are_no_utterances():
    recording = AudioRef("a", "/a.wav", 1, "")
    assert counted_inputs([recording]) == "1 utterance"
    assert counted_inputs([recording, AudioRef("x", "/x.tar", 1, "", archive=ArchiveKind.TAR)]) == "2 inputs"


def test_equal_counts_are_in_the_order_of_their_names() -> None:
    assert most_first(Counter({"silent": 1, "corrupt": 1, "empty_file": 2})) == [
        ("empty_file", 2),
        ("corrupt", 1),
        ("silent", 1),
    ]
