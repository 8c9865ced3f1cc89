"""`audiosieve reproduce`: repeats the published experiment on BLSTM and attention with your own speech and noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.evaluation.reproduction import PUBLISHED, TITLES
from pipelines.common.argument_types import names_of, number, positive_int, seed
from pipelines.common.arguments import Parser, parse_options
from pipelines.common.errors import command
from pipelines.common.output_lock import output_lock
from pipelines.experiments.material import add_material_options
from pipelines.experiments.reproduction import run_reproduction
from pipelines.experiments.reproduction_setup import ReproduceOptions, set_up

QUICK = {"utterances": 60, "test_utterances": 20, "repeats": 1, "epochs": 2}


@command("reproduce")
def run(argv: Sequence[str]) -> int:
    """Runs the unfinished repeats and prints the table of results."""
    options = parse(argv)
    output = Path(options.output).expanduser()
    with output_lock(output):
        print(run_reproduction(set_up(options)))
        print(f"the results are in {output}")
    return 0


def parse(argv: Sequence[str]) -> ReproduceOptions:
    """Returns the options of the command."""
    parser = build_parser()
    if "--quick" in argv:
        parser.set_defaults(**QUICK)
    return parse_options(parser, argv, ReproduceOptions)


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "reproduce",
        "Repeat the published experiment with BLSTM and attention networks. The same command continues an interrupted run.",
    )
    add, further = parser.add_argument, parser.further.add_argument
    add_material_options(parser)
    further(
        "--speech_where",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="as --where, but for the speech only, such as corpus=librispeech; may be repeated",
    )
    add("-o", "--output", required=True, help="folder for the results, empty or of an interrupted run")
    add(
        "--repeats",
        type=positive_int,
        default=8,
        help="number of repeats, each with newly drawn noise; a later run may have more",
    )
    further(
        "--networks",
        type=_networks,
        default=",".join(PUBLISHED),
        help=f"networks, separated by commas: {', '.join(TITLES)}",
    )
    further("--epochs", type=positive_int, default=10, help="epochs of each training")
    further(
        "--loss",
        default="unweighted",
        choices=["unweighted", "weighted"],
        help="loss of the frame scores: unweighted as published, or weighted by 10^(label - 8)",
    )
    further(
        "--noise_split",
        default="shared",
        choices=["shared", "disjoint"],
        help="noise of training and test: one collection as published, or different groups, which is harder",
    )
    further("--utterances", type=positive_int, default=700, help="training utterances; all if there are fewer")
    further("--test_utterances", type=positive_int, default=143, help="test utterances; all if there are fewer")
    further(
        "--max_duration_s",
        type=number(at_least=0.25),
        default=3.0,
        help="longest utterance in seconds; longer recordings are cut into several",
    )
    further(
        "--min_dynamic_range_db",
        type=number(infinite=True),
        default=31.0,
        help="smallest dynamic range of usable speech in dB; less than for PESQ labels, because a pseudo-score depends on the "
        "added noise only",
    )
    further(
        "--holdout",
        type=number(over=0, under=1),
        help="share of speakers and noise groups for the test; by default the splits val and test of the manifest, or a tenth",
    )
    further("--seed", type=seed, default=0, help="seed of the draws; repeat N has the seed SEED + N")
    add(
        "--processes",
        type=positive_int,
        default=1,
        help="number of networks that are trained at the same time, each in a process of its own",
    )
    further(
        "--threads",
        type=positive_int,
        help="TensorFlow threads of a training; by default TensorFlow chooses, or 1 with several processes",
    )
    further("--keep_sets", action="store_true", help="keep the sets of finished repeats")
    add(
        "--quick",
        action="store_true",
        help="run for a few minutes, to test that everything works; sets the defaults "
        + ", ".join(f"{name} {value}" for name, value in QUICK.items()),
    )
    return parser


def _networks(text: str) -> tuple[str, ...]:
    """Parses names of networks and returns them in the order of the table."""
    names = names_of(TITLES)(text)
    return tuple(name for name in TITLES if name in names)
