"""`audiosieve compare`: two outputs of one corpus, of two models or two runs, side by side."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.common.arguments import Parser, UsageError, command
from transforms.analysis.comparison import Comparison, NothingInCommonError, compare
from transforms.analysis.comparison_text import comparison_text
from transforms.analysis.queries import QueryError
from transforms.output.results import open_results
from transforms.storage.atomic_files import check_new, new_file, new_text

SUFFIXES = (".json", ".parquet")


@command("compare")
def run(argv: Sequence[str]) -> int:
    """Parses the command line, compares, prints what was found, and writes it where asked."""
    options = _parser().parse_args(argv)
    _check_options(options)
    threshold = _threshold(options.threshold)
    a, b = (open_results(output) for output in options.scores)
    try:
        found = compare(a, b, threshold)
    except (NothingInCommonError, QueryError) as error:
        raise UsageError(str(error)) from error
    if options.output:
        _write(found, options)
    print(comparison_text(found, options.worst))
    return 0


def facts(found: Comparison, worst: int) -> dict[str, object]:
    """All that was found, as JSON holds it."""
    return {
        **{
            name: {"output": results.root, "model_id": results.model_id, "label_scale": results.label_scale.name}
            for name, results in (("a", found.a), ("b", found.b))
        },
        "thresholds": {"a": found.thresholds[0], "b": found.thresholds[1]},
        **found.facts,
        "worst": found.worst(worst),
    }


def _write(found: Comparison, options: argparse.Namespace) -> None:
    described = json.dumps(facts(found, options.worst), indent=2, ensure_ascii=False)
    if Path(options.output).suffix == ".json":
        with new_text(options.output, options.overwrite) as text:
            text.write(f"{described}\n")
        return
    with new_file(options.output, options.overwrite) as file:
        table = found.joined.replace_schema_metadata({"audiosieve.comparison": described})
        pq.write_table(table, file, compression="zstd")


def _threshold(text: str | None) -> tuple[float, ...]:
    """Reads "3" or "3,5.5": a threshold for both outputs, or one for each."""
    try:
        found = tuple(map(float, text.split(","))) if text is not None else ()
    except ValueError:
        found = (math.nan,)
    if len(found) > 2 or not all(map(math.isfinite, found)):
        raise UsageError(f"--threshold is {text!r}; it takes a number, or two with a comma, A's and B's")
    return found


def _check_options(options: argparse.Namespace) -> None:
    if options.worst < 0:
        raise UsageError(f"--worst is {options.worst}; it must be at least 0")
    if options.output:
        if Path(options.output).suffix not in SUFFIXES:
            raise UsageError(f"--output {options.output}: its name must end in {' or '.join(SUFFIXES)}")
        check_new(options.output, options.overwrite)


def _parser() -> Parser:
    parser = Parser(
        "compare",
        "Compare two outputs of `audiosieve score` over one corpus, joined by utterance_id: what each lacks, how far the "
        "scores agree, where they disagree most, and what a threshold would decide otherwise.",
    )
    add = parser.add_argument
    add("scores", nargs=2, metavar="OUT", help="the two outputs, A and B")
    add("--threshold", metavar="A[,B]", help="keep from this score on, in A and in B; by default the median of A's scores; "
        "where the label scales differ, B's is by default what keeps as many utterances")  # fmt: skip
    add("--worst", type=int, default=10, metavar="N", help="how many of the largest disagreements are listed")
    add(
        "--output",
        metavar="FILE",
        help="writes what was found to a .json, or all utterances of both, joined, to a .parquet",
    )
    add("--overwrite", action="store_true", help="lets --output replace a file")
    return parser
