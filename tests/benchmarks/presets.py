"""Prints what each preset of `audiosieve filter` keeps of labelled sets, by SNR, cause and room.

    python -m tests.benchmarks.presets SET ... --output FOLDER --model BUNDLE

The sets are those of `audiosieve synthesize`. Their clips are written to FOLDER/audio and scored like recordings, into
FOLDER/scores. The same command again scores only new clips. Rules on duplicates are left out, because a set has the same speech
many times.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from model.bundle import DEFAULT
from model.diagnosis import HEARD_CAUSES
from model.evaluation.scored_clips import Clip
from pipelines.cli import main as audiosieve
from tests.benchmarks.peers import read_audio
from transforms.curation.presets.presets import PRESETS, choose_rules
from transforms.curation.presets.unchecked import remark
from transforms.curation.rules import RuleError, RuleSet, check_scale
from transforms.curation.selection import Selection
from transforms.evaluation.labelled_clips import read_clips
from transforms.output.results import Results, open_results
from transforms.schemas import COPY_OF, DUPLICATE_OF

# Limit of the overall rating in the preset `emilia`.
RATING = 3.0
# Lower ends of the bands of SNR and C50 in dB, highest first.
SNR_BANDS = (30, 20, 10, 0, -math.inf)
C50_BANDS = (20, 10, 0, -math.inf)
# A group of clips: its title, and whether a clip belongs to it.
Group = tuple[str, Callable[[Clip], bool]]


def write_clips(clips: Mapping[str, Clip], folder: Path) -> None:
    """Writes the FLAC files of clips that are not there yet.

    Args:
        clips: clips by the path of their file, relative to the folder.
        folder: folder of the files.
    """
    new = {path: clip for path, clip in clips.items() if not (folder / path).exists()}
    for path, content in zip(new, read_audio(list(new.values())), strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def without_duplicates(rules: RuleSet) -> RuleSet:
    """Returns the rules without those on duplicates."""
    kept = [rule for rule in rules.rules if COPY_OF not in rule.condition and DUPLICATE_OF not in rule.condition]
    return dataclasses.replace(rules, rules=tuple(kept))


def kept_by(preset: str, results: Results) -> tuple[set[str], str]:
    """Returns the ids of the utterances that a preset keeps, and a remark on rules without data.

    Raises:
        RuleError: the preset cannot be used with these scores.
    """
    rules = without_duplicates(choose_rules(preset, None, None))
    check_scale(rules, results.label_scale.name)
    with tempfile.TemporaryDirectory() as scratch, Selection(results, Path(scratch)) as selection:
        selection.check_data(rules)
        selection.apply_rules(rules.rules)
        return set(selection.kept_table()["utterance_id"].to_pylist()), remark(selection.unchecked(), results.model_id)


def groups() -> dict[str, list[Group]]:
    """Returns the groups of clips by the title of their table."""
    return {
        "speech in noise, by SNR": [
            ("no noise, no fault", lambda clip: clip.clean and bool(clip.speech)),
            *((f"{title} dB", in_band(low, high, snr_of)) for title, low, high in bands(SNR_BANDS)),
        ],
        "speech with one audible cause": [(cause, only(cause)) for cause in HEARD_CAUSES],
        "speech in rooms, by C50": [
            ("no room", lambda clip: clip.known and bool(clip.speech) and clip.c50_db is None),
            *((f"{title} dB", in_band(low, high, lambda clip: clip.c50_db)) for title, low, high in bands(C50_BANDS)),
        ],
        "other clips": [
            ("no speech", lambda clip: clip.known and clip.speech == ()),
            ("real recordings", lambda clip: not clip.known),
            (f"DNSMOS of at least {RATING}", lambda clip: rating_of(clip) >= RATING),
            (f"DNSMOS under {RATING}", lambda clip: rating_of(clip) < RATING),
        ],
    }


def bands(lowest: Sequence[float]) -> list[tuple[str, float, float]]:
    """Returns the title, the lower and the upper end of each band."""
    found, high = [], math.inf
    for low in lowest:
        title = (
            f"from {low:g}" if high == math.inf else f"under {high:g}" if low == -math.inf else f"{low:g} to {high:g}"
        )
        found.append((title, low, high))
        high = low
    return found


def in_band(low: float, high: float, value_of: Callable[[Clip], float | None]) -> Callable[[Clip], bool]:
    """Returns whether clips of speech have a value from `low` to under `high`."""

    def belongs(clip: Clip) -> bool:
        value = value_of(clip)
        return clip.known and bool(clip.speech) and value is not None and low <= value < high

    return belongs


def snr_of(clip: Clip) -> float | None:
    """Returns the SNR of a clip whose only audible cause is noise; else None."""
    return clip.speech_snr_db if causes_of(clip) <= {"noise"} else None


def only(cause: str) -> Callable[[Clip], bool]:
    """Returns whether a cause is the only one that is audible in clips of speech."""
    return lambda clip: bool(clip.speech) and causes_of(clip) == {cause}


def causes_of(clip: Clip) -> set[str]:
    """Returns the causes that are audible in a clip, or may be."""
    return {item.cause for item in clip.distortions if item.cause is not None and item.audible is not False}


def rating_of(clip: Clip) -> float:
    """Returns the overall rating by DNSMOS; NaN if it is unknown."""
    rating = clip.ratings.get("mos_ovrl")
    return math.nan if rating is None else rating


def markdown(
    title: str, members: Sequence[Group], clips: Mapping[str, Clip], kept: Mapping[str, set[str] | None]
) -> str:
    """Returns a table of the share of clips that each preset keeps, without the groups that have no clips.

    Args:
        title: title of the first column.
        members: groups of clips.
        clips: clips by id.
        kept: ids of the kept clips by preset; None for a preset that cannot be used.
    """
    lines = [f"| {title} | clips | {' | '.join(f'`{name}`' for name in kept)} |", f"|---|{'---|' * (len(kept) + 1)}"]
    for name, belongs in members:
        ids = {utterance_id for utterance_id, clip in clips.items() if belongs(clip)}
        if ids:
            cells = ["-" if found is None else f"{len(ids & found) / len(ids):.0%}" for found in kept.values()]
            lines.append(f"| {name} | {len(ids):,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def agreement(clips: Mapping[str, Clip], predicted: Mapping[str, float | None]) -> str:
    """Returns how often the predicted overall rating and DNSMOS itself decide alike at the limit of `emilia`.

    Args:
        clips: clips by id.
        predicted: predicted overall rating by id; None without one.
    """
    lines = []
    for title, wanted in (("all clips", lambda _: True), ("real recordings", lambda clip: not clip.known)):
        pairs = [
            (value >= RATING, rating_of(clip) >= RATING)
            for utterance_id, clip in clips.items()
            if (value := predicted.get(utterance_id)) is not None and not math.isnan(rating_of(clip)) and wanted(clip)
        ]
        if pairs:
            same, kept = sum(ours == theirs for ours, theirs in pairs), [theirs for ours, theirs in pairs if ours]
            precision = f"{sum(kept) / len(kept):.1%}" if kept else "none"
            wanted_by_dnsmos = sum(theirs for _, theirs in pairs)
            recall = f"{sum(kept) / wanted_by_dnsmos:.1%}" if wanted_by_dnsmos else "none"
            lines.append(
                f"mos_ovrl >= {RATING} against DNSMOS, {title}: {same / len(pairs):.1%} of {len(pairs):,} decisions are the "
                f"same; of those kept, DNSMOS keeps {precision}; of those that DNSMOS keeps, {recall} are kept"
            )
    return "\n".join(lines)


def report(clips: Mapping[str, Clip], results: Results) -> str:
    """Returns all tables.

    Args:
        clips: clips by id; those without a score are left out.
        results: their scores.
    """
    rows = results.connect().execute("SELECT utterance_id, mos_ovrl FROM utterances").fetchall()
    predicted = dict(rows)
    scored = {utterance_id: clip for utterance_id, clip in clips.items() if utterance_id in predicted}
    kept: dict[str, set[str] | None] = {}
    remarks = {}
    for preset in PRESETS:
        try:
            kept[preset], remarks[preset] = kept_by(preset, results)
        except RuleError as error:
            kept[preset], remarks[preset] = None, str(error)
    tables = [markdown(title, members, scored, kept) for title, members in groups().items()]
    notes = [f"{preset}: {text}" for preset, text in remarks.items() if text]
    parts = [f"{len(scored):,} of {len(clips):,} clips have a score by {results.model_id}.", *tables, *notes]
    return "\n\n".join(part for part in [*parts, agreement(scored, predicted)] if part)


def main(argv: Sequence[str] | None = None) -> None:
    """Scores the sets and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="SET")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FOLDER", help="folder for the clips and their scores"
    )
    parser.add_argument("--model", default=DEFAULT, help="model that scores the clips")
    parser.add_argument("--split", help="split of the clips; by default all")
    arguments = parser.parse_args(argv)
    clips = {
        f"{number}/{clip.clip_id}.flac": clip
        for number, name in enumerate(arguments.sets)
        for clip in read_clips(name)
        if arguments.split in (None, clip.split)
    }
    write_clips(clips, arguments.output / "audio")
    scores = arguments.output / "scores"
    words = ["score", "--input", arguments.output / "audio", "--output", scores, "--model", arguments.model]
    if status := audiosieve([str(word) for word in words]):
        raise SystemExit(status)
    print(report(clips, open_results(str(scores))))


if __name__ == "__main__":
    main()
