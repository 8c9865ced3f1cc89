"""`audiosieve filter`, run as a user runs it: what is kept, what is dropped, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.support.command import Output, audiosieve
from tests.support.filtered import ids_of, rows_of, wav, write_corpus, write_output_of, write_small_output
from tests.support.outputs import rejected, scored, write_output
from transforms.curation.manifest_formats import FORMATS

# --- the decision ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept_samples(sample_run: Output, tmp_path_factory) -> tuple[Path, str]:
    keep = tmp_path_factory.mktemp("samples") / "keep"
    return keep, audiosieve("filter", sample_run.root, "--output", keep).stdout


@pytest.mark.slow
def test_the_samples_by_the_suggested_rules(sample_run, kept_samples):
    keep, _ = kept_samples
    assert ids_of(keep / "kept.parquet") == ["clean.flac", "compressed.mp3", "stereo_48k.flac"]
    dropped = {row["utterance_id"]: row["rules"] for row in rows_of(keep / "dropped.parquet")}
    assert dropped == {
        "burst.flac": ["bad_quality"],
        # The default model is wrong about a second voice in it.
        "clipped.flac": ["clipped", "second_voice"],
        "noise_00db.flac": ["bad_quality"],
        "noise_10db.flac": ["bad_quality"],
        "noise_20db.flac": ["bad_quality"],
    }
    rows = {row["utterance_id"]: row for row in sample_run.utterances}
    assert rows_of(keep / "kept.parquet") == [rows[name] | {"trimmed": False} for name in ids_of(keep / "kept.parquet")]
    assert all(row["score"] == rows[row["utterance_id"]]["score"] for row in rows_of(keep / "dropped.parquet"))
    schema = pq.read_schema(keep / "kept.parquet")
    assert schema.metadata[b"audiosieve.model_id"].decode() == sample_run.utterances[0]["model_id"]


@pytest.mark.slow
def test_what_it_prints_and_records(sample_run, kept_samples):
    keep, stdout = kept_samples
    words = {line.split()[0]: line.split()[1:] for line in stdout.splitlines() if line}
    assert words["bad_quality"][0::3] == ["4", "4"]
    assert words["clipped"][0::3] == ["1", "0"]
    assert (words["all"][:2], words["kept:"][0]) == (["together", "5"], "3")
    assert "1 more got no score (1 corrupt)" in stdout
    record = json.loads((keep / "filter.json").read_text())
    assert record["counts"] == {"scored": 8, "kept": 3, "dropped": 5, "rejected": 1}
    assert record["hours"]["kept"] + record["hours"]["dropped"] == pytest.approx(record["hours"]["scored"], abs=3e-6)
    assert record["rules"]["bad_quality"] == "score < 2.0"
    assert record["runs"] == [
        json.loads(path.read_text())["run_id"] for path in (sample_run.root / "_runs").glob("*.json")
    ]
    assert record["manifest"] == "paths.txt"


def test_other_files_are_no_lost_recordings(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    rejects = [rejected(name) for name in ("bad.wav", "notes.txt", ".DS_Store")]
    output = write_output(tmp_path / "out", [scored("s0/r0.wav", 4.0)], rejects, source=str(corpus))
    stdout = audiosieve("filter", output, "--output", tmp_path / "keep", "--rules", "none").stdout
    assert "; 1 more got no score (1 corrupt)" in stdout
    assert json.loads((tmp_path / "keep/filter.json").read_text())["counts"]["rejected"] == 1


def test_a_manifest_that_cannot_name_a_recording_says_so(tmp_path):
    item = scored("u", 4.0)
    uri = os.fsdecode(os.fsencode(tmp_path) + b"/corpus/caf\xe9.wav")
    wav(tmp_path / "corpus/a.wav", 1.0).rename(uri)
    ref = dataclasses.replace(item.utterance.ref, uri=uri)
    items = [dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, ref=ref))]
    output = write_output(tmp_path / "out", items, source=str(tmp_path / "corpus"))
    stdout = audiosieve("filter", output, "--output", tmp_path / "keep", "--rules", "none").stdout
    assert "1 kept recording cannot be listed as a file, because the name is not UTF-8 (as" in stdout
    assert "caf\\xe9.wav" in stdout


@pytest.mark.slow
def test_the_manifest_can_be_scored(sample_run, kept_samples, tmp_path):
    keep, _ = kept_samples
    audiosieve("score", "--input", keep / "paths.txt", "--output", tmp_path / "again")
    again = {Path(name).name: score for name, score in Output(tmp_path / "again").scores.items()}
    assert again == pytest.approx({name: sample_run.scores[name] for name in ids_of(keep / "kept.parquet")}, abs=1e-3)


@pytest.mark.slow
def test_spans_score_about_as_their_frames_did(samples, tmp_path):
    keep = tmp_path / "keep"
    # The default model lowers the scores of clean frames up to a second from a burst by one point.
    model = ["--model", "disturbance_net_v1"]
    audiosieve("score", "--input", samples, "--output", tmp_path / "out", *model)
    audiosieve(
        "filter", tmp_path / "out", "--output", keep, "--trim", "anomalies", "--min_s", 0.5, "--where", "score > 3"
    )
    spans = [row for row in rows_of(keep / "kept.parquet") if row["utterance_id"].startswith("burst.flac#")]
    assert len(spans) == 2
    audiosieve("score", "--input", keep / "manifest.csv", "--output", tmp_path / "again", *model)
    again = {row["utterance_id"]: row for row in Output(tmp_path / "again").utterances}
    for row in rows_of(keep / "kept.parquet"):
        assert again[row["utterance_id"]]["duration_s"] == pytest.approx(row["duration_s"], abs=1e-9)
        assert again[row["utterance_id"]]["start_s"] == pytest.approx(row["start_s"], abs=1e-9)
        assert again[row["utterance_id"]]["num_frames"] == row["num_frames"]
        # The first score saw the audio around the span.
        assert again[row["utterance_id"]]["score"] == pytest.approx(row["score"], abs=0.6)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return write_small_output(tmp_path_factory.mktemp("small") / "out")


@pytest.mark.parametrize(
    ("options", "kept", "dropped"),
    [
        (["--where", "score >= 3.2"], ["a1", "a2", "b1", "b2", "b3"], {"where": 2}),
        (["--rules", "none", "--budget", "12s"], ["a1", "a2", "b1"], {"budget": 4}),
        (["--rules", "none", "--budget", "20s", "--balance", "speaker"], ["a1", "a2", "b1", "b3"], {"budget": 3}),
        (["--where", "score < 3.9", "--quantile", "0.5"], ["a2", "b1"], {"where": 1, "quantile": 4}),
        (
            ["--where", "score > 2.5", "--quantile", "0.9", "--budget", "0.2m", "--balance", "speaker = 'a'"],
            ["a1", "a2", "b1"],
            {"where": 1, "quantile": 1, "budget": 2},
        ),
        (
            ["--trim", "anomalies"],
            ["a1", "a2", "a3", "b1", "b2", "b3#0.000-3.100", "b3#4.288-7.376"],
            {"trim": 1, "bad_quality": 1},
        ),
        (["--trim", "anomalies", "--where", "score > 3.75"], ["a1", "a2", "b3#0.000-3.100"], {"trim": 1, "where": 5}),
    ],
)
def test_rules_budgets_and_trimming(small, tmp_path, options, kept, dropped):
    keep = tmp_path / "keep"
    audiosieve("filter", small, "--output", keep, *options)
    assert ids_of(keep / "kept.parquet") == kept
    found: dict[str, int] = {}
    for row in rows_of(keep / "dropped.parquet"):
        for name in row["rules"]:
            found[name] = found.get(name, 0) + 1
    assert found == dropped
    rows = rows_of(keep / "kept.parquet") + rows_of(keep / "dropped.parquet")
    assert sum(row["duration_s"] for row in rows) == pytest.approx(24.0 + 7.376)
    counts = json.loads((keep / "filter.json").read_text())["counts"]
    assert counts["kept"] + counts["dropped"] == len(rows)
    assert (counts["scored"], counts["rejected"]) == (7, 2)


def test_a_file_of_rules(small, tmp_path):
    printed = audiosieve("filter", "--print_rules").stdout
    (tmp_path / "rules.yaml").write_text(printed.replace("score < 2.0", "score < 3.1  # stricter"))
    audiosieve("filter", small, "--output", tmp_path / "keep", "--rules", tmp_path / "rules.yaml")
    assert ids_of(tmp_path / "keep/kept.parquet") == ["a1", "a2", "b1", "b2", "b3"]


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "scor > 3"], "--where: unknown column 'scor' (did you mean score?)"),
        (["--where", "score"], "is a FLOAT, not true or false"),
        (["--where", "true", "--rules", "none"], "--where and --rules exclude each other"),
        (["--rules", "/gone.yaml"], "/gone.yaml: cannot read the rules"),
        (["--budget", "much"], "--budget is 'much'; must be a number over 0 followed by h, m or s"),
        (["--quantile", "1.5"], "--quantile is 1.5; must be over 0 and at most 1"),
        (["--balance", "speaker"], "--balance needs a --budget or a --quantile"),
        (["--budget", "1h", "--balance", "speakr"], "--balance: unknown column 'speakr' (did you mean speaker?)"),
        (["--trim", "all"], "'all' is unknown, choose from anomalies"),
        (["--trim", "anomalies", "--min_s", "0.01"], "--min_s is 0.01; must be at least"),
        (["--min_s", "3"], "--min_s is for trimmed utterances; add --trim WHAT"),
        (["--pad_s", "0.1"], "--pad_s is for trimmed utterances; add --trim WHAT"),
        (["--pad_s", "-1"], "--pad_s is -1; must be from 0 to 60"),
        (["--format", "paths"], "--format paths cannot list spans of a recording"),
        (["--format", "lhotse"], "Lhotse cuts need the duration of the recording"),
        (["--shard_size", "0"], "--shard_size is 0; must be at least 1"),
        (["--exprot", "x"], "unknown option --exprot (did you mean --export?)"),
    ],
)
def test_bad_options_are_refused_in_a_sentence_and_nothing_is_written(small, tmp_path, options, message):
    done = audiosieve("filter", small, "--output", tmp_path / "keep", *options, status=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--where", "score > 9"], ["--rules", "none", "--budget", "3s"]])
def test_nothing_kept_is_exit_status_3_with_a_sentence_and_all_files(small, tmp_path, options):
    keep = tmp_path / "keep"
    done = audiosieve("filter", small, "--output", keep, *options, status=3)
    name = options[-2].strip("-")
    assert done.stderr == (
        f"audiosieve filter: none of the 7 utterances is kept; {name!r} drops most, 31.4 s of 31.4 s; look at the column "
        f"rules of {keep}/dropped.parquet, and loosen the rules\n"
    )
    assert (ids_of(keep / "kept.parquet"), len(ids_of(keep / "dropped.parquet"))) == ([], 7)
    assert json.loads((keep / "filter.json").read_text())["counts"]["kept"] == 0
    assert len((keep / "manifest.csv").read_text().splitlines()) == 1


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_can_list_nothing(small, tmp_path, format):
    audiosieve("filter", small, "--output", tmp_path / "keep", "--where", "score > 9", "--format", format, status=3)
    assert (tmp_path / "keep" / FORMATS[format].file).exists()


def test_nothing_is_exported_if_nothing_is_kept(small, tmp_path):
    words = ("--where", "score > 9", "--export", tmp_path / "audio")
    done = audiosieve("filter", small, "--output", tmp_path / "keep", *words, status=3)
    assert "0 exported" in done.stdout


def test_a_carried_column_with_the_name_of_ours_is_refused(tmp_path):
    root = write_output(tmp_path / "out", [scored("a", 4.0)], carry=["trimmed"])
    done = audiosieve("filter", root, "--output", tmp_path / "keep", status=2)
    assert "has a carried column 'trimmed'" in done.stderr


def test_folders_that_are_refused(tmp_path):
    audio = write_corpus(tmp_path / "audio")
    output = write_output_of(audio, tmp_path / "out", [4.0] * 6)
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("keep me")
    for words, message in [
        ([output, "--output", output / "keep"], "overlaps with the scores in"),
        ([output, "--output", tmp_path], "overlaps with the scores in"),
        ([output, "--output", audio / "keep"], "overlaps with the corpus in"),
        ([output, "--output", full], "is not empty"),
        ([output, "--output", full, "--overwrite"], "holds files that `audiosieve filter` did not write"),
        ([output, "--output", full / "thesis.txt"], "is a file"),
        ([output, "--output", tmp_path / "k", "--export", tmp_path / "k/audio"], "overlaps with --output"),
        ([output, "--output", tmp_path / "k", "--export", full], "is not empty"),
        ([output, "--output", tmp_path / "k", "--export", full, "--overwrite"], "is not empty"),
        (
            [output, "--output", tmp_path / "k", "--export", tmp_path / "a", "--runner", "DataflowRunner"],
            "--export runs on this machine only",
        ),
        ([output], "--output is missing"),
        ([], "the folder of the scores is missing"),
        ([tmp_path / "nothing", "--output", tmp_path / "k"], "contains no completed run"),
    ]:
        assert message in audiosieve("filter", *words, status=2).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audio", "full", "out"]
    assert (full / "thesis.txt").read_text() == "keep me"


def test_an_earlier_filter_is_overwritten_on_request(small, tmp_path):
    keep = tmp_path / "keep"
    audiosieve("filter", small, "--output", keep)
    assert "is not empty" in audiosieve("filter", small, "--output", keep, "--where", "score > 3.9", status=2).stderr
    assert len(ids_of(keep / "kept.parquet")) == 6
    audiosieve("filter", small, "--output", keep, "--where", "score > 3.9", "--overwrite")
    assert ids_of(keep / "kept.parquet") == ["a1"]
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_the_same_command_writes_the_same_bytes(small, tmp_path):
    for name in ("one", "two"):
        audiosieve("filter", small, "--output", tmp_path / name, "--budget", "13s", "--balance", "speaker")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_rules_for_another_scale_are_refused(tmp_path):
    root = write_output(tmp_path / "out", [scored("a", 4.0)])
    (record,) = (root / "_runs").glob("*.json")
    record.write_text(record.read_text().replace('"pesq-wb"', '"pseudo"'))
    done = audiosieve("filter", root, "--output", tmp_path / "keep", status=2)
    assert "but the scores are on pseudo" in done.stderr


def test_columns_that_sql_cannot_tell_apart_are_refused(tmp_path):
    root = write_output(tmp_path / "out", [scored("a", 4.0)], carry=["Score"])
    done = audiosieve("filter", root, "--output", tmp_path / "keep", status=2)
    assert "another column differs from 'Score' only in case" in done.stderr


def test_it_loads_no_tensorflow():
    code = "import sys, pipelines.filter; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
