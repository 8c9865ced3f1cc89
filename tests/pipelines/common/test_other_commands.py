"""An option of another command is found without importing the command."""

from __future__ import annotations

import importlib

import pytest

from pipelines.cli import JOBS
from pipelines.common.other_commands import commands_with, option_hint


@pytest.mark.parametrize("option", ["--carry", "--overwrite", "--port", "--dry_run", "--rules"])
def test_the_commands_that_have_an_option_are_found(option: str) -> None:
    having = [
        job
        for job in sorted(JOBS)
        if option in importlib.import_module(f"pipelines.{job}").build_parser()._option_string_actions
    ]
    assert having
    assert commands_with(option) == having


def test_the_hint_names_them() -> None:
    assert option_hint("--port") == "`audiosieve serve` has it"
    assert option_hint("--rules") == "`audiosieve filter` has it"
    assert option_hint("--nothing") == ""
