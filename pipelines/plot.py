"""`audiosieve plot`: draws the spectrogram of a recording, its frame scores, its anomalies and the causes of damage."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from model.bundle import DEFAULT
from pipelines.common.argument_types import channels, path_ending_in
from pipelines.common.arguments import MODEL_HELP, Parser, parse_options
from pipelines.common.errors import UsageError, command
from transforms.analysis.figure import FigureData, draw, save, title
from transforms.analysis.lookup import find_utterance
from transforms.analysis.source_audio import source_audio
from transforms.analysis.spectrogram_image import reduced_db
from transforms.analysis.title_fonts import choose_fonts
from transforms.audio.decode import decode
from transforms.audio.sound_file import open_audio
from transforms.corpus.archives.reading import archive_kind_at
from transforms.elements import AUTO, FIRST, MIX
from transforms.errors import AudioFault
from transforms.output.results import open_results
from transforms.scoring.bundles import find_bundle
from transforms.scoring.inference import load_scorer
from transforms.scoring.recording import score_decoded
from transforms.storage.atomic_files import check_new, new_file
from transforms.storage.files import absolute


@dataclasses.dataclass(frozen=True)
class PlotOptions:
    """Options of `audiosieve plot`.

    Attributes:
        file: path of a recording, or utterance id.
        output: path of the figure, ending in .png or .svg.
        run: output folder of `audiosieve score`; None to score the recording now.
        model: name or folder of a model; None for the default model.
        channels: channels to score, "auto", "mix", "first" or a number; None for "auto".
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
    """Draws a recording with its scores, which come from a run or are computed now."""
    options = parse(argv)
    if options.run and (options.model is not None or options.channels is not None):
        raise UsageError("--run draws the scores of a run; --model and --channels are for scoring now, without --run")
    check_new(options.output, options.overwrite)
    data = _scores_of_run(options, options.run) if options.run else _score_now(options)
    with new_file(options.output, options.overwrite) as file:
        save(draw(data), file, PurePosixPath(options.output).suffix.lower()[1:])
    if hint := choose_fonts(data.title).hint:
        print(f"audiosieve plot: {hint}", file=sys.stderr)
    count, summary = len(data.anomalies), data.title.replace("\n", ": ")
    print(f"{summary}, {count} anomal{'y' if count == 1 else 'ies'}; drawn in {options.output}")
    return 0


def _scores_of_run(options: PlotOptions, output: str) -> FigureData:
    """Returns the figure data of an utterance with the scores of a run."""
    results = open_results(output)
    utterance = find_utterance(results, options.file)
    row, level_db = utterance.row, None
    try:
        level_db = reduced_db(source_audio(row).waveform)
    except AudioFault as fault:
        print(
            f"audiosieve plot: {row['utterance_id']}: the audio cannot be read ({fault.detail}); only the scores are drawn",
            file=sys.stderr,
        )
    return FigureData(
        title=title(row["utterance_id"], row["score"], results.label_scale, results.model_id),
        level_db=level_db,
        duration_s=row["duration_s"],
        frame_score=utterance.frame_score,
        anomalies=utterance.anomalies,
        scale=results.label_scale,
        frame_causes=utterance.frame_causes,
        score=row["score"],
        threshold=utterance.anomaly_threshold(results.label_scale),
    )


def _score_now(options: PlotOptions) -> FigureData:
    """Scores a recording and returns its figure data.

    Raises:
        UsageError: the file is an archive, or cannot be scored.
    """
    uri, name = absolute(options.file), PurePosixPath(options.file).name
    if kind := archive_kind_at(uri):
        raise UsageError(
            f"{uri} is an archive ({kind}) of recordings; score it, then draw one of its utterances with --run"
        )
    model = options.model or DEFAULT
    find_bundle(model)  # reports an unknown model before the audio is decoded
    try:
        with open_audio(uri) as file:
            decoded = decode(file, channels=options.channels or AUTO)
        score = score_decoded(decoded, load_scorer(model))
    except AudioFault as fault:
        raise UsageError(f"{options.file}: {fault.reason}: {fault.detail}") from fault
    return FigureData.of(score, decoded.of_channel(score.utterance.channel).waveform, name)


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
        help="figure; its suffix .png or .svg selects the format",
    )
    add(
        "--run",
        metavar="OUT",
        help="output folder of `audiosieve score` with the scores to draw; by default FILE is scored now",
    )
    add(
        "--model",
        help=f"{MODEL_HELP}; by default {DEFAULT}",
    )
    add(
        "--channels",
        type=channels(advice="draw the channels one by one"),
        help=f"channels to score: {AUTO} (mean of all, or the best one where they differ), {MIX} (always the mean), {FIRST}, "
        f"or the number of a channel from 0; by default {AUTO}",
    )
    add("--overwrite", action="store_true", help="replace an existing figure")
    return parser
