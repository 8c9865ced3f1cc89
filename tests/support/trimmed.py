"""Corpora of recordings with texts and word times, whose utterances have an anomaly in the middle."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.support.command import audiosieve
from tests.support.filtered import BAD_MIDDLE, RATE, wav
from tests.support.outputs import scored, write_output
from transforms.corpus.sources import list_corpus
from transforms.elements import AudioRef

# The utterances have 7.376 s; the pieces are 0 to 3.1 s and 4.288 to 7.376 s.
LENGTH_S = 7.376
PIECES = ["#0.000-3.100", "#4.288-7.376"]
CARRY = ["speaker", "text", "words"]
TEXT = "one two three four five"
# The word "three" is cut.
TIMES = [("one", 0.5, 1.0), ("two", 1.5, 2.0), ("three", 3.0, 3.5), ("four", 4.5, 5.0), ("five", 6.0, 6.75)]
ENTRIES = [{"word": word, "start": start, "end": end} for word, start, end in TIMES]
# Texts and words of the pieces.
FIRST, SECOND = "one two", "four five"
FIRST_WORDS = ENTRIES[:2]
SECOND_WORDS = [{"word": "four", "start": 0.212, "end": 0.712}, {"word": "five", "start": 1.712, "end": 2.462}]


def write_recordings(folder: Path) -> Path:
    """Writes recordings of 9 s: `timed` has word times, `bad` unusable ones, `plain` none."""
    for seed, name in enumerate(("timed", "bad", "plain")):
        wav(folder / f"{name}.wav", 9.0, seed)
    return folder


def words_of(name: str) -> Any:
    """The word times of a recording."""
    return {"timed": ENTRIES, "bad": [{"word": "one"}], "plain": None}[name]


def in_jsonl(audio: Path, root: Path) -> Path:
    """Writes a NeMo manifest of the recordings."""
    lines = []
    for path in sorted(audio.iterdir()):
        row = {"audio_filepath": str(path), "id": path.stem, "offset": 1.0, "duration": LENGTH_S, "text": TEXT}
        row |= {"speaker": "a", "words": words_of(path.stem)}
        lines.append(json.dumps({name: value for name, value in row.items() if value is not None}) + "\n")
    (root / "corpus.jsonl").write_text("".join(lines))
    return root / "corpus.jsonl"


def in_csv(audio: Path, root: Path) -> Path:
    """Writes a CSV of the recordings."""
    with (root / "corpus.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id", "start", "end", "speaker", "text", "words"])
        for path in sorted(audio.iterdir()):
            words = words_of(path.stem)
            writer.writerow([path, path.stem, 1.0, 1.0 + LENGTH_S, "a", TEXT, json.dumps(words) if words else ""])
    return root / "corpus.csv"


def in_kaldi(audio: Path, root: Path) -> Path:
    """Writes a Kaldi directory of the recordings."""
    folder = root / "data"
    folder.mkdir()
    paths = sorted(audio.iterdir())
    tables = {
        "wav.scp": [f"rec-{path.stem} {path}" for path in paths],
        "segments": [f"{path.stem} rec-{path.stem} 1.0 {1.0 + LENGTH_S}" for path in paths],
        "text": [f"{path.stem} {TEXT}" for path in paths],
        "utt2spk": [f"{path.stem} a" for path in paths],
        "ctm": [f"timed 1 {start} {end - start} {word}" for word, start, end in TIMES] + ["bad 1 100.0 0.5 one"],
    }
    for name, lines in tables.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder


def in_lhotse(audio: Path, root: Path) -> Path:
    """Writes Lhotse cuts of the recordings."""
    with gzip.open(root / "cuts.jsonl.gz", "wt") as file:
        for path in sorted(audio.iterdir()):
            source = {"type": "file", "channels": [0], "source": str(path)}
            recording = {"id": path.stem, "sources": [source], "sampling_rate": RATE, "num_samples": 9 * RATE}
            recording |= {"duration": 9.0, "channel_ids": [0]}
            supervision = {"id": path.stem, "recording_id": path.stem, "start": 0.0, "duration": LENGTH_S, "channel": 0}
            supervision |= {"text": TEXT, "speaker": "a"}
            if path.stem != "plain":
                is_timed = path.stem == "timed"
                words = [[word, start, end - start, None] for word, start, end in TIMES] if is_timed else [["one"]]
                supervision["alignment"] = {"word": words, "phone": [["AH", 0.5, 0.1, 0.9]]}
            cut = {"id": path.stem, "start": 1.0, "duration": LENGTH_S, "channel": 0, "supervisions": [supervision]}
            file.write(json.dumps({**cut, "recording": recording, "type": "MonoCut"}) + "\n")
    return root / "cuts.jsonl.gz"


def scored_corpus(refs: list[AudioRef], source: Path, root: Path) -> Path:
    """An output of a corpus whose utterances have an anomaly in the middle."""
    items = []
    for ref in refs:
        item = scored(ref.utterance_id, BAD_MIDDLE, start_s=ref.span.start_s, format="WAV/PCM_16")
        items.append(dataclasses.replace(item, utterance=dataclasses.replace(item.utterance, ref=ref)))
    return write_output(root, items, carry=CARRY, source=str(source))


# Texts of all pieces.
EXPECTED = {f"bad{piece}": None for piece in PIECES} | {f"plain{piece}": None for piece in PIECES}
EXPECTED |= {"timed" + PIECES[0]: FIRST, "timed" + PIECES[1]: SECOND}
WORDS = {"timed" + PIECES[0]: FIRST_WORDS, "timed" + PIECES[1]: SECOND_WORDS}

# Samples of the pieces in their recordings; the utterances begin after a second.
SPANS = {PIECES[0]: (16_000, 65_600), PIECES[1]: (84_608, 134_016)}
NAMES = [f"{name}_{number:04d}" for name in ("bad", "plain", "timed") for number in (1, 2)]


def exported(source: Path, root: Path, *options: object) -> tuple[Path, Path]:
    """Exports the pieces of a corpus whose utterances have an anomaly; returns the selection and the audio."""
    output = scored_corpus(list_corpus(str(source), ["speaker", "text", "words"]), source, root / "out")
    words = ["--trim", "anomalies", "--rules", "none", "--export", root / "exported", *options]
    audiosieve("filter", output, "--output", root / "keep", *words)
    return root / "keep", root / "exported"


def samples_of(audio: Path, utterance_id: str) -> np.ndarray:
    """The samples that the file of a piece must have: int16 [n]."""
    name, piece = utterance_id.split("#")
    start, end = SPANS[f"#{piece}"]
    return soundfile.read(audio / f"{name}.wav", dtype="int16")[0][start:end]
