"""`audiosieve report`: an output -> one page that shows it."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from model.labels import LabelScale
from pipelines.common.arguments import Parser, UsageError, command
from transforms.analysis.report.examples import choose_examples, make_examples
from transforms.analysis.report.numbers import report_data
from transforms.analysis.report.page import Heading, default_threshold, render_page
from transforms.corpus.sources import absolute
from transforms.output.results import Results, open_results
from transforms.storage.atomic_files import check_new, new_file


@command("report")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, counts, draws, and writes the page."""
    started = time.monotonic()
    options = _parser().parse_args(argv)
    _check(options)
    results = open_results(options.scores)
    threshold = _threshold(options.threshold, results.label_scale)
    check_new(options.output, options.overwrite)
    data = report_data(results.connect(), results.carried, results.label_scale)
    chosen, found = choose_examples(results, options.examples)
    ids = list(dict.fromkeys(name for names in chosen.values() for name in names))
    examples = make_examples(found, ids, results.label_scale, options.clip_s, int(options.max_mb * 1e6))
    written = render_page(_heading(options.title, results), data, chosen, examples, threshold).encode()
    with new_file(options.output, options.overwrite) as file:
        file.write(written)
    silent = sum(example.clip is None for example in examples.values())
    print(
        f"{data.count:,} utterances and {data.rejected:,} rejects in {len(written) / 1e6:.1f} MB, "
        f"{len(examples)} examples ({silent} without sound), in {time.monotonic() - started:.1f} s: {options.output}"
    )
    for example in examples.values():
        if example.clip is None:
            print(f"{example.utterance_id}: {example.no_clip_reason}", file=sys.stderr)
    return 0


def _heading(title: str | None, results: Results) -> Heading:
    days = sorted(f"{run[:4]}-{run[4:6]}-{run[6:8]}" for run in (record["run_id"] for record in results.records))
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


def _threshold(asked: float | None, scale: LabelScale) -> float:
    if asked is None:
        return default_threshold(scale)
    if not scale.low <= asked <= scale.high:
        raise UsageError(f"--threshold is {asked:g}; scores of {scale.name} go from {scale.low:g} to {scale.high:g}")
    return round(asked, 2)


def _check(options: argparse.Namespace) -> None:
    if options.examples < 0:
        raise UsageError(f"--examples is {options.examples}; it must be at least 0")
    if not (options.clip_s > 0 and math.isfinite(options.clip_s)):
        raise UsageError(f"--clip_s is {options.clip_s:g}; it must be over 0")
    if not 0 <= options.max_mb < math.inf:
        raise UsageError(f"--max_mb is {options.max_mb:g}; it must be at least 0")


def _parser() -> Parser:
    parser = Parser(
        "report", "Make a page of an output: what is in it, what a threshold keeps, and recordings to look at and hear."
    )
    add = parser.add_argument
    add("scores", metavar="OUT", help="folder that `audiosieve score` wrote")
    add("-o", "--output", required=True, metavar="FILE", help="the page, one HTML file that needs no network")
    add("--title", help="of the page; names the corpus where left out")
    add("--threshold", type=float, help="score at which the page begins; the middle of the scale where left out")
    add("--examples", type=int, default=5, help="recordings of each kind to show: suspicious, worst, median, best")
    add("--clip_s", type=float, default=15.0, help="seconds of an example that can be played, around its lowest part")
    add("--max_mb", type=float, default=20.0, help="megabytes of sound in the page at most; 0 for none")
    add("--overwrite", action="store_true", help="replace the page if it is there")
    return parser
