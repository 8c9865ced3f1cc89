"""`audiosieve synthesize`, end to end: two folders become a labelled set."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from model.features import num_frames
from model.labels import pseudo_score
from tests.support.command import Done, audiosieve
from tests.support.training.training_material import synthesize, write_folders, write_music
from transforms.corpus.sources import list_corpus
from transforms.schemas import CLIPS
from transforms.synthesis.degradations.kinds import DEGRADATIONS
from transforms.synthesis.labels.teachers import TEACHERS, missing_packages
from transforms.synthesis.materials import assign_splits

pytestmark = pytest.mark.slow


def run(folders: tuple[Path, Path], output: Path, *options: object, status: int = 0) -> Done:
    """Makes a set of one clip with pseudo-scores, unless the options say otherwise."""
    words = ["--speech", folders[0], "--noise", folders[1], "--output", output, "--clips", 1, "--labels", "pseudo"]
    return audiosieve("synthesize", *words, *options, status=status)


@pytest.fixture(scope="module")
def folders(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_folders(tmp_path_factory.mktemp("material"), samples)


@pytest.fixture(scope="module")
def clips(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """One set, made in one process."""
    output = tmp_path_factory.mktemp("set") / "set"
    return output, synthesize(folders, output)


def test_the_set_has_the_clips_asked_for_and_lists_what_it_could_not_use(clips: tuple[Path, list[dict]]) -> None:
    output, rows = clips
    assert [row["clip_id"] for row in rows] == [f"11-{number:08d}" for number in range(40)]
    assert pq.read_table(output / "clips").schema.equals(CLIPS)
    rejects = {
        row["utterance_id"]: (row["stage"], row["reason"]) for row in pq.read_table(output / "rejects").to_pylist()
    }
    assert rejects == {
        "speaker0/broken.wav": ("decode", "unsupported_format"),
        "group0/silence.wav": ("decode", "silent"),
    }
    record = read_record(output)
    assert record["counts"] == {"asked": 40, "clips": 40, "rejects": 2}
    assert record["references"] == {"listed": 7, "refused": {"unsupported_format": 1}}
    assert record["clips_rejected"] == {}


def read_record(output: Path) -> dict:
    (record,) = (output / "_runs").glob("*.json")
    return json.loads(record.read_text())


def test_labels_and_snrs_belong_together(clips: tuple[Path, list[dict]]) -> None:
    for row in clips[1]:
        noises = row["distortions"]
        covered = noises[0]["end_s"] - noises[0]["start_s"] if noises else row["duration_s"]
        snr_db = None if row["snr_db"] is None else row["snr_db"] + 10 * np.log10(row["duration_s"] / covered)
        assert row["pseudo"] == pytest.approx(pseudo_score(snr_db))
        assert (row["snr_db"] is None) == (not row["noise_ids"]) == (not row["noise_groups"])
        assert [noise["detail"] for noise in noises] == row["noise_ids"]
        assert {noise["kind"] for noise in noises} <= {"noise"}
        for column in ("pesq_wb", "pesq_nb", "disturbance", "asymmetric_disturbance", "reference", "corpus"):
            assert row[column] is None


def test_by_default_some_noise_covers_a_part_and_some_clips_have_two(clips: tuple[Path, list[dict]]) -> None:
    assert {len(row["noise_ids"]) for row in clips[1]} == {0, 1, 2}
    assert any(noise["start_s"] > 0 for row in clips[1] for noise in row["distortions"])
    assert not any(row["variation"] for row in clips[1])


def test_no_speaker_and_no_noise_group_is_in_two_splits(clips: tuple[Path, list[dict]]) -> None:
    speakers, groups = (
        [{name for row in clips[1] if row["split"] == split for name in names(row)} for split in ("train", "val")]
        for names in (lambda row: [row["speaker"]], lambda row: row["noise_groups"])
    )
    for train, val in (speakers, groups):
        assert train
        assert val
        assert not train & val


def test_the_clips_are_the_same_bytes_in_two_processes(
    clips: tuple[Path, list[dict]], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    assert synthesize(folders, tmp_path / "set", "--direct_num_workers=2") == clips[1]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Impulse responses of three rooms."""
    root = tmp_path_factory.mktemp("rooms")
    rng = np.random.default_rng(8)
    for room in range(3):
        response = np.append(np.zeros(32), rng.standard_normal(4_000) * np.exp(-np.arange(4_000) / 600) * 0.1)
        response[32] = 0.9
        (root / f"room{room}").mkdir()
        soundfile.write(root / f"room{room}" / "a.wav", response, 16_000)
    return root


