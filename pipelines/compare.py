"""`audiosieve compare`: compares two outputs of one corpus, written by two models or two runs."""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.common.argument_types import path_ending_in, whole_number
from pipelines.common.arguments import Dependent, Parser, check_effects, parse_options
from pipelines.common.errors import UsageError, command
from transforms.analysis.comparison import Comparison, NothingInCommonError, compare
from transforms.analysis.comparison_text import comparison_text
from transforms.analysis.queries import QueryError
from transforms.output.results import open_results
from transforms.storage.atomic_files import check_new, new_file, new_text


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Options of `audiosieve compare`.

    Attributes:
        scores: two output folders of `audiosieve score`, A and B.
        threshold: thresholds of A and B on their label scales; one for both, or none for the defaults.
        worst: number of largest disagreements to list, at least 0.
        output: path of the result, ending in .json or .parquet; None to print only.
        overwrite: whether to replace an existing file.
    """

    scores: tuple[str, ...]
    threshold: tuple[float, ...]
    worst: int
    output: str | None
    overwrite: bool


@command("compare")
def run(argv: Sequence[str]) -> int:
    """Compares two outputs, prints the comparison, and writes it to `--output`."""
    options = parse(argv)
    if options.output:
        check_new(options.output, options.overwrite)
    a, b = (open_results(output) for output in options.scores)
    try:
        comparison = compare(a, b, options.threshold)
    except (NothingInCommonError, QueryError) as error:
        raise UsageError(str(error)) from error
    if options.output:
        _write(comparison, options.output, options)
    print(comparison_text(comparison, options.worst))
    return 0


def facts(comparison: Comparison, worst: int) -> dict[str, object]:
    """Returns a comparison as JSON values.

    Args:
        comparison: comparison of two outputs.
        worst: number of largest disagreements to include.
    """
    return {
        **{
            name: {"output": results.root, "model_id": results.model_id, "label_scale": results.label_scale.name}
            for name, results in (("a", comparison.a), ("b", comparison.b))
        },
        "thresholds": {"a": comparison.thresholds[0], "b": comparison.thresholds[1]},
        **comparison.facts,
        "worst": comparison.worst(worst),
    }


def _write(comparison: Comparison, path: str, options: CompareOptions) -> None:
    described = json.dumps(facts(comparison, options.worst), indent=2, ensure_ascii=False)
    if Path(path).suffix.lower() == ".json":
        with new_text(path, options.overwrite) as text:
            text.write(f"{described}\n")
        return
    with new_file(path, options.overwrite) as file:
        table = comparison.joined.replace_schema_metadata({"audiosieve.comparison": described})
        pq.write_table(table, file, compression="zstd")


def parse(argv: Sequence[str]) -> CompareOptions:
    """Returns the options of the command."""
    parser = build_parser()
    options = parse_options(parser, argv, CompareOptions)
    check_effects(parser, argv, options, Dependent(("overwrite",), bool(options.output), "--output"))
    return options


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "compare",
        "Compare two outputs of `audiosieve score` over one corpus: utterances that only one has, agreement of the scores, "
        "largest disagreements, and utterances that a threshold keeps in only one of them.",
    )
    add = parser.add_argument
    add("scores", nargs=2, metavar="OUT", help="the two outputs, A and B, local or in a bucket")
    add(
        "--threshold",
        type=_thresholds,
        default=(),
        metavar="A[,B]",
        help="lowest score to keep, in A and in B; by default the median score of A, and for B, if its label scale "
        "differs, the score that keeps as many utterances",
    )
    add(
        "--worst",
        type=whole_number(at_least=0),
        default=10,
        metavar="N",
        help="number of largest disagreements to list",
    )
    add(
        "-o",
        "--output",
        type=path_ending_in(".json", ".parquet"),
        metavar="FILE",
        help="file for the result; .json: the figures; .parquet: one row for each utterance of A and B",
    )
    add("--overwrite", action="store_true", help="replace an existing --output")
    return parser


def _thresholds(text: str) -> tuple[float, ...]:
    """Parses one threshold for both outputs, "3", or one for each, "3,5.5"."""
    try:
        thresholds = tuple(map(float, text.split(",")))
    except ValueError:
        thresholds = ()
    if len(thresholds) not in (1, 2) or not all(map(math.isfinite, thresholds)):
        raise ArgumentTypeError(f"is {text!r}; must be one number, or two numbers separated by a comma, for A and B")
    return thresholds
