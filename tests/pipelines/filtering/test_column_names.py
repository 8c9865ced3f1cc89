"""Carried columns may have any name: also one that our SQL uses itself, a key word, or one with dots and quotes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.command import audiosieve
from tests.support.filtered import BAD_MIDDLE, rows_of
from tests.support.outputs import scored, write_output
from tests.support.paths import ROOT
from transforms import schemas
from transforms.curation.duckdb_rows import quoted
from transforms.curation.exporting.plan import write_export_plan
from transforms.curation.kept_list import RESERVED_COLUMNS
from transforms.curation.selection import Selection
from transforms.output.results import open_results

HOSTILE = [
    "select",
    "from",
    "order",
    'a"b',
    "a'b",
    "a.b",
    "a b",
    "ü",
    "日本",
    "%s",
    "{x}",
    "a\\b",
    "--",
    "field x",
    "state",
]
# Every name that a query gives to a table or a column.
_NAMES = re.compile(r"\b(?:AS|TABLE|VIEW|WITH|JOIN)\s+([a-z_]+)\b|\b([a-z_]+) :=|\b([a-z]+_(?:us|s|id|key|frame))\b")
# Columns of the tables that queries join with `utterances`.
_JOINED = {
    name for schema in (schemas.FRAMES, schemas.ANOMALIES, schemas.REJECTS, schemas.DROPPED) for name in schema.names
}
_MORE = {
    "archive",
    "begins",
    "kind",
    "member",
    "length_us",
    "text_state",
    "utterances",
    "frames",
    "anomalies",
    "rejects",
    "runs",
}


def internal_names() -> list[str]:
    """All names that the SQL of the package uses, and some odd ones, which a column may have."""
    names: set[str] = set()
    for path in [*(ROOT / "transforms/curation").rglob("*.py"), *(ROOT / "transforms/analysis").rglob("*.py")]:
        names |= {next(filter(None, groups)).lower() for groups in _NAMES.findall(path.read_text(encoding="utf-8"))}
    taken = {*schemas.KEPT.names, *RESERVED_COLUMNS}
    assert {"rules", "is_last", "unique_stem", "name", "flag", "rank", "start_us"} <= names | _JOINED
    return sorted((names | _JOINED | _MORE | set(HOSTILE)) - taken)


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> tuple[Path, list[str]]:
    names = internal_names()
    columns = {name: f"value of {name}" for name in names}
    items = [
        scored("good", 4.0, columns=columns),
        scored("bad", 1.5, columns=columns),
        scored("cut", BAD_MIDDLE, columns=columns, dropouts=1),
    ]
    root = tmp_path_factory.mktemp("names")
    return write_output(root / "out", items, carry=names, source="/gone/corpus.jsonl"), names


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "kaldi", "tsv"])
def test_a_filter_keeps_the_columns(output, tmp_path, format):
    scores, names = output
    keep = tmp_path / "keep"
    audiosieve("filter", scores, "--output", keep, "--format", format)
    (row,) = (row for row in rows_of(keep / "kept.parquet") if row["utterance_id"] == "good")
    assert {name: row[name] for name in names} == {name: f"value of {name}" for name in names}
    if format == "jsonl":
        row = json.loads((keep / "manifest.jsonl").read_text(encoding="utf-8").splitlines()[1])
    elif format == "parquet":
        row = pq.read_table(keep / "manifest.parquet").to_pylist()[1]
    if format in ("jsonl", "parquet"):
        assert row["id"] == "good"
        assert {name: row[name] for name in names} == {name: f"value of {name}" for name in names}


def test_trimming_budgets_and_rules_work(output, tmp_path):
    scores, _names = output
    keep = tmp_path / "keep"
    options = ["--trim", "anomalies", "--budget", "1h", "--balance", '"rules"', "--format", "jsonl"]
    audiosieve("filter", scores, "--output", keep, *options)
    rows = [json.loads(line) for line in (keep / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows][1:] == ["cut#4.288-7.376", "good"]
    assert {row["rules"] for row in rows} == {"value of rules"}
    assert {row["is_last"] for row in rows} == {"value of is_last"}


def test_rules_name_any_column(output, tmp_path):
    scores, names = output
    condition = " AND ".join(f"{quoted(name)} LIKE 'value%'" for name in names)
    audiosieve("filter", scores, "--output", tmp_path / "keep", "--where", condition, "--format", "csv")
    assert len(rows_of(tmp_path / "keep/kept.parquet")) == 3


def test_the_other_commands_work(output, tmp_path):
    scores, names = output
    audiosieve("query", scores)
    audiosieve("query", scores, "SELECT * FROM utterances")
    audiosieve("report", scores, "-o", tmp_path / "report.html")
    audiosieve("compare", scores, scores)
    for name in ("flag", "hours", "group", 'a"b', "mean_score"):
        assert name not in schemas.UTTERANCES.names
        if name in names:
            audiosieve("query", scores, "--by", quoted(name))


def test_an_export_has_the_columns(output):
    scores, names = output

    with Selection(open_results(str(scores)), scores) as selection:
        selection.apply_rules([])
        for format in ("flac", "webdataset"):
            write_export_plan(selection.list_kept(False), scores / "plan.parquet", format, 10)
            for row in rows_of(scores / "plan.parquet"):
                fields = json.loads(row["fields"])
                assert {name: fields[name] for name in names} == {name: f"value of {name}" for name in names}
