"""`--segment` and the kinds of `--trim` through the command line."""

from __future__ import annotations

import csv
import dataclasses
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.command import Output, audiosieve
from tests.support.filtered import RATE, rows_of, write_small_output
from tests.support.outputs import write_output
from tests.support.talks import TALK, talk
from transforms.corpus.sources import list_corpus

# Start and end of the segments of the talk, and the words in them: one a second.
SEGMENTS = [(0.0, 14.672), (15.744, 39.152), (46.304, 69.936)]


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """The output of a manifest that lists a talk with word times, and a short recording."""
    edges = np.cumsum([0, *(length for run in TALK for length in run)]) * 0.016
    speech = np.zeros(round(edges[-1] * RATE) + 256, np.int16)
    words = []
    for start_s, end_s in zip(edges[:-1:2], edges[1::2], strict=True):
        speech[round(start_s * RATE) : round(end_s * RATE)] = 1_000
        words += [{"word": f"w{t:.0f}", "start": t, "end": t + 0.5} for t in np.arange(start_s + 0.1, end_s - 0.5)]
    audio = tmp_path / "audio"
    audio.mkdir()
    soundfile.write(audio / "talk.wav", speech, RATE)
    soundfile.write(audio / "short.wav", speech[: 2 * RATE], RATE)
    text = " ".join(word["word"] for word in words)
    rows = [
        {"audio_filepath": str(audio / "talk.wav"), "id": "talk", "text": text, "words": words, "show": "s"},
        {"audio_filepath": str(audio / "short.wav"), "id": "short", "text": "short", "show": "s"},
    ]
    source = tmp_path / "corpus.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    carry = ["text", "words", "show"]
    items = []
    for ref in list_corpus(str(source), carry):
        runs = TALK if ref.utterance_id == "talk" else [(124, 0)]
        item = talk(ref.utterance_id, runs, format="WAV/PCM_16")
        items.append(dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, ref=ref)))
    return write_output(tmp_path / "scores", items, carry=carry, source=str(source))


def manifest_of(keep: Path) -> Path:
    """Returns the manifest of a filter's output."""
    return keep / json.loads((keep / "filter.json").read_text())["manifest"]


def run(scores: Path, *options: object) -> tuple[Path, str]:
    keep = scores.parent / "keep"
    return keep, audiosieve("filter", scores, "--output", keep, "--segment", "3:30", *options).stdout


def test_long_recordings_become_utterances_with_their_words(scores):
    keep, stdout = run(scores)
    lines = [json.loads(line) for line in (keep / "manifest.jsonl").read_text().splitlines()]
    assert np.array([(line["offset"], line["offset"] + line["duration"]) for line in lines]) == pytest.approx(
        np.array(SEGMENTS)
    )
    for line, (start_s, _) in zip(lines, SEGMENTS, strict=True):
        words = line["text"].split()
        assert len(words) > 10
        assert [entry["word"] for entry in line["words"]] == words
        assert float(words[0][1:]) == pytest.approx(start_s + line["words"][0]["start"], abs=0.5)
        assert (line["show"], line["trimmed"]) == ("s", True)
    table = {row[0]: row[1:] for row in map(str.split, stdout.splitlines()) if row}
    assert (table["segment_pause"][0], table["segment_short"][0], table["segment_long"][0]) == ("3", "2", "0")
    assert "3 pieces of trimmed utterances: 3 have the words inside them as their text" in stdout
    record = json.loads((keep / "filter.json").read_text())
    assert (record["options"]["segment"], record["options"]["trim"]) == ("3:30", "anomalies")
    assert record["hours"]["scored"] == pytest.approx(record["hours"]["kept"] + record["hours"]["dropped"], abs=2e-6)
    by_reason = {entry["name"]: entry["hours"] for entry in record["dropped_by"]}
    assert sum(by_reason.values()) == pytest.approx(record["hours"]["dropped"], abs=1e-5)


@pytest.mark.parametrize("format", ["csv", "tsv", "parquet", "kaldi", "lhotse"])
def test_manifests_in_other_formats_list_the_segments(scores, format):
    keep, _ = run(scores, "--format", format)
    spans = sorted((ref.span.start_s, ref.span.end_s) for ref in list_corpus(str(manifest_of(keep))))
    assert np.array(spans) == pytest.approx(np.array(SEGMENTS), abs=1e-4)


