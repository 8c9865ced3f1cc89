"""`audiosieve evaluate`: measures models against labelled sets."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence

from model.bundle import DEFAULT
from model.labels import LABEL_SCALES
from pipelines.common.argument_types import Range, number_range, positive_int, seed, whole_number
from pipelines.common.arguments import MODEL_HELP, Dependent, Parser, add_batch_options, check_effects, parse_options
from pipelines.common.errors import command
from pipelines.experiments.evaluation import run_evaluation
from pipelines.experiments.evaluation_setup import EvaluateOptions, set_up

MAX_GAIN_DB = 60.0


@command("evaluate")
def run(argv: Sequence[str]) -> int:
    """Scores the clips with each model, and writes and prints the measures."""
    evaluation = set_up(parse(argv))
    print(f"{run_evaluation(evaluation)}\n\nthe results are in {evaluation.output}")
    return 0


def parse(argv: Sequence[str]) -> EvaluateOptions:
    """Returns the options of the command."""
    parser = build_parser()
    options = parse_options(parser, argv, EvaluateOptions)
    check_effects(parser, argv, options, Dependent(("seed",), options.resamples > 0, "resamples; --resamples is 0"))
    return options


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "evaluate",
        "Measure models on labelled sets: agreement with the labels, separation of clean and degraded clips, localisation of "
        "bad spans, increase with the SNR, and effect of the level.",
    )
    add, further = parser.add_argument, parser.further.add_argument
    add("sets", nargs="+", metavar="SET", help="sets made by `audiosieve synthesize`, measured together")
    add("-o", "--output", required=True, help="empty folder for the results")
    add(
        "--model",
        action="append",
        default=[],
        metavar="NAME_OR_PATH",
        help=f"{MODEL_HELP}; may be repeated; by default {DEFAULT}",
    )
    add("--split", default="val", help="split of the measured clips")
    add(
        "--label",
        choices=list(LABEL_SCALES),
        help="label to compare the scores to; by default that of the model, or else one that the sets have",
    )
    further(
        "--threshold_split",
        default="train",
        help="split of the clips from which the threshold for clean clips is chosen",
    )
    further(
        "--threshold_set",
        action="append",
        default=[],
        metavar="SET",
        help="set with these clips; may be repeated; by default the measured sets",
    )
    further(
        "--resamples",
        type=whole_number(at_least=0),
        default=1000,
        help="resamples of the speakers for the 95 %% intervals; 0 for no intervals",
    )
    further("--seed", type=seed, default=0, help="seed of the resamples")
    add(
        "--ladder",
        action="store_true",
        help="measure how often a score rises with the SNR; the sets must hold the same clips, each at one SNR",
    )
    add(
        "--gains",
        type=_two_gains,
        metavar="LOW:HIGH",
        help="two gains in dB; each clip is scored again with each gain, exact and rounded to 16 bits; a gain is reduced "
        "if the clip would exceed full scale",
    )
    further(
        "--clip",
        metavar="ID",
        help="clip to draw; by default the one with the median score among the partly degraded clips",
    )
    add_batch_options(parser, "clips")
    further("--threads", type=positive_int, help="TensorFlow threads; by default TensorFlow chooses")
    return parser


def _two_gains(text: str) -> Range:
    """Parses two gains in dB, LOW:HIGH."""
    if ":" not in text:
        raise ArgumentTypeError(f"is {text!r}; must be LOW:HIGH")
    return number_range(at_least=-MAX_GAIN_DB, at_most=MAX_GAIN_DB)(text)
