"""Kept lists of outputs from which nothing is dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tests.support.outputs import write_output
from transforms.curation.kept_list import KeptList
from transforms.curation.selection import Selection
from transforms.elements import ScoredUtterance
from transforms.output.results import open_results


def list_all(
    root: Path, utterances: Sequence[ScoredUtterance], carry: Sequence[str] = (), has_spans: bool = False
) -> KeptList:
    """Writes an output to `root` and lists all its utterances as kept."""
    selection = Selection(open_results(str(write_output(root, utterances, carry=carry))), root)
    selection.apply_rules([])
    return selection.list_kept(has_spans)


def of_channel(item: ScoredUtterance, channels: int, channel: int | None) -> ScoredUtterance:
    """Makes an utterance one channel, or for None the mean, of a recording with several channels."""
    return dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, channels=channels, channel=channel))
