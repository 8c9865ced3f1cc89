"""`audiosieve filter`, run as a user runs it: what is kept, what is dropped, how it is listed, and its audio."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.filtering import decision
from tests.support.command import Output, audiosieve
from tests.support.outputs import rejected, scored, write_output
from transforms.corpus.archives import members
from transforms.corpus.sources import list_corpus
from transforms.elements import AudioRef, ScoredUtterance
from transforms.output.results import open_results

RATE = 16_000
BAD_MIDDLE = [4.0] * 200 + [1.0] * 60 + [3.5] * 200


def table(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def ids(path: Path) -> list[str]:
    return [row["utterance_id"] for row in table(path)]


def refs_of(source: Path | str) -> list[AudioRef]:
    """All recordings of a corpus, those in archives too."""
    found = []
    for ref in list_corpus(str(source)):
        found += [member for member, _ in members(ref)] if ref.archive else [ref]
    return found


def output_of(root: Path, source: Path | str, scores: Sequence[float], carry: Sequence[str] = (), **facts) -> Path:
    """An output of a corpus whose recordings are there, with these scores in the order of the ids."""
    items = []
    for ref, score in zip(refs_of(source), scores, strict=True):
        path, _, member = ref.uri.partition("#")
        info = soundfile.info(io.BytesIO(_member(path, member)) if member else path)
        end = info.duration if ref.span.end_s is None else ref.span.end_s
        made = scored(
            ref.utterance_id, score, start_s=ref.span.start_s, duration_s=end - ref.span.start_s, sample_rate=RATE
        )
        items.append(
            ScoredUtterance(dataclasses.replace(made.utterance, ref=ref, channels=info.channels), made.frame_score)
        )
    return write_output(root, items, carry=carry, source=str(source), **facts)


def _member(path: str, member: str) -> bytes:
    with tarfile.open(path) as tar:
        return tar.extractfile(member).read()


def wav(path: Path, seconds: float, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-9_000, 9_000, round(seconds * RATE)).astype(np.int16)
    soundfile.write(path, samples, RATE)
    return path


@pytest.fixture(scope="module")
def audio(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus") / "audio"
    for number in range(6):
        wav(root / f"s{number % 2}" / f"r{number}.wav", 1.0 + number / 4, number)
    return root


# --- the decision ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept_samples(sample_run: Output, tmp_path_factory) -> tuple[Path, str]:
    keep = tmp_path_factory.mktemp("samples") / "keep"
    return keep, audiosieve("filter", sample_run.root, "--output", keep).stdout


@pytest.mark.slow
def test_the_samples_by_the_suggested_rules(sample_run, kept_samples):
    keep, _ = kept_samples
    assert ids(keep / "kept.parquet") == ["clean.flac", "compressed.mp3", "noise_20db.flac", "stereo_48k.flac"]
    dropped = {row["utterance_id"]: row["rules"] for row in table(keep / "dropped.parquet")}
    assert dropped == {
        "burst.flac": ["bad_quality"],
        "clipped.flac": ["clipped"],
        **{f"noise_{level}db.flac": ["bad_quality"] for level in ("00", "10")},
    }
    rows = {row["utterance_id"]: row for row in sample_run.utterances}
    assert table(keep / "kept.parquet") == [rows[name] for name in ids(keep / "kept.parquet")]
    assert all(row["score"] == rows[row["utterance_id"]]["score"] for row in table(keep / "dropped.parquet"))
    schema = pq.read_schema(keep / "kept.parquet")
    assert schema.metadata[b"audiosieve.model_id"].decode() == sample_run.utterances[0]["model_id"]


@pytest.mark.slow
def test_what_it_prints_and_records(sample_run, kept_samples):
    keep, stdout = kept_samples
    words = {line.split()[0]: line.split()[1:] for line in stdout.splitlines() if line}
    assert words["bad_quality"][0::2] == ["3", "3"]
    assert words["clipped"][0::2] == ["1", "1"]
    assert (words["dropped"][0], words["kept"][0]) == ("4", "4")
    assert "1 more got no score (1 corrupt)" in stdout
    record = json.loads((keep / "filter.json").read_text())
    assert record["counts"] == {"scored": 8, "kept": 4, "dropped": 4, "rejected": 1}
    assert record["hours"]["kept"] + record["hours"]["dropped"] == pytest.approx(record["hours"]["scored"], abs=3e-6)
    assert record["rules"]["bad_quality"] == "score < 2.0"
    assert record["runs"] == [
        json.loads(path.read_text())["run_id"] for path in (sample_run.root / "_runs").glob("*.json")
    ]
    assert record["manifest"] == "paths.txt"


@pytest.mark.slow
def test_the_manifest_scores_what_is_kept(sample_run, kept_samples, tmp_path):
    keep, _ = kept_samples
    audiosieve("score", "--input", keep / "paths.txt", "--output", tmp_path / "again")
    again = {Path(name).name: score for name, score in Output(tmp_path / "again").scores.items()}
    assert again == pytest.approx({name: sample_run.scores[name] for name in ids(keep / "kept.parquet")}, abs=1e-3)


@pytest.mark.slow
def test_spans_score_about_as_their_frames_did(sample_run, tmp_path):
    keep = tmp_path / "keep"
    audiosieve(
        "filter", sample_run.root, "--output", keep, "--trim", "anomalies", "--min_s", 0.5, "--where", "score > 3"
    )
    spans = [row for row in table(keep / "kept.parquet") if row["utterance_id"].startswith("burst.flac#")]
    assert len(spans) == 2
    audiosieve("score", "--input", keep / "manifest.csv", "--output", tmp_path / "again")
    again = {row["utterance_id"]: row for row in Output(tmp_path / "again").utterances}
    for row in table(keep / "kept.parquet"):
        assert again[row["utterance_id"]]["duration_s"] == pytest.approx(row["duration_s"], abs=1e-9)
        assert again[row["utterance_id"]]["start_s"] == pytest.approx(row["start_s"], abs=1e-9)
        assert again[row["utterance_id"]]["num_frames"] == row["num_frames"]
        # What is around a span was heard then, and is not now.
        assert again[row["utterance_id"]]["score"] == pytest.approx(row["score"], abs=0.5)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """Utterances of 4 s of two speakers, and two rejects."""
    scores = {"a1": 4.0, "a2": 3.8, "a3": 3.0, "a4": 1.5, "b1": 3.5, "b2": 3.2}
    items = [scored(name, score, columns={"speaker": name[0]}) for name, score in scores.items()]
    items.append(scored("b3", BAD_MIDDLE, columns={"speaker": "b"}))
    root = tmp_path_factory.mktemp("small") / "out"
    return write_output(root, items, [rejected("x"), rejected("y")], carry=["speaker"], source="/gone/corpus.csv")


@pytest.mark.parametrize(
    ("options", "kept", "dropped"),
    [
        (["--where", "score >= 3.2"], ["a1", "a2", "b1", "b2", "b3"], {"where": 2}),
        (["--rules", "none", "--budget", "12s"], ["a1", "a2", "b1"], {"budget": 4}),
        (["--rules", "none", "--budget", "20s", "--balance", "speaker"], ["a1", "a2", "b1", "b3"], {"budget": 3}),
        (["--where", "score < 3.9", "--quantile", "0.5"], ["a2", "b1"], {"where": 1, "quantile": 4}),
        (["--where", "score > 2.5", "--quantile", "0.9", "--budget", "0.2m", "--balance", "speaker = 'a'"],
         ["a1", "a2", "b1"], {"where": 1, "quantile": 1, "budget": 2}),
        (["--trim", "anomalies"], ["a1", "a2", "a3", "b1", "b2", "b3#0.000-3.100", "b3#4.288-7.376"],
         {"trim": 1, "bad_quality": 1}),
        (["--trim", "anomalies", "--where", "score > 3.6"], ["a1", "a2", "b3#0.000-3.100"], {"trim": 1, "where": 5}),
    ],
)  # fmt: skip
def test_rules_budgets_and_trimming(small, tmp_path, options, kept, dropped):
    keep = tmp_path / "keep"
    audiosieve("filter", small, "--output", keep, *options)
    assert ids(keep / "kept.parquet") == kept
    found: dict[str, int] = {}
    for row in table(keep / "dropped.parquet"):
        for name in row["rules"]:
            found[name] = found.get(name, 0) + 1
    assert found == dropped
    rows = table(keep / "kept.parquet") + table(keep / "dropped.parquet")
    assert sum(row["duration_s"] for row in rows) == pytest.approx(24.0 + 7.376)
    counts = json.loads((keep / "filter.json").read_text())["counts"]
    assert counts["kept"] + counts["dropped"] == len(rows)
    assert (counts["scored"], counts["rejected"]) == (7, 2)


def test_a_file_of_rules(small, tmp_path):
    printed = audiosieve("filter", "--print_rules").stdout
    (tmp_path / "rules.yaml").write_text(printed.replace("score < 2.0", "score < 3.1  # stricter"))
    audiosieve("filter", small, "--output", tmp_path / "keep", "--rules", tmp_path / "rules.yaml")
    assert ids(tmp_path / "keep/kept.parquet") == ["a1", "a2", "b1", "b2", "b3"]


# --- manifests ---------------------------------------------------------------------------------------------------------


def in_csv(audio: Path, root: Path) -> Path:
    with (root / "corpus.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "speaker"])
        writer.writerows([f"u{n}", path, path.parent.name] for n, path in enumerate(sorted(audio.rglob("*.wav"))))
    return root / "corpus.csv"


def in_tsv_of_spans(audio: Path, root: Path) -> Path:
    lines = [
        "path\tstart\tend",
        *(f"{path}\t{n * 0.05:.3f}\t0.9" for n, path in enumerate(sorted(audio.rglob("*.wav")))),
    ]
    (root / "corpus.tsv").write_text("\n".join(lines) + "\n")
    return root / "corpus.tsv"


def in_nemo(audio: Path, root: Path) -> Path:
    rows = [{"audio_filepath": str(path), "duration": 1.0, "text": "x"} for path in sorted(audio.rglob("*.wav"))]
    (root / "train.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / "train.json"


def in_kaldi(audio: Path, root: Path) -> Path:
    (root / "data").mkdir()
    paths = sorted(audio.rglob("*.wav"))
    (root / "data/wav.scp").write_text("".join(f"rec{n} {path}\n" for n, path in enumerate(paths)))
    (root / "data/segments").write_text("".join(f"utt{n} rec{n} 0.25 0.75\n" for n in range(len(paths))))
    return root / "data"


def in_lhotse(audio: Path, root: Path) -> Path:
    rows = []
    for n, path in enumerate(sorted(audio.rglob("*.wav"))):
        info = soundfile.info(path)
        source = {"type": "file", "channels": [0], "source": str(path)}
        recording = {"id": f"r{n}", "sources": [source], "sampling_rate": RATE, "num_samples": info.frames,
            "duration": info.duration, "channel_ids": [0]}  # fmt: skip
        rows.append(
            {"id": f"c{n}", "start": 0.5, "duration": 0.5, "channel": 0, "recording": recording, "type": "MonoCut"}
        )
    (root / "cuts.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return root / "cuts.jsonl.gz"


def in_parquet(audio: Path, root: Path) -> Path:
    import pyarrow as pa

    pq.write_table(pa.table({"path": [str(path) for path in sorted(audio.rglob("*.wav"))]}), root / "corpus.parquet")
    return root / "corpus.parquet"


def in_a_list(audio: Path, root: Path) -> Path:
    (root / "corpus.txt").write_text("".join(f"{path}\n" for path in sorted(audio.rglob("*.wav"))))
    return root / "corpus.txt"


KINDS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "directory": (lambda audio, _: audio, "paths.txt"),
    "glob": (lambda audio, _: audio / "*" / "*.wav", "paths.txt"),
    "list": (in_a_list, "paths.txt"),
    "csv": (in_csv, "manifest.csv"),
    "tsv": (in_tsv_of_spans, "manifest.tsv"),
    "nemo": (in_nemo, "manifest.jsonl"),
    "parquet": (in_parquet, "manifest.parquet"),
    "kaldi": (in_kaldi, "kaldi"),
    "lhotse": (in_lhotse, "cuts.jsonl.gz"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_is_listed_as_the_corpus_came(audio, tmp_path, kind):
    make, name = KINDS[kind]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    source = make(audio, corpus)
    output = output_of(tmp_path / "out", source, [4.0, 1.0, 4.0, 4.0, 1.0, 4.0])
    keep = tmp_path / "keep"
    audiosieve("filter", output, "--output", keep)
    before, after = list_corpus(str(source)), list_corpus(str(keep / name))
    kept = [ref for place, ref in enumerate(before) if place not in (1, 4)]
    if name == "paths.txt":  # in which ids have no place
        assert [ref.uri for ref in after] == [ref.uri for ref in kept]
        return
    assert [(ref.utterance_id, ref.uri) for ref in after] == [(ref.utterance_id, ref.uri) for ref in kept]
    for ref, other in zip(after, kept, strict=True):
        assert ref.span.start_s == pytest.approx(other.span.start_s, abs=1e-6)
        assert ref.span.end_s == pytest.approx(other.span.end_s, abs=1e-6)


def tars(audio: Path, root: Path) -> Path:
    root.mkdir()
    with tarfile.open(root / "s.tar", "w") as tar:
        for path in sorted(audio.rglob("*.wav")):
            tar.add(path, f"{path.parent.name}/{path.name}")
    return root


def test_what_is_kept_of_tars_is_an_index(audio, tmp_path):
    output = output_of(tmp_path / "out", tars(audio, tmp_path / "tars"), [4.0, 1.0, 4.0, 4.0, 1.0, 4.0])
    audiosieve("filter", output, "--output", tmp_path / "keep")
    rows = [json.loads(line) for line in (tmp_path / "keep/index.jsonl").read_text().splitlines()]
    assert [(Path(row["url"]).name, row["key"]) for row in rows] == [
        ("s.tar", "s0/r0"), ("s.tar", "s0/r4"), ("s.tar", "s1/r1"), ("s.tar", "s1/r5"),
    ]  # fmt: skip
    trimmed = output_of(tmp_path / "out2", tmp_path / "tars", [4.0, 1.0, 4.0, 4.0, 1.0, 4.0])
    done = audiosieve("filter", trimmed, "--output", tmp_path / "csv", "--format", "csv", status=2)
    assert "cannot point into an archive" in done.stderr


def test_a_corpus_that_is_gone_is_listed_in_csv(small, tmp_path):
    audiosieve("filter", small, "--output", tmp_path / "keep")
    refs = list_corpus(str(tmp_path / "keep/manifest.csv"))
    assert [ref.utterance_id for ref in refs] == ids(tmp_path / "keep/kept.parquet")
    assert refs[0].span.end_s == 4.0
    assert refs[0].columns["speaker"] == "a"


def test_a_format_that_is_asked_for_or_none(small, tmp_path):
    audiosieve("filter", small, "--output", tmp_path / "kaldi", "--format", "kaldi")
    assert (tmp_path / "kaldi/kaldi/spk2utt").read_text() == "a a1 a2 a3\nb b1 b2 b3\n"
    audiosieve("filter", small, "--output", tmp_path / "none", "--format", "none")
    assert sorted(path.name for path in (tmp_path / "none").iterdir()) == [
        "dropped.parquet",
        "filter.json",
        "kept.parquet",
    ]


# --- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "scor > 3"], "--where: there is no column 'scor', is score meant?"),
        (["--where", "score > 9"], "of 7 utterances none would be kept; 'where' alone drops 7"),
        (["--rules", "none", "--budget", "3s"], "none would be kept; 'budget' alone drops 7"),
        (["--where", "score"], "is a FLOAT, not true or false"),
        (["--where", "true", "--rules", "none"], "--where and --rules cannot both be given"),
        (["--rules", "/gone.yaml"], "/gone.yaml: the rules cannot be read"),
        (["--budget", "much"], "--budget is 'much'; must be a number over 0 followed by h, m or s"),
        (["--quantile", "1.5"], "--quantile is 1.5; must be over 0 and at most 1"),
        (["--balance", "speaker"], "--balance needs a --budget or a --quantile"),
        (["--budget", "1h", "--balance", "speakr"], "--balance: there is no column 'speakr', is speaker meant?"),
        (["--trim", "all"], "invalid choice"),
        (["--trim", "anomalies", "--min_s", "0.01"], "--min_s is 0.01; must be at least"),
        (["--pad_s", "-1"], "--pad_s is -1; must be from 0 to 60"),
        (["--format", "paths"], "--format paths cannot say where in a recording an utterance lies"),
        (["--format", "lhotse"], "Lhotse's cuts of it need its length"),
        (["--shard_size", "0"], "--shard_size is 0; must be at least 1"),
        (["--exprot", "x"], "unknown option --exprot (did you mean --export?)"),
    ],
)
def test_a_bad_wish_is_refused_in_a_sentence_and_nothing_is_written(small, tmp_path, options, message):
    done = audiosieve("filter", small, "--output", tmp_path / "keep", *options, status=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_places_that_are_refused(audio, tmp_path):
    output = output_of(tmp_path / "out", audio, [4.0] * 6)
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("keep me")
    for words, message in [
        ([output, "--output", output / "keep"], "the scores in"),
        ([output, "--output", tmp_path], "must lie apart"),
        ([output, "--output", audio / "keep"], "the corpus in"),
        ([output, "--output", full], "is not empty"),
        ([output, "--output", full, "--overwrite"], "holds something else than an earlier filter"),
        ([output, "--output", full / "thesis.txt"], "is a file"),
        ([output, "--output", tmp_path / "k", "--export", tmp_path / "k/audio"], "must lie beside each other"),
        ([output, "--output", tmp_path / "k", "--export", full], "is not empty"),
        ([output, "--output", tmp_path / "k", "--export", full, "--overwrite"], "is not empty"),
        (
            [output, "--output", tmp_path / "k", "--export", tmp_path / "a", "--runner", "DataflowRunner"],
            "from this machine",
        ),
        ([output], "--output is missing"),
        ([], "the folder of the scores is missing"),
        ([tmp_path / "nothing", "--output", tmp_path / "k"], "contains no completed run"),
    ]:
        assert message in audiosieve("filter", *words, status=2).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "out"]
    assert (full / "thesis.txt").read_text() == "keep me"


def test_an_earlier_filter_is_overwritten_when_asked(small, tmp_path):
    keep = tmp_path / "keep"
    audiosieve("filter", small, "--output", keep)
    assert "is not empty" in audiosieve("filter", small, "--output", keep, "--where", "score > 3.9", status=2).stderr
    assert len(ids(keep / "kept.parquet")) == 6
    audiosieve("filter", small, "--output", keep, "--where", "score > 3.9", "--overwrite")
    assert ids(keep / "kept.parquet") == ["a1"]
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_the_same_is_written_every_time(small, tmp_path):
    for name in ("one", "two"):
        audiosieve("filter", small, "--output", tmp_path / name, "--budget", "13s", "--balance", "speaker")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_large_machine_leaves_each_thread_its_memory(small, tmp_path, monkeypatch):
    monkeypatch.setattr(decision, "usable_cores", lambda: 64)
    connection = decision.connect(open_results(small), tmp_path)
    assert connection.execute("SELECT current_setting('threads')").fetchall() == [(decision.THREADS,)]


def test_rules_for_another_scale_are_refused(tmp_path):
    root = write_output(tmp_path / "out", [scored("a", 4.0)])
    (record,) = (root / "_runs").glob("*.json")
    record.write_text(record.read_text().replace('"pesq-wb"', '"pseudo"'))
    done = audiosieve("filter", root, "--output", tmp_path / "keep", status=2)
    assert "these are on pseudo" in done.stderr


def test_columns_that_sql_cannot_tell_apart_are_refused(tmp_path):
    root = write_output(tmp_path / "out", [scored("a", 4.0)], carry=["Score"])
    done = audiosieve("filter", root, "--output", tmp_path / "keep", status=2)
    assert "of the column 'Score' there is another" in done.stderr


def test_it_loads_no_tensorflow():
    code = "import sys, pipelines.filter; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the audio ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def long_corpus(tmp_path) -> tuple[Path, Path]:
    """Three recordings of 7.4 s, of which one has an anomaly and one has changed since; and their output."""
    audio = tmp_path / "long"
    for number, name in enumerate(("good.wav", "middle.wav", "changed.wav")):
        wav(audio / name, 7.376, number)
    items = []
    for ref in list_corpus(str(audio)):
        made = scored(ref.utterance_id, BAD_MIDDLE if ref.utterance_id == "middle.wav" else np.full(460, 4.0))
        items.append(ScoredUtterance(dataclasses.replace(made.utterance, ref=ref), made.frame_score))
    (audio / "changed.wav").write_bytes((audio / "changed.wav").read_bytes() + b"more")
    return audio, write_output(tmp_path / "out", items, source=str(audio))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_audio_of_what_is_kept(long_corpus, tmp_path, workers):
    audio, output = long_corpus
    keep, exported = tmp_path / "keep", tmp_path / "exported"
    words = ["filter", output, "--output", keep, "--trim", "anomalies", "--export", exported]
    done = audiosieve(*words, f"--direct_num_workers={workers}")
    assert "3 exported" in done.stdout
    assert "1 rejected (1 changed; see export_rejects.parquet)" in done.stdout
    assert (exported / "good.wav").read_bytes() == (audio / "good.wav").read_bytes()
    whole, _ = soundfile.read(audio / "middle.wav", dtype="int16")
    names = ["middle.wav#0.000-3.100.flac", "middle.wav#4.288-7.376.flac"]
    assert sorted(path.name for path in exported.iterdir()) == ["good.wav", *names]
    for name, (start, end) in zip(names, [(0, 49_600), (68_608, len(whole))], strict=True):
        samples, rate = soundfile.read(exported / name, dtype="int16")
        assert rate == RATE
        assert (samples == whole[start:end]).all()
    (reject,) = table(keep / "export_rejects.parquet")
    assert (reject["utterance_id"], reject["stage"], reject["reason"]) == ("changed.wav", "export", "changed")
    refs = list_corpus(str(keep / "exported.jsonl"))
    assert [ref.utterance_id for ref in refs] == ["good.wav", "middle.wav#0.000-3.100", "middle.wav#4.288-7.376"]
    assert {Path(ref.uri) for ref in refs} == set(exported.iterdir())


def test_an_export_goes_on_where_it_was(long_corpus, tmp_path):
    _, output = long_corpus
    keep, exported = tmp_path / "keep", tmp_path / "exported"
    audiosieve("filter", output, "--output", keep)
    words = ["filter", output, "--output", keep, "--export", exported]
    audiosieve(*words)
    written = {path.name: path.stat().st_mtime_ns for path in exported.iterdir()}
    (exported / "middle.wav").unlink()
    assert "2 exported" in audiosieve(*words).stdout
    after = {path.name: path.stat().st_mtime_ns for path in exported.iterdir()}
    assert after["good.wav"] == written["good.wav"]
    assert "middle.wav" in after
    # Another selection, or another kind of export, is another thing.
    assert "is not empty" in audiosieve(*words, "--export_format", "webdataset", status=2).stderr
    assert "is not empty" in audiosieve(*words, "--where", "true", status=2).stderr
    audiosieve(*words, "--export_format", "webdataset", "--overwrite")
    assert [path.name for path in exported.iterdir()] == ["shard-000000.tar"]


def test_a_bad_rule_leaves_an_earlier_export_alone(long_corpus, tmp_path):
    _, output = long_corpus
    words = ["filter", output, "--output", tmp_path / "keep", "--export", tmp_path / "exported"]
    audiosieve(*words)
    audiosieve(*words, "--where", "nothing > 1", "--overwrite", status=2)
    assert len(list((tmp_path / "exported").iterdir())) == 2


def test_shards_are_a_corpus(audio, tmp_path):
    output = output_of(tmp_path / "out", tars(audio, tmp_path / "tars"), [4.0, 1.0, 4.0, 4.0, 1.0, 4.0])
    words = ["--export", tmp_path / "shards", "--export_format", "webdataset", "--shard_size", "3"]
    audiosieve("filter", output, "--output", tmp_path / "keep", *words)
    found = refs_of(tmp_path / "shards/*.tar")
    assert sorted(ref.columns["id"] for ref in found) == ids(tmp_path / "keep/kept.parquet")
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["shard-000000.tar", "shard-000001.tar"]
    for ref in found:
        before = _member(str(tmp_path / "tars/s.tar"), ref.columns["id"].removeprefix("s.tar/"))
        assert _member(*ref.uri.split("#")) == before


def test_spans_of_a_manifest_are_exported_and_not_taken_for_changed(samples, tmp_path):
    (tmp_path / "corpus.csv").write_text(f"id,path,start,end\nu1,{samples / 'clean.flac'},0.5,2.5\n")
    audiosieve("score", "--input", tmp_path / "corpus.csv", "--output", tmp_path / "out")
    done = audiosieve(
        "filter", tmp_path / "out", "--output", tmp_path / "keep", "--where", "true", "--export", tmp_path / "audio"
    )
    assert "1 exported" in done.stdout
    (file,) = (tmp_path / "audio").rglob("*.flac")
    whole, _ = soundfile.read(samples / "clean.flac", dtype="int16")
    np.testing.assert_array_equal(soundfile.read(file, dtype="int16")[0], whole[8_000:40_000])
