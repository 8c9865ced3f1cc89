"""What the README says of the output is what the code writes."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from model.bundle import DEFAULT, open_bundle
from pipelines.cli import JOBS
from tests.support.paths import ROOT
from transforms.schemas import SCORE_TABLES

README = (ROOT / "README.md").read_text(encoding="utf-8")


def table_of(name: str, schema: pa.Schema) -> str:
    """A schema as the README shows it."""
    lines = [f"**`{name}`**", "", "| column | type | what it is |", "|---|---|---|"]
    for field in schema:
        kind = str(field.type).replace("list<item: string>", "list of string") + ("?" if field.nullable else "")
        lines.append(f"| {field.name} | {kind} | {field.metadata[b'description'].decode()} |")
    return "\n".join(lines)


@pytest.mark.parametrize("name", SCORE_TABLES)
def test_every_column_of_every_table_is_in_the_readme(name: str) -> None:
    assert table_of(name, SCORE_TABLES[name]) in README


def test_every_job_and_the_default_model_are_in_the_readme() -> None:
    assert all(f"audiosieve {job}" in README for job in JOBS)
    assert DEFAULT in README
    assert open_bundle(DEFAULT).model_id in README


def test_the_python_examples_compile() -> None:
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        compile(example, "README.md", "exec")
