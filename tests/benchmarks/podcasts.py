"""Makes the programmes of `docs/podcasts.md`, runs the commands of the page, and compares what is kept with the truth.

    python -m tests.benchmarks.podcasts MANIFEST OUT            # prints the outputs
    python -m tests.benchmarks.podcasts MANIFEST OUT --write    # also writes them into the page

MANIFEST is a CSV with the columns path, kind (speech, noise, music or rir), split, corpus, speaker_or_class, group and
dynamic_range_db of FLAC files at 16 kHz. Only the split val is used. OUT is a new folder: it gets podcasts/episode_N.flac,
truth.csv and the outputs of the commands. `--write` replaces the console outputs and the table of the truth. The last lines of
the output are the figures in the text of the page. Change those by hand.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

from model.features import SAMPLE_RATE
from tests.samples.walk_through import Step, steps
from tests.support.paths import ROOT
from transforms.curation.rules import SEGMENT_REASONS, TRIM
from transforms.synthesis.materials import MUSIC, NOISE, RIR, SPEECH
from transforms.synthesis.mix import fit_length, gain_at, power
from transforms.synthesis.rooms import reverberate

PAGE = ROOT / "docs" / "podcasts.md"
BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TRUTH_TABLE = re.compile(r"^\| made as \|.*?\n(?!\|)", re.MULTILINE | re.DOTALL)
# Rows of rules that drop nothing are left out of the page, unless they are among these.
SHOWN = (TRIM, *SEGMENT_REASONS)

SEED, SPLIT, PROGRAMMES = 8, "val", 8
MUSIC_PROGRAMME, REMARKS_PROGRAMME = 7, 8
# Acted speech, which is not read.
LEFT_OUT = "emodb-de"
# Speech with less dynamic range is not clean (docs/training.md). Shorter noises are single events.
MIN_DYNAMIC_RANGE_DB, SHORTEST_NOISE_S = 38.0, 4.0
TALK_S, INTRO_S, STRETCH_S, SNR_DB = 290.0, (6.0, 9.0), (15.0, 40.0), (5.0, 8.0)
PAUSE_S, LONGEST_TURN = (0.4, 2.0), 3
# Lengths of the remarks of programme 8, and of the pauses between them.
REMARK_S, LONG_PAUSE_S = (3.2, 7.0), (2.0, 10.0)
FADE_S, LEVEL_DBFS, FLOOR_DBFS, PEAK_DBFS = 0.05, -26.0, -75.0, -3.0
INTRO, CLEAN, REMARKS = "intro", "clean speech", f"short remarks and pauses (programme {REMARKS_PROGRAMME})"
IN_NOISE, OVER_MUSIC, IN_ROOM = "speech in noise", "music behind speech", "speech in a room"
ALL_MUSIC = f"music under all of it (programme {MUSIC_PROGRAMME})"
MADE_AS = (CLEAN, REMARKS, IN_NOISE, OVER_MUSIC, IN_ROOM, INTRO, ALL_MUSIC)
# Decisions and truth are compared every 10 ms.
STEPS_PER_S = 100


class Sounds:
    """The recordings of a manifest by kind and group, at equal levels."""

    def __init__(self, manifest: Path) -> None:
        self.by_kind: dict[str, dict[str, list[np.ndarray]]] = {}
        with manifest.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == SPLIT and row["corpus"] != LEFT_OUT]
        for row in sorted(rows, key=lambda row: row["path"]):
            kind = row["kind"]
            if kind == SPEECH and float(row["dynamic_range_db"]) < MIN_DYNAMIC_RANGE_DB:
                continue
            samples, rate = soundfile.read(manifest.parent / row["path"], dtype="float32")
            assert rate == SAMPLE_RATE, f"{row['path']} has {rate} Hz"
            if kind == NOISE and len(samples) < SHORTEST_NOISE_S * SAMPLE_RATE:
                continue
            group = row["speaker_or_class"] if kind == SPEECH else row["group"]
            self.by_kind.setdefault(kind, {}).setdefault(group, []).append(samples if kind == RIR else level(samples))

    def draw(self, kind: str, rng: np.random.Generator) -> np.ndarray:
        """Draws a group of a kind, and a recording of it."""
        groups = self.by_kind[kind]
        recordings = groups[sorted(groups)[rng.integers(len(groups))]]
        return recordings[rng.integers(len(recordings))]

    def turns(self, rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
        """Yields the recordings of each turn of a voice, without an end. All speech is used once before any is used again."""
        speakers = self.by_kind[SPEECH]
        while True:
            every = []
            for speaker in sorted(speakers):
                recordings = [speakers[speaker][number] for number in rng.permutation(len(speakers[speaker]))]
                every += [recordings[first : first + LONGEST_TURN] for first in range(0, len(recordings), LONGEST_TURN)]
            yield from (every[number] for number in rng.permutation(len(every)))


@dataclasses.dataclass
class Programme:
    """A programme that grows part by part.

    Attributes:
        parts: its signal so far, 16 kHz.
        truth: end in samples and description of each part.
    """

    parts: list[np.ndarray] = dataclasses.field(default_factory=list)
    truth: list[tuple[int, str]] = dataclasses.field(default_factory=list)

    def add(self, samples: np.ndarray, made_as: str) -> None:
        """Adds a part."""
        start = self.truth[-1][0] if self.truth else 0
        self.parts.append(samples)
        self.truth.append((start + len(samples), made_as))

    def signal(self, rng: np.random.Generator) -> np.ndarray:
        """Returns the signal over a faint noise floor, at a fixed peak: float32 [n]."""
        samples = np.concatenate(self.parts)
        samples = samples + 10 ** (FLOOR_DBFS / 20) * rng.standard_normal(len(samples), np.float32)
        return (samples * 10 ** (PEAK_DBFS / 20) / np.abs(samples).max()).astype(np.float32)


def level(samples: np.ndarray) -> np.ndarray:
    """Returns samples at the common level."""
    return (samples * (10 ** (LEVEL_DBFS / 20) / max(power(samples), 1e-10) ** 0.5)).astype(np.float32)


def faded(samples: np.ndarray, fade_s: float = FADE_S) -> np.ndarray:
    """Returns samples that are faded in and out."""
    distance = np.minimum(np.arange(len(samples)), np.arange(len(samples))[::-1]) / (fade_s * SAMPLE_RATE)
    return (samples * np.minimum(distance, 1.0)).astype(np.float32)


def joined(parts: Iterator[np.ndarray], pause_s: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Returns recordings, each with a pause after it, until they are as long as the speech of a programme."""
    signal: list[np.ndarray] = []
    for recording in parts:
        pause = np.zeros(round(rng.uniform(*pause_s) * SAMPLE_RATE), np.float32)
        signal += [faded(recording), pause]
        if sum(map(len, signal)) >= TALK_S * SAMPLE_RATE:
            break
    return np.concatenate(signal)


