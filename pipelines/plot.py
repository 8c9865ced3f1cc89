"""`audiosieve plot`: draws the spectrogram of a recording, its frame scores and its anomalies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from model.bundle import DEFAULT, bundled_names
from pipelines.common.arguments import Parser, UsageError, command
from transforms.analysis.figure import FigureData, draw, save, title
from transforms.analysis.lookup import find_utterance
from transforms.analysis.source_audio import source_audio
from transforms.analysis.spectrogram_image import reduced_db
from transforms.audio.decode import decode
from transforms.audio.sound_file import open_audio
from transforms.corpus.archives import archive_kind_at
from transforms.elements import EACH, FIRST, MIX
from transforms.errors import AudioFault
from transforms.output.results import open_results
from transforms.scoring.bundles import find_bundle
from transforms.scoring.inference import load_scorer
from transforms.scoring.recording import score_decoded
from transforms.storage.atomic_files import check_new, new_file
from transforms.storage.files import absolute

KINDS = (".png", ".svg")


@command("plot")
def run(argv: Sequence[str]) -> int:
    """Draws a recording with its scores, which are read from a run or made now."""
    options = _parser().parse_args(argv)
    kind = _check(options)
    check_new(options.output, options.overwrite)
    data = _stored(options) if options.run else _score_now(options)
    with new_file(options.output, options.overwrite) as file:
        save(draw(data), file, kind)
    count, summary = len(data.anomalies), data.title.replace("\n", ": ")
    print(f"{summary}, {count} anomal{'y' if count == 1 else 'ies'}; drawn in {options.output}")
    return 0


def _stored(options: argparse.Namespace) -> FigureData:
    """Returns the data of an utterance of an output, with the scores of its run."""
    results = open_results(options.run)
    utterance = find_utterance(results, options.file)
    row, level_db = utterance.row, None
    try:
        level_db = reduced_db(source_audio(row).waveform)
    except AudioFault as fault:
        print(
            f"audiosieve plot: {row['utterance_id']}: the audio cannot be read ({fault.detail}); only its scores are drawn",
            file=sys.stderr,
        )
    return FigureData(
        title=title(row["utterance_id"], row["score"], results.label_scale, results.model_id),
        level_db=level_db,
        duration_s=row["duration_s"],
        frame_score=utterance.frame_score,
        anomalies=utterance.anomalies,
        scale=results.label_scale,
    )


def _score_now(options: argparse.Namespace) -> FigureData:
    """Scores a recording and returns its data.

    Raises:
        UsageError: the file is an archive, or cannot be scored.
    """
    uri, name = absolute(options.file), PurePosixPath(options.file).name
    if kind := archive_kind_at(uri):
        raise UsageError(
            f"{uri} is an archive ({kind}) of recordings; score it, then draw one of its utterances with --run"
        )
    find_bundle(options.model)  # before the audio is decoded: an unknown model is reported at once
    try:
        with open_audio(uri) as file:
            decoded = decode(file, channels=options.channels)
        score = score_decoded(decoded, load_scorer(options.model))
    except AudioFault as fault:
        raise UsageError(f"{options.file}: {fault.reason}: {fault.detail}") from fault
    return FigureData.of(score, decoded.waveform, name)


def _check(options: argparse.Namespace) -> str:
    """Checks what argparse cannot, and returns the kind of the figure."""
    kind = PurePosixPath(options.output).suffix.lower()
    if kind not in KINDS:
        raise UsageError(f"--output {options.output}: a figure is a {' or a '.join(KINDS)} file")
    if options.run and (options.model is not None or options.channels is not None):
        raise UsageError("--run takes the scores as they are; --model and --channels are for scoring now, without it")
    options.model = options.model or DEFAULT
    options.channels = options.channels or MIX
    if options.channels not in (MIX, FIRST) and not options.channels.isdecimal():
        each = "; draw them one by one" if options.channels == EACH else ""
        raise UsageError(f"--channels is {options.channels!r}; it must be {MIX}, {FIRST} or a number from 0{each}")
    return kind[1:]


def _parser() -> Parser:
    parser = Parser(
        "plot",
        "Draw a recording: spectrogram, frame scores, anomalies. It is scored now, or was in a run (--run).",
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="a recording; with --run an utterance id, or the path of a recording")
    add("-o", "--output", required=True, metavar="FILE", help="the figure: .png or .svg")
    add("--run", metavar="OUT", help="folder that `audiosieve score` wrote: its scores are drawn, nothing is scored")
    add(
        "--model",
        help=f"a bundled model ({', '.join(bundled_names())}) or a bundle's folder, also in a bucket; {DEFAULT} where left out",
    )
    add(
        "--channels",
        help=f"what is heard: {MIX} (the mean of the channels; where left out), {FIRST}, or the number of one",
    )
    add("--overwrite", action="store_true", help="replace the figure if it is there")
    return parser
