"""Messages name what they count, in singular and plural."""

from __future__ import annotations

import pytest

from pipelines.common.wording import counted, counted_inputs
from transforms.elements import ArchiveKind, AudioRef


@pytest.mark.parametrize(("count", "text"), [(0, "0 waves"), (1, "1 wave"), (1_484, "1,484 waves")])
def test_a_count_has_its_noun(count, text):
    assert counted(count, "wave") == text
    assert counted(count, "process", "processes").endswith("process" if count == 1 else "processes")


def test_archives_are_no_utterances():
    recording = AudioRef("a", "/a.wav", 1, "")
    assert counted_inputs([recording]) == "1 utterance"
    assert counted_inputs([recording, AudioRef("x", "/x.tar", 1, "", archive=ArchiveKind.TAR)]) == "2 inputs"
