"""Tests of dataflow/README.md against the files in that folder."""

from __future__ import annotations

import re
import shlex

import pytest

from dataflow import cost
from pipelines.score import parse
from tests.support.deployment.staged_job import ROOT, printed_by

README = (ROOT / "dataflow" / "README.md").read_text(encoding="utf-8")
PROFILES = sorted(path.stem for path in cost.PROFILES.glob("*.options"))


def test_the_table_of_workers_is_the_profiles() -> None:
    section = README.partition("## Workers")[2].partition("\n## ")[0]
    lines = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    rows = {cells[1].strip(" `"): [cell.strip() for cell in cells[2:6]] for cells in lines}
    assert sorted(rows) == PROFILES
    for profile, (machine, processes, disk, max_workers) in rows.items():
        (words,) = printed_by("run", "gs://b/in", "gs://b/out", PROFILE=profile)
        assert f"--machine_type={machine.partition(',')[0]}" in words
        workers = cost.Workers.read(profile)
        assert (processes, disk, max_workers) == (str(workers.cores), f"{workers.disk_gb} GB", str(workers.max_workers))


def test_the_printed_estimate_is_that_of_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    (command, output) = re.search(r"```console\n\$ python dataflow/cost\.py (.*)\n([^`]*)```", README).groups()  # type: ignore[union-attr]
    assert cost.main(shlex.split(command)) == 0
    assert capsys.readouterr().out == output
    assert f"takes {100 * cost.NETWORK_SHARE:.0f} %" in README
    assert f"{1 / (1 - cost.NETWORK_SHARE):.2f} times" in README.replace("\n", " ")


def test_the_commands_are_those_of_the_script() -> None:
    found = re.findall(r"^(?:PROFILE=\S+ )?dataflow/cloud\.sh (.*?)(?: {2,}#.*)?$", README, re.MULTILINE)
    assert len(found) >= 4
    for command in found:
        for words in printed_by(*shlex.split(command)):
            if words[0] == "audiosieve":
                parse(words[2:])


def test_a_gpu_costs_more_than_cores_for_the_bundled_models(capsys: pytest.CaptureFixture[str]) -> None:
    def dollars(profile: str) -> float:
        cost.main(["--hours=10000", f"--profile={profile}"])
        return float(capsys.readouterr().out.splitlines()[2].split()[0])

    assert dollars("gpu-l4") > dollars("cpu-large")
