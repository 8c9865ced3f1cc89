"""`audiosieve plot`: a recording -> a figure of its spectrogram, its frame scores and its anomalies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from model.anomalies import find_anomalies
from model.bundle import DEFAULT, Bundle, bundled_names
from model.labels import LabelScale
from model.pooling import pool
from pipelines.common.arguments import Parser, UsageError, command
from transforms.analysis.figure import Subject, draw, one_line, save
from transforms.analysis.lookup import find_utterance
from transforms.analysis.source_audio import source_audio
from transforms.analysis.spectrogram_image import reduced_db
from transforms.audio.decode import decode
from transforms.audio.sound_file import open_audio
from transforms.audio.span_reader import Decoded
from transforms.corpus.archives import archive_kind
from transforms.elements import EACH, FIRST, MIX, AudioRef, Reject
from transforms.errors import AudioFault
from transforms.output.results import open_results
from transforms.scoring.bundles import find_bundle
from transforms.scoring.featurize import featurize
from transforms.scoring.inference import ScorerHandler, score_batch
from transforms.storage.atomic_files import check_new, new_file
from transforms.storage.files import File, absolute

KINDS = (".png", ".svg")


@command("plot")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, finds or makes the scores, and draws."""
    options = _parser().parse_args(argv)
    kind = _check(options)
    check_new(options.output, options.overwrite)
    subject = _of_run(options) if options.run else _on_the_spot(options, find_bundle(options.model))
    with new_file(options.output, options.overwrite) as file:
        save(draw(subject), file, kind)
    number = len(subject.anomalies)
    said = subject.title.replace("\n", ": ")
    print(f"{said}, {number} anomal{'y' if number == 1 else 'ies'}; drawn in {options.output}")
    return 0


def _of_run(options: argparse.Namespace) -> Subject:
    """An utterance of an output, as it was scored."""
    results = open_results(options.run)
    found = find_utterance(results, options.file)
    level_db = None
    try:
        level_db = reduced_db(source_audio(found.row).waveform)
    except AudioFault as fault:
        why = f"the audio cannot be read ({fault.detail})"
        print(f"audiosieve plot: {found.row['utterance_id']}: {why}; its scores are drawn alone", file=sys.stderr)
    title = _title(found.row["utterance_id"], found.row["score"], results.label_scale, results.model_id)
    return Subject(title, level_db, found.row["duration_s"], found.frame_score, found.anomalies, results.label_scale)


def _on_the_spot(options: argparse.Namespace, bundle: Bundle) -> Subject:
    """A recording that is scored now.

    Raises:
        UsageError: it cannot be.
    """
    uri, name = absolute(options.file), PurePosixPath(options.file).name
    try:
        decoded = _decode(uri, options.channels)
        item = featurize(decoded, AudioRef(name, uri, 0, ""), bundle.features)
    except AudioFault as fault:
        raise UsageError(f"{options.file}: {fault.reason}: {fault.detail}") from fault
    level_db = reduced_db(decoded.waveform)
    (result,) = score_batch([item], ScorerHandler(str(bundle.path)).load_model())
    if isinstance(result, Reject):
        raise UsageError(f"{options.file}: {result.reason}: {result.detail}")
    scale, frame_score = bundle.label_scale, result.frame_score
    title = _title(name, pool(frame_score, bundle.pooling), scale, bundle.model_id)
    anomalies = [(found.start_s, found.end_s) for found in find_anomalies(frame_score, scale.span)]
    return Subject(title, level_db, decoded.duration_s, np.asarray(frame_score), anomalies, scale)


def _decode(uri: str, channels: str) -> Decoded:
    if kind := archive_kind(File(uri, 1 << 62, "")):
        raise UsageError(
            f"{uri}: is an archive ({kind}) of recordings; score it, and name one with --run and its utterance id"
        )
    with open_audio(uri) as file:
        return decode(file, channels=channels)


def _title(name: str, score: float, scale: LabelScale, model_id: str) -> str:
    return f"{one_line(name)}\nscore {score:.2f} on a scale of {scale.low:g} to {scale.high:g}, by {model_id}"


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
