"""An option that would have no effect is a usage error, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.synthesize import parse
from tests.support.command import audiosieve

SET = "synthesize --speech none --noise none --output set --clips 3"
TRAIN = "train --data none --output out"
FILTER = "filter none --output keep"


@pytest.mark.parametrize(
    ("command", "option", "needed"),
    [
        (f"{FILTER} --shard_size 5", "--shard_size", "add --export DIR"),
        (f"{FILTER} --export audio --shard_size 5", "--shard_size", "--export_format webdataset, shar or parquet"),
        (f"{FILTER} --export audio --export_format wav --shard_size 5", "--shard_size", "without --export_format"),
        (f"{FILTER} --mono", "--mono", "add --export DIR"),
        (f"{FILTER} --pad_s 1", "--pad_s", "add --trim"),
        (f"{FILTER} --balance speaker", "--balance", "--budget or a --quantile"),
        ("filter none --dry_run --overwrite", "--overwrite", "without --output"),
        ("query none --overwrite", "--overwrite", "without --output"),
        ("compare none none --overwrite", "--overwrite", "without --output"),
        ("submit take1.flac --frames", "--frames", "without --format json"),
        ("submit take1.flac --anomalies", "--anomalies", "without --format json"),
        ("serve --model none --rate 5", "--rate", "without --workers of at least 2"),
        ("report none -o a.html --examples 0 --max_mb 1", "--max_mb", "--examples is 0"),
        ("report none -o a.html --max_mb 0 --clip_s 5", "--clip_s", "--max_mb is 0"),
        ("evaluate none -o out --resamples 0 --seed 5", "--seed", "--resamples is 0"),
        (f"{TRAIN} --speech none", "--speech", "without --recipe"),
        (f"{TRAIN} --where split=train", "--where", "without --recipe"),
        (f"{TRAIN} --clips 5", "--clips", "without --recipe"),
        (f"{TRAIN} --workers 2", "--workers", "without --recipe"),
        (f"{SET} --max_faults 3", "--max_faults", "without --fault_ratio"),
        (f"{SET} --faults hum", "--faults", "without --fault_ratio"),
        (f"{SET} --partial_fault_ratio 0.5", "--partial_fault_ratio", "without --fault_ratio"),
        (f"{SET} --music_snr 0:5", "--music_snr", "without --music_ratio"),
        (f"{SET} --second_voice_snr 0:5", "--second_voice_snr", "without --second_voice_ratio"),
        (f"{SET} --partial_ratio 0 --partial_s 1:2", "--partial_s", "--partial_ratio or --partial_fault_ratio"),
        (f"{SET} --teacher_ratio 0.5", "--teacher_ratio", "in --labels"),
        (f"{SET} --as_is_ratio 0.5", "--as_is_ratio", "without --as_is"),
        ("score take1.flac --carry speaker", "--carry", "without --output"),
        ("score take1.flac --strict", "--strict", "without --output"),
        ("score take1.flac --wave-hours 2", "--wave_hours", "without --output"),
        ("score take1.flac --batch_size=2", "--batch_size", "without --output"),
        ("score take1.flac --direct_num_workers 2", "--direct_num_workers", "without --output"),
        ("score take1.flac --dry_run --overwrite", "--overwrite", "without --output"),
        ("score take1.flac --dry_run --forget x", "--forget", "without --output"),
    ],
)
def test_an_option_without_effect_is_refused(
    command: str, option: str, needed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "take1.flac").touch()
    done = audiosieve(*command.split(), status=2)
    assert done.stderr.count("\n") == 1
    assert option in done.stderr
    assert needed in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "take1.flac"]


def test_the_default_value_of_an_option_is_never_refused() -> None:
    # The record of a run lists all options with their values.
    words = ["--max_faults", "2", "--faults", "all", "--music_snr=-5:30", "--teacher_ratio", "1"]
    options, _ = parse([*SET.split()[1:], *words])
    assert (options.max_faults, options.teacher_ratio) == (2, 1.0)
