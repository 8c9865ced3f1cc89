"""`audiosieve report`: writes a web page about an output."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from model.labels import LabelScale
from pipelines.common.argument_types import number, whole_number
from pipelines.common.arguments import Dependent, Parser, check_effects, parse_options
from pipelines.common.errors import UsageError, command
from pipelines.common.wording import counted
from transforms.analysis.report.examples import choose_examples, make_examples
from transforms.analysis.report.numbers import report_data
from transforms.analysis.report.page import Heading, default_threshold, render_page
from transforms.analysis.report.presets import preset_amounts
from transforms.corpus.sources import absolute
from transforms.output.results import Results, open_results
from transforms.storage.atomic_files import check_new, new_file


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Options of `audiosieve report`.

    Attributes:
        scores: output folder of `audiosieve score`.
        output: path of the HTML page.
        title: title of the page; None for the name of the corpus.
        threshold: threshold that the page shows first, on the label scale; None for the middle of the scale.
        examples: number of examples of each kind, at least 0. Each cause has one example, unless it is 0.
        clip_s: longest playable part of an example in seconds, over 0.
        max_mb: largest size of all sound in the page in MB, at least 0.
        overwrite: whether to replace an existing page.
    """

    scores: str
    output: str
    title: str | None
    threshold: float | None
    examples: int
    clip_s: float
    max_mb: float
    overwrite: bool


@command("report")
def run(argv: Sequence[str]) -> int:
    """Writes the page and prints its size."""
    started = time.monotonic()
    options = parse(argv)
    results = open_results(options.scores)
    threshold = _threshold(options.threshold, results.label_scale)
    check_new(options.output, options.overwrite)
    data = report_data(results.connect(), results.carried, results.label_scale)
    chosen, utterances = choose_examples(results, options.examples, threshold)
    ids = list(dict.fromkeys(name for names in chosen.values() for name in names))
    examples = make_examples(utterances, ids, results.label_scale, options.clip_s, int(options.max_mb * 1e6))
    html = render_page(
        _heading(options.title, results), data, preset_amounts(results), chosen, examples, threshold
    ).encode()
    with new_file(options.output, options.overwrite) as file:
        file.write(html)
    silent = [example for example in examples.values() if example.clip is None]
    other_files = f" (and {counted(data.num_skipped, 'other file')})" if data.num_skipped else ""
    print(
        f"{counted(data.count, 'utterance')} and {counted(data.rejected, 'reject')}{other_files} in {len(html) / 1e6:.1f} MB, "
        f"{counted(len(examples), 'example')} ({len(silent)} without sound), in {time.monotonic() - started:.1f} s: "
        f"{options.output}"
    )
    for example in silent:
        print(f"{example.utterance_id}: {example.no_clip_reason}", file=sys.stderr)
    return 0


def _heading(title: str | None, results: Results) -> Heading:
    run_ids = sorted(record["run_id"] for record in results.records)
    days = [f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}" for run_id in run_ids]
    return Heading(
        title=title or f"Speech quality of {results.source.rstrip('/').rpartition('/')[2] or results.source}",
        corpus=results.source,
        output=absolute(results.root),
        model_id=results.model_id,
        scale=results.label_scale,
        runs=len(results.records),
        dates=(days[0], days[-1]),
        versions=sorted({record["versions"]["audiosieve"] for record in results.records}),
        made=f"{datetime.now(UTC):%Y-%m-%d} by version {version('audiosieve')}",
    )


def _threshold(requested: float | None, scale: LabelScale) -> float:
    if requested is None:
        return default_threshold(scale)
    if not scale.low <= requested <= scale.high:
        raise UsageError(
            f"--threshold is {requested:g}; scores of {scale.name} go from {scale.low:g} to {scale.high:g}"
        )
    return round(requested, 2)


def parse(argv: Sequence[str]) -> ReportOptions:
    """Returns the options of the command."""
    parser = build_parser()
    options = parse_options(parser, argv, ReportOptions)
    check_effects(
        parser,
        argv,
        options,
        Dependent(("clip_s", "max_mb"), options.examples > 0, "examples; --examples is 0"),
        Dependent(("clip_s",), options.max_mb > 0, "sound; --max_mb is 0"),
    )
    return options


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "report",
        "Write a web page about an output: its statistics, the effect of a threshold, and examples to look at and listen to.",
    )
    add, further = parser.add_argument, parser.further.add_argument
    add("scores", metavar="OUT", help="output folder of `audiosieve score`, local or in a bucket")
    add("-o", "--output", required=True, metavar="FILE", help="page: one HTML file that needs no network")
    add("--title", help="title of the page; by default it names the corpus")
    add(
        "--threshold",
        type=number(),
        help="threshold that the page shows first; by default the middle of the label scale",
    )
    further(
        "--examples",
        type=whole_number(at_least=0),
        default=5,
        help="number of examples of each kind: bad stretches, near the threshold, worst, best; unless it is 0, each cause of "
        "damage has one example, too",
    )
    further(
        "--clip_s",
        type=number(over=0),
        default=15.0,
        help="longest playable part of an example, around its lowest frame scores, in seconds",
    )
    further(
        "--max_mb",
        type=number(at_least=0),
        default=20.0,
        help="largest size of all sound in the page in MB; 0 for no sound",
    )
    add("--overwrite", action="store_true", help="replace an existing page")
    return parser