def talk(sounds: Sounds, rng: np.random.Generator) -> np.ndarray:
    """Returns voices in turns, with pauses."""
    return joined((recording for turn in sounds.turns(rng) for recording in turn), PAUSE_S, rng)


def remarks(sounds: Sounds, rng: np.random.Generator) -> np.ndarray:
    """Returns short remarks between long pauses."""
    shortest, longest = (bound * SAMPLE_RATE for bound in REMARK_S)
    every = (recording for turn in sounds.turns(rng) for recording in turn)
    return joined((recording for recording in every if shortest <= len(recording) < longest), LONG_PAUSE_S, rng)


def over(speech: np.ndarray, sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns speech with a sound, repeated if it is too short, at a drawn SNR."""
    sound = fit_length(sound, len(speech), 0)
    return speech + faded(sound * gain_at(rng.uniform(*SNR_DB), power(speech), power(sound)))


def degraded(speech: np.ndarray, made_as: str, sounds: Sounds, rng: np.random.Generator) -> np.ndarray:
    """Returns speech in noise, over music or in a room."""
    if made_as == IN_ROOM:
        return reverberate(speech, sounds.draw(RIR, rng))
    return over(speech, sounds.draw(NOISE if made_as == IN_NOISE else MUSIC, rng), rng)


def make_programme(number: int, sounds: Sounds) -> Programme:
    """Returns a programme: an intro, then speech with three bad stretches, unless it is one of the special programmes."""
    rng = np.random.default_rng([SEED, number])
    programme = Programme()
    intro = sounds.draw(MUSIC, rng)[: round(rng.uniform(*INTRO_S) * SAMPLE_RATE)]
    programme.add(faded(intro, 1.0), INTRO)
    if number == REMARKS_PROGRAMME:
        programme.add(remarks(sounds, rng), REMARKS)
        return programme
    speech = talk(sounds, rng)
    if number == MUSIC_PROGRAMME:
        songs = np.concatenate([song for group in sounds.by_kind[MUSIC].values() for song in group])
        programme.add(over(speech, songs, rng), ALL_MUSIC)
        return programme
    thirds = np.array_split(speech, 3)
    for third, made_as in zip(thirds, rng.permutation([IN_NOISE, OVER_MUSIC, IN_ROOM]), strict=True):
        length = round(rng.uniform(*STRETCH_S) * SAMPLE_RATE)
        start = round(rng.uniform(0.1, 0.9) * (len(third) - length))
        programme.add(third[:start], CLEAN)
        programme.add(degraded(third[start : start + length], str(made_as), sounds, rng), str(made_as))
        programme.add(third[start + length :], CLEAN)
    return programme


def file_of(number: int) -> str:
    """Returns the name of the file of a programme."""
    return f"episode_{number}.flac"


def make_programmes(manifest: Path, out: Path) -> list[tuple[str, float, float, str]]:
    """Writes podcasts/episode_N.flac and truth.csv; returns the rows of the latter."""
    sounds, rows = Sounds(manifest), []
    (out / "podcasts").mkdir()
    for number in range(1, PROGRAMMES + 1):
        programme, name = make_programme(number, sounds), file_of(number)
        signal = programme.signal(np.random.default_rng([SEED, number, 1]))
        soundfile.write(out / "podcasts" / name, signal, SAMPLE_RATE)
        start = 0
        for end, made_as in programme.truth:
            rows.append((name, start / SAMPLE_RATE, end / SAMPLE_RATE, made_as))
            start = end
    with (out / "truth.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "start_s", "end_s", "made_as"), *rows])
    return rows


def run(words: str, folder: Path) -> str:
    """Runs a command line of audiosieve in a folder; returns what it prints."""
    program, *arguments = shlex.split(words)
    assert program == "audiosieve", f"the page runs {program}, not audiosieve"
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode}: {words}\n{done.stdout}")
    return done.stdout.replace(f"{folder}/", "")


def as_shown(output: str) -> str:
    """Returns an output with `...` for rules that drop nothing, without progress and without spaces at the ends of lines."""
    lines: list[str] = []
    for line in output.splitlines():
        if line.startswith('{"scored": '):
            continue
        row = re.match(r"(\w+) +0 +0\.0 s ", line)
        shown = "..." if row and row[1] not in SHOWN else line.rstrip()
        if shown != "..." or lines[-1] != "...":
            lines.append(shown)
    return "".join(f"{line}\n" for line in lines)


def run_page(page: str, folder: Path) -> str:
    """Runs the commands of the page in order and prints their outputs; returns the page with those of its console blocks."""

    def run_block(block: re.Match[str]) -> str:
        commands = [Step(line, "") for line in block[2].splitlines()] if block[1] == "sh" else list(steps(block[2]))
        done = []
        for words, before in commands:
            output = as_shown(run(words, folder))
            print(f"$ {words}\n{output}", flush=True)
            if re.search(r"^kept: .*\n?\Z", before, re.MULTILINE):
                # The page shows the output up to this line.
                output = re.sub(r"(^kept: [^\n]*\n).*", r"\1", output, flags=re.MULTILINE | re.DOTALL)
            done.append(Step(words, output))
        if block[1] == "sh":
            return block[0]
        return "```console\n" + "".join(f"$ {step.lines}\n{step.output}" for step in done) + "```"

    return BLOCK.sub(run_block, page)


def decisions(folder: Path, file: str, num_steps: int) -> list[str]:
    """Returns the decision on each 10 ms of a recording: "kept", or the reason or rules that dropped it."""
    found = ["none"] * num_steps
    for table in ("kept.parquet", "dropped.parquet"):
        for row in pq.read_table(folder / table).to_pylist():
            if Path(row["uri"]).name == file:
                first = round(row["start_s"] * STEPS_PER_S)
                last = min(round((row["start_s"] + row["duration_s"]) * STEPS_PER_S), num_steps)
                found[first:last] = ["` + `".join(row["rules"]) if "rules" in row else "kept"] * (last - first)
    return found


def truth_table(truth: Sequence[tuple[str, float, float, str]], folder: Path) -> str:
    """Returns the table of the truth against the decisions of a filter output, in Markdown."""
    counts: dict[str, Counter[str]] = {made_as: Counter() for made_as in MADE_AS}
    for file in sorted({row[0] for row in truth}):
        parts = [row for row in truth if row[0] == file]
        found = decisions(folder, file, round(parts[-1][2] * STEPS_PER_S))
        for _, start_s, end_s, made_as in parts:
            counts[made_as].update(found[round(start_s * STEPS_PER_S) : round(end_s * STEPS_PER_S)])
    lines = ["| made as | minutes | kept | dropped |", "|---|---|---|---|"]
    for made_as, count in counts.items():
        total = count.total()
        shares = {name: f"{value / total:.0%}".replace("%", " %") for name, value in count.most_common()}
        dropped = [f"{share} `{name}`" for name, share in shares.items() if name != "kept" and share != "0 %"]
        minutes = total / STEPS_PER_S / 60
        lines.append(f"| {made_as} | {minutes:.1f} | {shares.get('kept', '0 %')} | {', '.join(dropped)} |")
    return "\n".join(lines) + "\n"


def figures(truth: Sequence[tuple[str, float, float, str]], out: Path) -> Iterator[str]:
    """Yields the figures in the text of the page."""
    rows = pq.read_table(out / "keep" / "dropped.parquet").to_pylist()
    edges = [row["duration_s"] for row in rows if row["rules"] == ["segment_edge"]]
    if edges:
        yield f"segment_edge: {np.mean(edges):.1f} s on average"
    anomalies = pq.read_table(out / "scores" / "anomalies").to_pylist()
    lengths = [row["end_s"] - row["start_s"] for row in anomalies if row["utterance_id"] == file_of(REMARKS_PROGRAMME)]
    yield f"programme {REMARKS_PROGRAMME}: {len(lengths)} anomalies, of which {sum(s > 4 for s in lengths)} have more than 4 s"
    over_music = [row for row in rows if Path(row["uri"]).name == file_of(MUSIC_PROGRAMME) and row["score"] is not None]
    scores, rules = [row["score"] for row in over_music], Counter(rule for row in over_music for rule in row["rules"])
    yield f"programme {MUSIC_PROGRAMME}: {len(scores)} segments dropped by rules, best score {max(scores, default=0):.2f}"
    yield f"programme {MUSIC_PROGRAMME}: segments by rule: {dict(rules)}"
    rows_of_table = truth_table(truth, out / "keep2").splitlines()
    yield from (f"keep2: {row}" for row in rows_of_table if row.startswith(f"| {ALL_MUSIC}"))
    before = pq.read_table(out / "keep" / "kept.parquet").to_pylist()
    again = {row["utterance_id"]: row for row in pq.read_table(out / "again" / "utterances").to_pylist()}
    pairs = [(row, again[row["utterance_id"]]) for row in before]
    differences = [abs(new["score"] - row["score"]) for row, new in pairs]
    bad = [new["anomaly_s"] for _, new in pairs if new["num_anomalies"]]
    yield f"scored again: {len(pairs)} segments, mean difference {np.mean(differences):.2f}, largest {max(differences):.2f}"
    yield f"scored again: {len(bad)} segments have an anomaly, {sum(bad):.0f} s in all"
    shorter = run("audiosieve filter scores --output shorter --segment 1:10", out).splitlines()
    yield from ("--segment 1:10: " + line for line in shorter if line.startswith(("segment_long", "kept")))


def main(argv: Sequence[str] | None = None) -> None:
    """Makes the programmes, runs the page, and prints the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")
    parser.add_argument("--write", action="store_true", help="write the outputs and the table into the page")
    arguments = parser.parse_args(argv)
    out = arguments.out.resolve()
    out.mkdir(parents=True)
    truth = make_programmes(arguments.manifest, out)
    page = run_page(PAGE.read_text(encoding="utf-8"), out)
    table = truth_table(truth, out / "keep")
    print(table)
    if arguments.write:
        PAGE.write_text(TRUTH_TABLE.sub(lambda _: table, page), encoding="utf-8")
    for line in figures(truth, out):
        print(line)


if __name__ == "__main__":
    main()
