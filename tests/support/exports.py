"""Plans of exports, and utterances of existing recordings for them."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from tests.support.kept_lists import list_all, of_channel
from tests.support.outputs import scored
from transforms.curation.exporting.plan import write_export_plan
from transforms.elements import ScoredUtterance
from transforms.storage.files import look_at

RATE = 22_050


def plan(utterances: Sequence[ScoredUtterance], *, has_spans: bool = True, format: str = "flac", shard_size: int = 2):
    """The chunks of a plan for all utterances, each a list of rows."""
    with tempfile.TemporaryDirectory() as folder:
        kept = list_all(Path(folder) / "out", utterances, ["speaker"], has_spans)
        path = Path(folder) / "plan.parquet"
        chunks = write_export_plan(kept, path, format, shard_size)
        file = pq.ParquetFile(path)
        assert file.num_row_groups == chunks
        return [file.read_row_group(number).to_pylist() for number in range(chunks)]


def item(
    name: str,
    uri: Path | str,
    start: int = 0,
    samples: int = RATE,
    channel: int | None = None,
    channels: int = 1,
    **more,
) -> ScoredUtterance:
    """An utterance of an existing recording; a member has the version of its archive."""
    made = scored(name, 3.5, uri=str(uri), start_s=start / RATE, duration_s=samples / RATE, sample_rate=RATE, **more)
    version = look_at(str(uri).partition("#")[0]).source_version
    ref = dataclasses.replace(made.utterance.ref, source_version=version)
    made = dataclasses.replace(made, utterance=dataclasses.replace(made.utterance, ref=ref))
    return of_channel(made, channels, channel)