@pytest.mark.parametrize("format", ["wav", "webdataset"])
def test_exports_hold_the_samples_of_the_segments(scores, format):
    keep, _ = run(scores, "--export", scores.parent / "audio_of_segments", "--export_format", format)
    if format == "webdataset":
        (shard,) = (scores.parent / "audio_of_segments").rglob("*.tar")
        with tarfile.open(shard) as tar:
            members = [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]
        assert sorted(member["duration"] for member in members) == pytest.approx([14.672, 23.408, 23.632], abs=1e-3)
        assert all(member["text"] for member in members)
        return
    lengths = []
    for line in map(json.loads, manifest_of(keep).read_text().splitlines()):
        samples, _ = soundfile.read(line["audio_filepath"], dtype="int16")
        # The outer 0.1 s are pauses, or the ends of the recording.
        inner = samples[RATE // 10 : -RATE // 10]
        assert np.count_nonzero(inner) > 0.8 * len(inner)
        lengths.append(len(samples) / RATE)
    assert sorted(lengths) == pytest.approx(sorted(end - start for start, end in SEGMENTS), abs=1e-4)


def test_a_list_of_paths_becomes_a_table_of_segments(tmp_path):
    root = write_output(tmp_path / "scores", [talk("talk.wav", uri="/gone/talk.wav")], source="/gone")
    keep, stdout = run(root)
    assert "paths cannot list spans of a recording" in stdout
    with (keep / "manifest.csv").open(newline="") as file:
        assert [float(row["start"]) for row in csv.DictReader(file)] == pytest.approx([start for start, _ in SEGMENTS])


def test_the_segments_of_a_recording_follow_each_other(tmp_path):
    talks = [talk(name, uri=f"/gone/{name}") for name in ("b.wav", "a.wav")]
    keep, _ = run(write_output(tmp_path / "scores", talks, source="/gone"))
    with (keep / "manifest.csv").open(newline="") as file:
        listed = [(Path(row["path"]).name, float(row["start"])) for row in csv.DictReader(file)]
    assert listed == sorted(listed)
    assert len(listed) == 2 * len(SEGMENTS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--segment", "3"], "--segment is '3'; must be MIN:MAX in seconds, such as 3:30"),
        (["--segment", "30:3"], "the lower end must come first"),
        (["--segment", "0:30"], "must be at least 0.5"),
        (["--segment", "3:30", "--min_s", "2"], "--segment and --min_s exclude each other"),
        (
            ["--trim", "noisy"],
            "'noisy' is unknown, choose from anomalies, 'score < NUMBER' (once) and the causes noise, ",
        ),
        (["--trim", "noise,score > 2"], "'score > 2' is unknown, choose from anomalies"),
        (["--trim", "score < 9"], "cuts everything: the scores are on pesq-wb, from 1 to 4.64"),
        (["--trim", "noise"], "--trim noise: the model that scored the corpus has no diagnosis, so it hears no causes"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_written(tmp_path, options, message):
    scores = write_small_output(tmp_path / "out")
    done = audiosieve("filter", scores, "--output", tmp_path / "keep", *options, status=2)
    assert message in done.stderr
    assert not (tmp_path / "keep").exists()


def test_a_trim_by_score_cuts_what_is_no_anomaly(tmp_path):
    items = [talk("u", [(1_200, 0)], bad=[(300, 500)], bad_score=3.6)]
    scores = write_output(tmp_path / "out", items)
    audiosieve("filter", scores, "--output", tmp_path / "keep", "--trim", "score < 3.8")
    kept = rows_of(tmp_path / "keep/kept.parquet")
    assert [row["trimmed"] for row in kept] == [True, True]
    assert json.loads((tmp_path / "keep/filter.json").read_text())["options"]["trim"] == "score < 3.8"


@pytest.mark.slow
def test_segments_of_real_speech_begin_and_end_in_pauses(samples, tmp_path):
    speech, rate = soundfile.read(samples / "clean.flac")
    generator = np.random.default_rng(5)
    parts = []
    for pause_s in (0.6, 1.5, 0.3, 2.5, 0.8, 0.6, 1.2, 0.5):
        parts += [speech, np.zeros(round(pause_s * rate))]
    recording = np.concatenate(parts) + generator.normal(0, 3e-4, sum(map(len, parts)))
    # Noise from the middle of one repetition to that of the next one.
    start = len(speech) * 3 // 2
    recording[start : start + len(speech)] += generator.normal(0, 0.2, len(speech))
    audio = tmp_path / "audio"
    audio.mkdir()
    soundfile.write(audio / "long.wav", recording, rate)
    # The default model lowers the scores of this synthetic speech beside noise, by up to one point.
    model = ["--model", "disturbance_net_v1"]
    audiosieve("score", "--input", audio, "--output", tmp_path / "scores", *model)
    options = ["--rules", "none", "--export", tmp_path / "segments", "--export_format", "wav"]
    keep, _ = run(tmp_path / "scores", *options)
    kept = rows_of(keep / "kept.parquet")
    assert len(kept) >= 3
    level = np.sqrt(np.mean(speech**2))
    for row in kept:
        assert 3 <= row["duration_s"] <= 30
        for time_s in (row["start_s"], row["start_s"] + row["duration_s"]):
            place = round(time_s * rate)
            around = recording[max(place - rate // 100, 0) : place + rate // 100]
            assert np.sqrt(np.mean(around**2)) < 0.1 * level
    audiosieve("score", "--input", manifest_of(keep), "--output", tmp_path / "again", *model)
    again = {row["utterance_id"]: row for row in Output(tmp_path / "again").utterances}
    for row in kept:
        assert again[row["utterance_id"]]["score"] == pytest.approx(row["score"], abs=0.6)
        assert again[row["utterance_id"]]["num_anomalies"] == 0
