"""The amounts that a report states for presets are those that `filter` keeps."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.command import audiosieve
from tests.support.curated import write_curated
from tests.support.outputs import scored, write_output
from transforms.analysis.report.presets import PresetAmount, preset_amounts
from transforms.curation.presets.presets import PRESETS
from transforms.output.results import open_results


def amounts(root: Path) -> dict[str | None, PresetAmount]:
    return {item.name: item for item in preset_amounts(open_results(str(root)))}


def test_each_preset_keeps_what_filter_keeps(tmp_path):
    root = write_curated(tmp_path / "out", diagnosed=True)
    found = amounts(root)
    assert list(found) == [None, *PRESETS]
    for name, item in found.items():
        kept = tmp_path / str(name)
        audiosieve("filter", root, "--output", kept, *(["--preset", name] if name else []))
        seconds = pq.read_table(kept / "kept.parquet")["duration_s"].to_pylist()
        assert item.kept is not None
        assert (item.kept.utterances, item.kept.seconds) == (len(seconds), pytest.approx(sum(seconds)))
    assert len({item.kept.utterances for item in found.values() if item.kept}) > 1


def test_rules_without_data_are_named(tmp_path):
    found = amounts(write_curated(tmp_path / "out", diagnosed=False))
    assert found["emilia"].kept is None
    assert "mos_ovrl" in found["emilia"].note
    assert found["tts"].kept is not None
    assert found["tts"].note.startswith("6 of 19 rules without data: ")
    assert "room" in found["tts"].note


def test_an_output_of_an_earlier_version_has_no_data_for_duplicates(tmp_path):
    found = amounts(write_output(tmp_path / "out", [scored("a", 4.0)]))
    assert found["tts"].kept is None
    assert "content_hash" in found["tts"].note
    assert found[None].kept is not None
