"""The options of `audiosieve filter` for trimming and segments."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentTypeError

from pipelines.common.argument_types import number, number_range
from pipelines.common.arguments import Parser
from pipelines.common.errors import UsageError
from transforms.curation.trimming.plan import LEAST_S, LEAST_SEGMENT_S, SegmentLimits, TrimPlan, parse_trim

LONGEST_PAD_S = 60.0


def add_trim_options(parser: Parser) -> None:
    """Adds the options to the parser of the command line."""
    add, further = parser.add_argument, parser.further.add_argument
    add(
        "--trim",
        type=_trim,
        metavar="WHAT",
        help="cut bad stretches out of utterances, so that the spans between them become utterances: `anomalies`, "
        "`score < NUMBER` for frame scores, or causes such as `noise,music`; several with commas between them",
    )
    add(
        "--segment",
        type=_segment_limits,
        metavar="MIN:MAX",
        help="divide the good stretches of long utterances into segments of MIN to MAX seconds, such as 3:30, cut in pauses; "
        "without --trim, anomalies are cut out",
    )
    further("--min_s", type=number(at_least=LEAST_S), help="shortest span that --trim keeps, in seconds; 1 by default")
    further(
        "--pad_s",
        type=number(at_least=0, at_most=LONGEST_PAD_S),
        help="margin that --trim cuts off on both sides of a bad stretch, in seconds; 0.1 by default",
    )


def trim_plan(
    trim: TrimPlan | None, segments: SegmentLimits | None, min_s: float | None, pad_s: float | None
) -> TrimPlan | None:
    """Returns what is cut out. Segments are good stretches, so anomalies are cut out if nothing else is named.

    Args:
        trim: value of `--trim`.
        segments: value of `--segment`.
        min_s: value of `--min_s`; None for the default.
        pad_s: value of `--pad_s`; None for the default.

    Raises:
        UsageError: two options exclude each other, or nothing is trimmed.
    """
    if segments is not None and min_s is not None:
        raise UsageError(
            "--segment and --min_s exclude each other; the shortest segment is the first number of --segment"
        )
    if trim is None and segments is None:
        given = [name for name, value in (("min_s", min_s), ("pad_s", pad_s)) if value is not None]
        if given:
            raise UsageError(f"--{given[0]} is for trimmed utterances; add --trim WHAT")
        return None
    plan = trim or TrimPlan()
    return dataclasses.replace(
        plan, min_s=plan.min_s if min_s is None else min_s, pad_s=plan.pad_s if pad_s is None else pad_s
    )


def _trim(text: str) -> TrimPlan:
    """Parses what to cut out of utterances."""
    try:
        return parse_trim(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _segment_limits(text: str) -> SegmentLimits:
    """Parses the limits of the length of segments, such as 3:30."""
    low, high = number_range(at_least=LEAST_SEGMENT_S)(text)
    if low == high:
        raise ArgumentTypeError(f"is {text!r}; must be MIN:MAX in seconds, such as 3:30")
    return SegmentLimits(low, high)