def test_faults_variations_rooms_and_references_in_any_number_of_processes(
    folders: tuple[Path, Path], rooms: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("pyroomacoustics")
    options = [
        "--fault_ratio",
        "0.8",
        "--variation_ratio",
        "0.6",
        "--speed_ratio",
        "0.3",
        "--expander_ratio",
        "0.3",
        "--keep_reference",
    ]
    options += [
        "--clips",
        "60",
        "--labels",
        "pesq-wb,pseudo",
        "--max_disagreement",
        "5",
        "--noises",
        "1:3",
        "--max_faults",
        "6",
        "--rir",
    ]
    options += [str(rooms)]
    rows = synthesize(folders, tmp_path / "set", *options)
    assert synthesize(folders, tmp_path / "again", *options, "--direct_num_workers=2") == rows
    kinds = {distortion["kind"] for row in rows for distortion in row["distortions"]}
    # A gate has no distortion where it cuts nothing but pauses.
    assert kinds | {"gate"} == {"noise", *DEGRADATIONS}
    assert any(row["variation"] for row in rows)
    assert any(distortion["detail"].startswith("room") for row in rows for distortion in row["distortions"])
    for row in rows:
        reference, rate = soundfile.read(io.BytesIO(row["reference"]))
        assert len(reference) / rate == row["duration_s"]
        assert len(row["disturbance"]) == len(row["asymmetric_disturbance"]) == num_frames(len(reference))
        assert all(0 <= d["start_s"] < d["end_s"] <= row["duration_s"] for d in row["distortions"])
        degradations = {d["kind"] for d in row["distortions"]} - {"noise"}
        assert row["pseudo"] is None or not degradations
        assert row["pesq_wb"] < 4.63 or degradations <= {"dc_offset", "gain_control", "gate"}
    assert any(row["pseudo"] is not None for row in rows)


def test_music_second_voices_and_clips_without_speech(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    music = write_music(tmp_path / "music")
    options = ["--music", music, "--music_ratio", 0.4, "--second_voice_ratio", 0.4, "--no_speech_ratio", 0.4]
    options += ["--fault_ratio", 0.5, "--faults", "clipping,hum,band_limit", "--partial_fault_ratio", 0.5]
    options += ["--labels", "pesq-wb", "--max_disagreement", 5, "--keep_reference", "--partial_s", "0.3:0.6"]
    rows = synthesize(folders, tmp_path / "set", *options)
    assert synthesize(folders, tmp_path / "again", *options, "--direct_num_workers=2") == rows
    causes = {distortion["cause"] for row in rows for distortion in row["distortions"]}
    assert {"noise", "music", "second_voice", "clipping", "hum", "band_limit"} <= causes
    speechless = [row for row in rows if not row["speech"]]
    assert 8 <= len(speechless) <= 24
    for row in rows:
        is_speechless = row in speechless
        for column in ("pesq_wb", "disturbance", "asymmetric_disturbance", "reference"):
            assert (row[column] is None) == is_speechless
        assert (row["speaker"] == "") == (row["speech_id"] == "") == is_speechless
        assert row["speech_snr_db"] is None or row["distortions"]
        for name in ("distortions", "speech"):
            assert all(0 <= span["start_s"] < span["end_s"] <= row["duration_s"] for span in row[name])
    parts = [
        distortion["end_s"] - distortion["start_s"] < row["duration_s"]
        for row in rows
        for distortion in row["distortions"]
        if distortion["kind"] in ("hum", "band_limit")
    ]
    assert set(parts) == {True, False}


def test_only_the_faults_asked_for_happen(folders: tuple[Path, Path], tmp_path: Path) -> None:
    options = ["--fault_ratio", 1, "--faults", "packet_loss=10:20,band_limit", "--clean_ratio", 1, "--max_faults", 1]
    rows = synthesize(folders, tmp_path / "set", *options)
    kinds = [{distortion["kind"] for distortion in row["distortions"]} for row in rows]
    assert all(len(found) == 1 for found in kinds)
    assert set.union(*kinds) == {"packet_loss", "band_limit"}


def test_labels_that_disagree_are_rejects_and_counted(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    rows = synthesize(folders, tmp_path / "set", "--labels", "pesq-wb", "--clips", 12, "--max_disagreement", 0.001)
    lost = read_record(tmp_path / "set")["clips_rejected"]
    assert set(lost) == {"labels_disagree"}
    assert len(rows) + lost["labels_disagree"] == 12


def test_another_seed_makes_other_clips(
    clips: tuple[Path, list[dict]], folders: tuple[Path, Path], tmp_path: Path
) -> None:
    others = synthesize(folders, tmp_path / "set", "--seed=12", "--clips=5")
    assert not {row["audio"] for row in others} & {row["audio"] for row in clips[1]}


def test_a_list_of_snrs_is_kept_to(folders: tuple[Path, Path], tmp_path: Path) -> None:
    rows = synthesize(folders, tmp_path / "set", "--snr", "-5,20", "--clean_ratio", 0)
    assert {row["snr_db"] for row in rows} == {-5.0, 20.0}


def test_a_quiet_set_is_made_by_its_peaks(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for row in synthesize(folders, tmp_path / "set", "--peak_dbfs", "-45:-40", "--clips", 8):
        samples, _ = soundfile.read(io.BytesIO(row["audio"]))
        assert -45 <= row["peak_dbfs"] <= -40
        assert 20 * np.log10(np.abs(samples).max()) == pytest.approx(row["peak_dbfs"], abs=0.03)


def test_speech_of_too_small_a_dynamic_range_is_rejected_as_a_reference(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    noisy = tmp_path / "speech" / "speaker9"
    noisy.mkdir(parents=True)
    good, rate = soundfile.read(folders[0] / "speaker0" / "clean.flac")
    soundfile.write(noisy / "hiss.flac", good + 0.02 * np.random.default_rng(0).standard_normal(len(good)), rate)
    soundfile.write(noisy / "good.flac", good, rate)
    done = run((tmp_path / "speech", folders[1]), tmp_path / "set", "--holdout", 0, "--clips", 5)
    assert "refused 1 of 2 references (1 not_clean)" in done.stdout
    assert read_record(tmp_path / "set")["references"] == {"listed": 2, "refused": {"not_clean": 1}}
    rows = pq.read_table(tmp_path / "set" / "clips").to_pylist()
    assert {row["speech_id"] for row in rows} == {"speaker9/good.flac"}
    rejects = pq.read_table(tmp_path / "set" / "rejects").to_pylist()
    assert ("reference", "not_clean") in {(row["stage"], row["reason"]) for row in rejects}


def test_pesq_labels_are_true_and_its_failures_are_rejects(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    rows = synthesize(folders, tmp_path / "set", "--labels", "pesq-wb,pesq-nb", "--clips", 12, "--snr", "0:30")
    assert all(1.0 <= row["pesq_wb"] <= 4.65 for row in rows)
    assert all(row["pesq_wb"] > 4.6 for row in rows if row["snr_db"] is None)
    assert all(1.0 <= row["pesq_nb"] <= 4.56 for row in rows)
    rejects = [row for row in pq.read_table(tmp_path / "set" / "rejects").to_pylist() if row["stage"] == "label"]
    assert len(rows) + len(rejects) == 12


def test_material_of_which_nothing_serves_ends_with_its_rejects_and_no_set(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    done = run(folders, tmp_path / "set", "--clips", 3, "--min_dynamic_range_db", 200, status=1)
    assert "no clip could be made" in done.stderr
    rejects = pq.read_table(tmp_path / "set" / "rejects").to_pylist()
    assert {row["reason"] for row in rejects} >= {"not_clean", "no_material"}


def test_a_set_is_not_written_over(clips: tuple[Path, list[dict]], folders: tuple[Path, Path]) -> None:
    done = run(folders, clips[0], status=2)
    assert "already holds a set" in done.stderr


MISTAKES = [
    (["--snr", "loud"], "--snr is 'loud'; must be a number or LOW:HIGH"),
    (["--snr", "20:10"], "the lower end must come first"),
    (["--teacher_ratio", "2"], "--teacher_ratio is 2; must be from 0 to 1"),
    (["--as_is_ratio", "0.5"], "--as_is_ratio has no effect without --as_is"),
    (["--as_is", "speech"], "--as_is has no effect without --as_is_ratio"),
    (["--as_is", "speech", "--as_is_ratio", "0.5"], "--as_is needs ratings: add dnsmos or distillmos to --labels"),
    (["--labels", "mos"], "--labels is 'mos'; 'mos' is unknown, choose from pesq-wb,"),
    (["--clips", "0"], "--clips is 0; must be at least 1"),
    (["--clean_ratio", "2"], "--clean_ratio is 2; must be from 0 to 1"),
    (["--peak_dbfs", "-3:3"], "over 0 dBFS"),
    (["--partial_ratio", "-1"], "--partial_ratio is -1; must be from 0 to 1"),
    (["--partial_s", "0:1"], "--partial_s is '0:1'; must be at least 0.02"),
    (["--noises", "0:2"], "--noises is '0:2'; must be at least 1"),
    (["--noises", "1.5"], "both ends must be whole numbers"),
    (["--variation_ratio", "1.1"], "--variation_ratio is 1.1; must be from 0 to 1"),
    (["--speed_ratio", "-0.1"], "--speed_ratio is -0.1; must be from 0 to 1"),
    (["--music_ratio", "0.1"], "--music_ratio is 0.1; name the music with --music"),
    (["--fault_ratio", "2"], "--fault_ratio is 2; must be from 0 to 1"),
    (["--max_faults", "0"], "--max_faults is 0; must be at least 1"),
    (["--max_disagreement", "-1"], "--max_disagreement is -1; must be at least 0"),
    (["--faults", "echo"], "unknown kind 'echo'; choose from reverb, hum,"),
    (["--faults", "clipping=20:3"], "must lie within 0.1:60 (dB of overload)"),
    (["--faults", "codec=3"], "takes no range"),
    (["--rir", "nowhere"], "there is no such file or directory"),
    (["--where", "split=train"], "has no column 'split'"),
    (["--where", "split"], "is not COLUMN=VALUE"),
    (["--noise", "nowhere"], "there is no such file or directory"),
]


def test_a_second_voice_needs_two_speakers_in_each_split(folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = run(folders, tmp_path / "set", "--second_voice_ratio", 0.5, "--holdout", 0.01, status=2)
    assert "has a single speaker; --second_voice_ratio needs two in each split" in done.stderr


def test_archives_are_no_material(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "speech.tar", "w") as file:
        file.add(folders[0], "speech")
    done = run((tmp_path / "speech.tar", folders[1]), tmp_path / "set", status=2)
    assert "is an archive" in done.stderr


@pytest.mark.parametrize(("options", "sentence"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_mistake_ends_with_one_sentence(
    options: list[str], sentence: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    done = run(folders, tmp_path / "set", *options, status=2)
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "set" / "clips").exists()


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        (["--variation_ratio", "0.5"], True),
        (["--fault_ratio", "0.5"], True),
        (["--fault_ratio", "0.5", "--faults", "hum"], False),
        ([], False),
    ],
)
def test_without_the_extra_only_sets_without_rooms_can_be_made(
    options: list[str], needed: bool, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.experiments.synthesis_setup.simulation_installed", lambda: False)
    done = run(folders, tmp_path / "set", "--clips", 2, *options, status=2 if needed else 0)
    assert ("simulated rooms need the extra `train`" in done.stderr) == needed


def test_a_missing_teacher_is_said_before_the_work_starts(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_package = dataclasses.replace(TEACHERS["distillmos"], packages=("a_package_that_nobody_has", "numpy"))
    monkeypatch.setitem(TEACHERS, "distillmos", no_package)
    done = run(folders, tmp_path / "set", "--labels", "pseudo,distillmos", status=2)
    assert "--labels distillmos needs the extra `teachers`" in done.stderr
    assert done.stderr.endswith("missing: a_package_that_nobody_has\n")


def test_ratings_and_recordings_as_they_are_in_any_number_of_processes(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    if missing := missing_packages(["dnsmos"]):
        pytest.skip(f"DNSMOS is not installed: {', '.join(missing)}")
    options = ["--labels", "pseudo,dnsmos", "--teacher_ratio", 0.5, "--as_is", folders[0], "--as_is_ratio", 0.5]
    # Clips of this length fill one window of DNSMOS when they are doubled, which keeps the test short.
    options += ["--clips", 8, "--duration", "2.3:2.4"]
    rows = synthesize(folders, tmp_path / "set", *options)
    assert synthesize(folders, tmp_path / "again", *options, "--direct_num_workers=2") == rows
    as_is = [row for row in rows if row["distortions"] is None]
    others = [row for row in rows if row["distortions"] is not None]
    assert as_is
    assert all(row["pseudo"] is None and row["mos_ovrl"] is not None for row in as_is)
    assert 0 < sum(row["mos_ovrl"] is not None for row in others) < len(others)
    record = read_record(tmp_path / "set")
    assert record["references"] == {"listed": 7, "refused": {"unsupported_format": 1}}
    assert record["options"]["labels"] == "pseudo,dnsmos"
    split_of = {row["speaker"]: row["split"] for row in others}
    assert all(row["split"] == split_of.get(row["speaker"], row["split"]) for row in as_is)


def test_a_speaker_in_two_splits_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "recordings.csv"
    table.write_text(f"path,speaker,split\n{folders[0] / 'speaker1' / 'stereo_48k.flac'},speaker1,test\n")
    options = ["--labels", "pseudo,dnsmos", "--as_is", table, "--as_is_ratio", 0.3]
    done = run(folders, tmp_path / "set", *options, status=2)
    assert "the speaker 'speaker1' is in the split " in done.stderr
    assert "and in 'test' of --as_is" in done.stderr


def test_a_manifest_gives_speakers_groups_and_splits(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    manifest = tmp_path / "manifest.csv"
    path = folders[0] / "speaker0" / "clean.flac"
    manifest.write_text(f"path,kind,split,speaker,group\n{path},speech,val,anna,x\n{path}2,noise,train,,rain\n")
    first, second = list_corpus(str(manifest))
    (speech,), (noise,) = assign_splits([first], "speech", None), assign_splits([second], "noise", None)
    assert (speech.group, speech.split) == ("anna", "val")
    assert (noise.group, noise.split) == ("rain", "train")
