"""`audiosieve score FILE`, the real command: prints the score of one recording, and writes nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import soundfile

from audiosieve import score
from model.bundle import DEFAULT, open_bundle
from tests.support.command import Output, audiosieve, audiosieve_process

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_score_is_that_of_a_run(samples: Path, sample_run: Output, tmp_path: Path) -> None:
    shutil.copy(samples / "burst.flac", tmp_path)
    done = audiosieve_process("score", "burst.flac")
    head, _, row, model = done.stdout.splitlines()
    assert head.split() == ["recording", "score", "worst", "frame", "length", "SNR", "C50", "remarks"]
    assert row.split()[:2] == ["burst.flac", f"{sample_run.scores['burst.flac']:.2f}"]
    assert sample_run.bad_stretches("burst.flac") == ["bad 2.1-3.1 s (noise)"]
    assert row.endswith(" dB  bad 2.1-3.1 s (noise)")
    assert model.startswith(f"scores of {open_bundle(DEFAULT).model_id}: PESQ")
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "burst.flac"]


def test_a_model_without_a_diagnosis_has_no_columns_for_it(samples: Path) -> None:
    head, *_ = audiosieve("score", samples / "burst.flac", "--model", "disturbance_net_v1").stdout.splitlines()
    assert head.split() == ["recording", "score", "worst", "frame", "length", "remarks"]


@pytest.mark.parametrize("name", ["clipped.flac", "noise_00db.flac"])
def test_a_model_with_a_diagnosis_names_causes_snr_and_c50(samples: Path, name: str) -> None:
    expected = score(samples / name)
    head, _, row, _ = audiosieve("score", samples / name).stdout.splitlines()
    assert head.split()[5:] == ["SNR", "C50", "causes", "remarks"]
    assert expected.causes
    assert f"  {expected.heard.snr_db:.1f} dB  " in row
    assert f"  {expected.heard.c50_db:.1f} dB  {', '.join(expected.causes).replace('_', ' ')}  " in f"{row}  "


def test_each_channel_has_a_score(samples: Path, tmp_path: Path) -> None:
    audio, rate = soundfile.read(samples / "clean.flac")
    noisy, _ = soundfile.read(samples / "noise_00db.flac")
    soundfile.write(tmp_path / "two.wav", list(zip(audio[:60_000], noisy[:60_000], strict=True)), rate)
    lines = audiosieve("score", "two.wav", "--channels", "each").stdout.splitlines()[2:4]
    assert [line.split()[0] for line in lines] == ["two.wav#ch0", "two.wav#ch1"]
    assert float(lines[0].split()[1]) > 4 > 2 > float(lines[1].split()[1])


def test_a_recording_without_a_score_says_why(samples: Path) -> None:
    done = audiosieve("score", samples / "corrupt.flac", status=3)
    assert done.stdout == ""
    assert re.match(r"audiosieve score: \S+/corrupt.flac: corrupt: after 0 of 65040 samples", done.stderr)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{samples}"], "--output is missing; without it, only a single recording is scored, and .*/audio is not one"),
        (["{samples}/*.flac"], "--output is missing"),
        (["list.csv"], "--output is missing"),
        (["nowhere.wav"], "there is no such file"),
        (["{samples}/clean.flac", "--prune"], "--prune has no effect without --output"),
        (["{samples}/clean.flac", "--overwrite"], "--overwrite has no effect without --output"),
        (["{samples}/clean.flac", "--runner", "PrismRunner"], "--runner has no effect without --output"),
        # What a shell makes of two files, two folders, and more files.
        (["{samples}/clean.flac", "{samples}/burst.flac"], "burst.flac, is the folder for the tables, but .* quote it"),
        (["{samples}/clean.flac", "{samples}"], "/audio, is the folder for the tables, but .* quote it"),
        (
            ["{samples}/clean.flac", "{samples}/burst.flac", "out"],
            "unexpected argument 'out'; .* quote it: '.*/[*].flac'",
        ),
    ],
)
def test_what_is_not_one_recording_is_refused(samples: Path, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "list.csv").write_text(f"path\n{samples}/clean.flac\n")
    done = audiosieve("score", *(word.format(samples=samples) for word in words), status=2)
    assert re.search(message, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "list.csv"]
