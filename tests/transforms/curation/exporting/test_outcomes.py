"""Outcomes of an export: counted, checked against the kept list, and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.kept_lists import list_all, of_channel
from tests.support.outputs import scored
from transforms import schemas
from transforms.curation.exporting.outcomes import OUTCOMES, ExportOutcomes
from transforms.curation.exporting.target import AudioTarget
from transforms.curation.kept_list import KeptList


def exported(utterance_id: str) -> dict:
    row = {"utterance_id": utterance_id, "uri": f"/corpus/{utterance_id}", "path": f"{utterance_id}.flac"}
    return dict.fromkeys(OUTCOMES.names) | row


def rejected(utterance_id: str, reason: str) -> dict:
    details = {"source_version": "1", "stage": "export", "reason": reason, "detail": "for people", "path": None}
    return exported(utterance_id) | details


@pytest.fixture
def kept(tmp_path: Path) -> KeptList:
    items = [
        scored(name, 4.0, start_s=1.0, columns={"speaker": "s"} if name == "a" else None)
        for name in ("a", "b", "c", "d")
    ]
    items[1] = of_channel(items[1], 2, 1)
    return list_all(tmp_path / "out", items, ["speaker"], has_spans=True)


def outcomes(kept: KeptList, folder: Path, *parts: Sequence[dict]) -> ExportOutcomes:
    files = [folder / f"outcomes-{number}.parquet" for number in range(len(parts))]
    for path, rows in zip(files, parts, strict=True):
        pq.write_table(pa.Table.from_pylist(rows, OUTCOMES), path)
    return ExportOutcomes(kept, files)


def test_outcomes_are_counted_and_written(kept, tmp_path):
    parts = [exported("b"), rejected("d", "changed")], [rejected("c", "corrupt"), exported("a")]
    found = outcomes(kept, tmp_path, *parts)
    assert (found.exported, found.rejected) == (2, 2)
    assert found.reject_counts() == {"changed": 1, "corrupt": 1}
    found.write_rejects(tmp_path / "rejects.parquet")
    rejects = pq.read_table(tmp_path / "rejects.parquet")
    assert rejects.schema.names == schemas.REJECTS.names
    assert rejects["utterance_id"].to_pylist() == ["c", "d"]
    files = found.files("/exported", AudioTarget(sample_rate=8_000))
    columns = "path, whole, start_s, duration_s, sample_rate, channels, channel, source_path, source_rate"
    common = {"whole": True, "start_s": 0.0, "duration_s": 4.0, "sample_rate": 8_000, "channels": 1, "channel": None}
    assert list(files.rows(f"SELECT {columns} FROM {files.table} ORDER BY id")) == [
        {"path": f"/exported/{name}.flac", **common, "source_path": f"/corpus/{name}", "source_rate": 16_000}
        for name in "ab"
    ]


@pytest.mark.parametrize(
    "names", ["abc", "abcdd", "abcx", "abcdx"], ids=["missing", "repeated", "one for another", "unknown"]
)
def test_a_lost_or_repeated_utterance_is_an_error(kept, tmp_path, names):
    with pytest.raises(RuntimeError, match="4 utterances were to be exported"):
        outcomes(kept, tmp_path, [exported(name) for name in names])
