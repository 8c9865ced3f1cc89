"""`audiosieve compare`: the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.command import audiosieve
from tests.support.outputs import rejected, scored, write_output


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("compare")
    a = write_output(root / "a", [scored(f"u{i}", 2.0 + i / 5) for i in range(10)], [rejected("r")])
    b = write_output(root / "b", [scored(f"u{i}", 2.3 + i / 5) for i in range(9)], model_id="other@0")
    return a, b


def test_it_prints_what_it_found(outputs: tuple[Path, Path]) -> None:
    text = audiosieve("compare", *outputs, "--worst", 3, "--threshold", 2.5).stdout
    assert f"A: {outputs[0]}, some_net@0123456789ab, PESQ MOS-LQO" in text
    assert f"B: {outputs[1]}, other@0, PESQ MOS-LQO" in text
    assert "scored in both: 9 utterances" in text
    assert "LCC 1.0, SRCC 1.0" in text
    assert "A: from 2.5" in text
    assert "different decisions: 2 utterances (22.2%), 8.0 s" in text
    assert len([line for line in text.splitlines() if line.startswith("u")]) == 3


def test_facts_become_json_and_rows_parquet(outputs: tuple[Path, Path], tmp_path: Path) -> None:
    audiosieve("compare", *outputs, "--worst", 1, "--output", tmp_path / "facts.json")
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["a"] == {"output": str(outputs[0]), "model_id": "some_net@0123456789ab", "label_scale": "pesq-wb"}
    assert facts["difference"]["mean"] == pytest.approx(0.3, abs=1e-5)
    assert len(facts["worst"]) == 1
    audiosieve("compare", *outputs, "--output", tmp_path / "rows.parquet", "--threshold", "2.5,2.8")
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table["utterance_id"].to_pylist() == ["r", *(f"u{i}" for i in range(10))]
    row = table.to_pylist()[1]
    assert (row["kept_a"], row["kept_b"], row["in_b"], row["changed"]) == (False, False, True, False)
    assert row["difference"] == pytest.approx(0.3, abs=1e-5)
    alone = table.to_pylist()[10]
    assert (alone["score_b"], alone["in_b"], alone["difference"], alone["kept_a"]) == (None, False, None, None)
    described = json.loads(table.schema.metadata[b"audiosieve.comparison"])
    assert described["thresholds"] == {"a": 2.5, "b": 2.8}
    assert "already exists" in audiosieve("compare", *outputs, "--output", tmp_path / "rows.parquet", status=2).stderr
    audiosieve("compare", *outputs, "--output", tmp_path / "rows.parquet", "--overwrite")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--threshold", "1,2,3"], "--threshold is '1,2,3'; must be one number, or two numbers separated by a comma"),
        (["--threshold", "nan"], "--threshold is 'nan'"),
        (["--threshold", "much"], "--threshold is 'much'"),
        (["--threshold", ""], "--threshold is ''"),
        (["--worst", "-1"], "--worst is -1; must be at least 0"),
        (["--output", "rows.txt"], "must end in .json or .parquet"),
    ],
)
def test_mistakes_are_said_in_one_sentence(outputs: tuple[Path, Path], options: list[str], said: str) -> None:
    done = audiosieve("compare", *outputs, *options, status=2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_what_cannot_be_compared_is_said(outputs: tuple[Path, Path], tmp_path: Path) -> None:
    assert "contains no completed run" in audiosieve("compare", outputs[0], tmp_path / "nothing", status=2).stderr
    broken = write_output(tmp_path / "broken", [scored("u1", 3.0)])
    (file,) = (broken / "utterances").iterdir()
    file.write_bytes(b"PAR1 and nothing more PAR1")
    for arguments in (["compare", outputs[0], broken], ["query", broken], ["query", broken, "FROM utterances"]):
        done = audiosieve(*arguments, status=2)
        assert "utterances" in done.stderr
        assert done.stderr.count("\n") == 1
    other = write_output(tmp_path / "other", [scored("elsewhere", 3.0)])
    assert "no utterance is scored in both" in audiosieve("compare", outputs[0], other, status=2).stderr
