"""`audiosieve filter --preset` and `--dry_run` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import audiosieve
from tests.support.curated import write_curated
from tests.support.filtered import ids_of
from transforms.curation.presets.presets import PRESETS

MODEL = "some_net@0123456789ab"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of a model without a diagnosis."""
    return write_curated(tmp_path_factory.mktemp("plain") / "out", diagnosed=False)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same utterances, scored by a model with a diagnosis."""
    return write_curated(tmp_path_factory.mktemp("heard") / "out", diagnosed=True)


def test_a_preset_drops_what_a_diagnosis_shows(heard: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    done = audiosieve("filter", heard, "--output", keep, "--preset", "tts")
    assert ids_of(keep / "kept.parquet") == ["clean"]
    assert "not applied" not in done.stdout
    record = json.loads((keep / "filter.json").read_text(encoding="utf-8"))
    assert (record["rules_from"], record["not_applied"], record["unchecked"]) == ("the preset tts", [], {})


def test_rules_without_data_are_named(plain: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    done = audiosieve("filter", plain, "--output", keep, "--preset", "tts")
    assert ids_of(keep / "kept.parquet") == ["clean", "roomy"]
    assert (
        "not applied, for lack of data: rating (mos_ovrl), noise (snr_db), room (c50_db), music (music_s), second_voice "
        f"(overlap_s), codec (causes); {MODEL} has no diagnosis, so score with a model that has one (score --model)\n"
    ) in done.stdout
    idle = ["rating", "noise", "room", "music", "second_voice", "codec"]
    assert [line.split()[0] for line in done.stdout.splitlines() if line.endswith("  not applied")] == idle
    record = json.loads((keep / "filter.json").read_text(encoding="utf-8"))
    assert (record["not_applied"], record["unchecked"]) == (idle, dict.fromkeys(idle, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--preset", "emilia"],
            "the preset emilia needs mos_ovrl, which is null for all utterances; score with a model that predicts it (score "
            "--model), or choose other rules",
        ),
        (["--where", "snr_db > 20"], "would keep all utterances unchecked, because the rules are only about snr_db"),
        (["--preset", "tss"], "--preset: invalid choice: 'tss'"),
        (["--preset", "tts", "--rules", "none", "--where", "true"], "--where and --rules exclude each other"),
        (["--preset", "tts", "--where", "scor > 1"], "--where: unknown column 'scor'"),
        (["--print_rules", "--where", "score > 1"], "--print_rules prints the rules of --preset and --rules"),
        (
            ["--direct_num_workers", "2"],
            "--direct_num_workers is an option of Beam, which `audiosieve filter` uses only to",
        ),
        (["--runner=DataflowRunner"], "--runner is an option of Beam"),
        (["--carry", "speaker"], "unknown option --carry; `audiosieve score` has it"),
        (["--dry_run", "true"], "unexpected argument 'true'"),
    ],
)
def test_what_would_pass_silently_is_refused(plain: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = audiosieve("filter", plain, "--output", tmp_path / "keep", *options, status=2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_beams_dry_run_is_refused_by_a_command_that_would_write(tmp_path: Path) -> None:
    words = ("--speech", tmp_path, "--noise", tmp_path, "--output", tmp_path / "set", "--clips", 1, "--dry_run", "true")
    done = audiosieve("synthesize", *words, status=2)
    assert (
        "unknown option --dry_run; `audiosieve compact`, `audiosieve filter` and `audiosieve score` have it"
        in done.stderr
    )


def test_own_rules_replace_those_of_the_preset(plain: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("drop:\n  clipped: 'false'\n  mine: utterance_id = 'roomy'\n", encoding="utf-8")
    audiosieve("filter", plain, "--output", tmp_path / "keep", "--preset", "asr", "--rules", own)
    assert ids_of(tmp_path / "keep/kept.parquet") == ["clean", "clipped"]
    audiosieve("filter", plain, "--output", tmp_path / "keep2", "--preset", "asr", "--where", "utterance_id <> 'clean'")
    assert ids_of(tmp_path / "keep2/kept.parquet") == ["roomy"]


@pytest.mark.parametrize("preset", PRESETS)
def test_printed_rules_can_be_used_as_a_file(heard: Path, tmp_path: Path, preset: str) -> None:
    printed = tmp_path / "rules.yaml"
    printed.write_text(audiosieve("filter", "--preset", preset, "--print_rules").stdout, encoding="utf-8")
    for name, words in [("a", ["--preset", preset]), ("b", ["--rules", printed])]:
        audiosieve("filter", heard, "--output", tmp_path / name, *words)
    assert ids_of(tmp_path / "a/kept.parquet") == ids_of(tmp_path / "b/kept.parquet") != []


# --- dry run -------------------------------------------------------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "options",
    [
        ["--preset", "asr"],
        ["--where", "score > 2", "--budget", "4s"],
        ["--trim", "anomalies"],
        ["--rules", "none", "--quantile", "0.5", "--format", "csv"],
    ],
)
def test_a_dry_run_prints_the_same_and_writes_nothing(plain: Path, tmp_path: Path, options: list[str]) -> None:
    before = snapshot(plain)
    dry = audiosieve("filter", plain, "--dry_run", *options).stdout
    with_output = audiosieve("filter", plain, "--dry_run", "--output", tmp_path / "keep", *options).stdout
    assert list(tmp_path.iterdir()) == []
    assert snapshot(plain) == before
    real = audiosieve("filter", plain, "--output", tmp_path / "keep", *options).stdout
    lines = [line for line in real.splitlines() if not line.startswith(str(tmp_path))]
    assert [line for line in dry.splitlines() if line != "dry run: nothing is written"] == lines
    assert dry == with_output


def test_a_dry_run_of_an_export_writes_nothing(plain: Path, tmp_path: Path) -> None:
    words = ("--dry_run", "--output", tmp_path / "keep", "--export", tmp_path / "audio", "--direct_num_workers", 1)
    done = audiosieve("filter", plain, *words)
    assert f"the audio of the kept utterances would be exported to {tmp_path / 'audio'}\n" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_leaves_an_earlier_result_alone(plain: Path, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    audiosieve("filter", plain, "--output", keep)
    before = snapshot(tmp_path)
    done = audiosieve("filter", plain, "--output", keep, "--dry_run", "--where", "score > 4", status=2)
    assert "is not empty; choose another folder, or add --overwrite" in done.stderr
    audiosieve("filter", plain, "--output", keep, "--dry_run", "--where", "score > 4", "--overwrite")
    assert snapshot(tmp_path) == before


def test_a_dry_run_that_would_keep_nothing_has_the_status_of_a_real_one(plain: Path) -> None:
    done = audiosieve("filter", plain, "--dry_run", "--where", "score > 9", status=3)
    assert done.stderr == (
        "audiosieve filter: none of the 5 utterances is kept; 'where' drops most, 16.3 s of 16.3 s; loosen the rules\n"
    )


def test_the_table_explains_itself(plain: Path) -> None:
    done = audiosieve("filter", plain, "--dry_run", "--where", "score > 2")
    assert done.stdout.splitlines()[:6] == [
        "rule          dropped  length  dropped only by this rule  length",
        "----------------------------------------------------------------",
        "where               1   4.0 s                          1   4.0 s",
        "all together        1   4.0 s",
        "kept: 4 utterances, 12.3 s of 16.3 s (75.5%)",
        "dry run: nothing is written",
    ]
