"""Options of `audiosieve synthesize`: their record, and the clips that they describe."""

from __future__ import annotations

import sys

import pytest

from pipelines.common.errors import UsageError
from pipelines.experiments.synthesis_setup import set_up
from pipelines.synthesize import parse
from transforms.errors import SourceError

NEEDED = ["--speech", "speech", "--noise", "noise", "--output", "set", "--clips", "3"]


def test_a_record_spells_lists_as_the_command_line_does() -> None:
    words = ["--snr", "-5,0:20", "--labels", "pesq-wb,pseudo", "--noises", "2", "--faults", "clipping=3:7.5,codec"]
    words += ["--fault_ratio", "0.5"]
    options, _ = parse([*NEEDED, *words])
    record = options.as_record()
    assert (record["snr"], record["labels"], record["noises"]) == ("-5,0:20", "pesq-wb,pseudo", "2")
    assert (record["faults"], record["peak_dbfs"], record["clips"]) == ("clipping=3:7.5,codec", "-18:0", 3)


@pytest.mark.parametrize(
    "words", [[], ["--fault_ratio", "0.5", "--faults", "hum,reverb=0.3:0.5", "--snr", "-0.125:2.5"]]
)
def test_the_recorded_options_are_parsed_to_the_same_options(words: list[str]) -> None:
    options, _ = parse([*NEEDED, *words])
    record = options.as_record()
    again = [
        f"--{name}={value}"
        for name, value in record.items()
        if value not in (None, (), False) and name != "keep_reference"
    ]
    assert parse(again)[0] == options


def test_codecs_without_their_package_are_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    options, _ = parse([*NEEDED, "--labels", "pseudo", "--fault_ratio", "0.5", "--faults", "codec,hum"])
    with pytest.raises(UsageError, match=r"the fault codec needs the extra `media`.* not found: PyAV"):
        set_up(options)
    # Without codecs, the first problem is the missing material.
    options, _ = parse([*NEEDED, "--labels", "pseudo", "--fault_ratio", "0.5", "--faults", "hum"])
    with pytest.raises(SourceError):
        set_up(options)
