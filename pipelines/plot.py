"""`audiosieve plot`: a recording -> a figure of its spectrogram, its frame scores and its anomalies."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from model.anomalies import find_anomalies
from model.bundle import DEFAULT
from model.labels import LabelScale
from model.pooling import pool
from pipelines.common.argument_types import channels, path_ending_in
from pipelines.common.arguments import MODEL_HELP, Parser, parse_options
from pipelines.common.errors import UsageError, command
from transforms.analysis.figure import Subject, draw, one_line, save
from transforms.analysis.lookup import find_utterance
from transforms.analysis.source_audio import source_audio
from transforms.analysis.spectrogram_image import reduced_db
from transforms.audio.decode import Decoded, decode, open_audio
from transforms.corpus.archives import archive_kind
from transforms.elements import FIRST, MIX, AudioRef, Reject
from transforms.errors import AudioFault
from transforms.output.results import open_results
from transforms.scoring.bundles import find_bundle
from transforms.scoring.featurize import featurize
from transforms.scoring.inference import ScorerHandler, score_batch
from transforms.storage.atomic_files import check_new, new_file
from transforms.storage.files import File, absolute


@dataclasses.dataclass(frozen=True)
class PlotOptions:
    """Options of `audiosieve plot`.

    Attributes:
        file: path of a recording, or utterance id.
        output: path of the figure, ending in .png or .svg.
        run: output folder of `audiosieve score`; None to score the recording now.
        model: name or folder of a model; None for the default model.
        channels: channels to score, "mix", "first" or a number; None for "mix".
        overwrite: whether to replace an existing figure.
    """

    file: str
    output: str
    run: str | None
    model: str | None
    channels: str | None
    overwrite: bool


@command("plot")
def run(argv: Sequence[str]) -> int:
    """Draws a recording with its scores, which are read from a run or made now."""
    options = parse(argv)
    if options.run and (options.model is not None or options.channels is not None):
        raise UsageError("--run draws the scores of a run; --model and --channels are for scoring now, without --run")
    check_new(options.output, options.overwrite)
    subject = _of_run(options, options.run) if options.run else _on_the_spot(options)
    with new_file(options.output, options.overwrite) as file:
        save(draw(subject), file, PurePosixPath(options.output).suffix.lower()[1:])
    number = len(subject.anomalies)
    said = subject.title.replace("\n", ": ")
    print(f"{said}, {number} anomal{'y' if number == 1 else 'ies'}; drawn in {options.output}")
    return 0


def _of_run(options: PlotOptions, output: str) -> Subject:
    """An utterance of an output, as it was scored."""
    results = open_results(output)
    found = find_utterance(results, options.file)
    level_db = None
    try:
        level_db = reduced_db(source_audio(found.row).waveform)
    except AudioFault as fault:
        why = f"the audio cannot be read ({fault.detail})"
        print(f"audiosieve plot: {found.row['utterance_id']}: {why}; its scores are drawn alone", file=sys.stderr)
    title = _title(found.row["utterance_id"], found.row["score"], results.label_scale, results.model_id)
    return Subject(title, level_db, found.row["duration_s"], found.frame_score, found.anomalies, results.label_scale)


def _on_the_spot(options: PlotOptions) -> Subject:
    """A recording that is scored now.

    Raises:
        UsageError: it cannot be.
    """
    bundle = find_bundle(options.model or DEFAULT)
    uri, name = absolute(options.file), PurePosixPath(options.file).name
    try:
        decoded = _decode(uri, options.channels or MIX)
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


def parse(argv: Sequence[str]) -> PlotOptions:
    """Returns the options of the command."""
    return parse_options(build_parser(), argv, PlotOptions)


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("plot", "Draw the spectrogram of a recording, its frame scores and its anomalies.")
    add = parser.add_argument
    add("file", metavar="FILE", help="recording to score and draw; with --run an utterance id or a path of a recording")
    add(
        "-o",
        "--output",
        required=True,
        type=path_ending_in(".png", ".svg"),
        metavar="FILE",
        help="figure, in the format that its name says: .png or .svg",
    )
    add("--run", metavar="OUT", help="output folder of `audiosieve score`, whose scores are drawn")
    add(
        "--model",
        help=f"{MODEL_HELP}; by default {DEFAULT}",
    )
    add(
        "--channels",
        type=channels(advice="draw the channels one by one"),
        help=f"channels to score: {MIX} (mean of all channels), {FIRST}, or the number of a channel from 0; by default {MIX}",
    )
    add("--overwrite", action="store_true", help="replace an existing figure")
    return parser
