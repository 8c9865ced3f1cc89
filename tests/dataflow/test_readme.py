"""What dataflow/README.md says is what the files beside it do."""

from __future__ import annotations

import re
import shlex

import pytest

from dataflow import cost
from pipelines.score import parse
from tests.support.staged_job import ROOT, printed_by

README = (ROOT / "dataflow" / "README.md").read_text(encoding="utf-8")
PROFILES = sorted(path.stem for path in cost.PROFILES.glob("*.options"))


def test_the_table_of_workers_is_the_profiles() -> None:
    section = README.partition("## Workers")[2].partition("\n## ")[0]
    rows = {cells[1].strip(" `"): [cell.strip() for cell in cells[2:6]] for line in section.splitlines()
            if line.startswith("| `") for cells in [line.split("|")]}  # fmt: skip
    assert sorted(rows) == PROFILES
    for profile, (machine, processes, disk, most) in rows.items():
        (words,) = printed_by("run", "gs://b/in", "gs://b/out", PROFILE=profile)
        assert f"--machine_type={machine.partition(',')[0]}" in words
        workers = cost.Workers.read(profile)
        assert (processes, disk, most) == (str(workers.cores), f"{workers.disk_gb} GB", str(workers.most))


def test_the_estimate_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    (command, told) = re.search(r"```console\n\$ python dataflow/cost\.py (.*)\n([^`]*)```", README).groups()  # type: ignore[union-attr]
    assert cost.main(shlex.split(command)) == 0
    assert capsys.readouterr().out == told
    assert f"take {100 * cost.NETWORK_SHARE:.0f} %" in README.replace("takes", "take")
    assert f"{1 / (1 - cost.NETWORK_SHARE):.2f} times" in README.replace("\n", " ")


def test_the_commands_are_those_of_the_script() -> None:
    found = re.findall(r"^(?:PROFILE=\S+ )?dataflow/cloud\.sh (.*?)(?: {2,}#.*)?$", README, re.MULTILINE)
    assert len(found) >= 4
    for command in found:
        for words in printed_by(*shlex.split(command)):
            if words[0] == "audiosieve":
                parse(words[2:])


def test_cheap_by_the_gpu_it_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """As the README says of the bundled models."""

    def dollars(profile: str) -> float:
        cost.main(["--hours=10000", f"--profile={profile}"])
        return float(capsys.readouterr().out.splitlines()[2].split()[0])

    assert dollars("gpu-l4") > dollars("cpu-large")
