"""A run whose carried columns have other types than those of earlier runs changes these, and commits itself."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.command import audiosieve
from tests.support.paths import ROOT

AUDIO = ROOT / "tests/samples/audio"


def test_a_later_run_changes_the_types_of_earlier_rows(tmp_path):
    source, output = tmp_path / "corpus.jsonl", tmp_path / "out"
    rows = [
        {"audio_filepath": f"{AUDIO}/clean.flac", "id": "a", "n": 1},
        {"audio_filepath": f"{AUDIO}/noise_20db.flac", "id": "b", "n": 0.5},
    ]
    for number in (1, 2):
        source.write_text("".join(f"{json.dumps(row)}\n" for row in rows[:number]), encoding="utf-8")
        audiosieve("score", "--input", source, "--output", output, "--carry", "n", "--direct_num_workers=1")
    table = pq.read_table(output / "utterances").sort_by("utterance_id")
    assert table.schema.field("n").type == pa.float64()
    assert table["n"].to_pylist() == [1.0, 0.5]
