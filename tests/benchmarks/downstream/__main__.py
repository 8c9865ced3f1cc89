"""Measures whether filtering a corpus helps a speech enhancer that is trained on it.

    python -m tests.benchmarks.downstream MANIFEST OUT [--model BUNDLE] [--seeds 3] [--hours 1.2]

MANIFEST lists speech, noise, music and room responses of the splits train and val. Half of the hours of a corpus made from the
split train are spoiled. The same number of hours is selected from it in five ways, and a small enhancer is trained on each.
The same command continues an interrupted run. OUT/downstream.md has the tables. It needs the extras train, media and teachers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from model.bundle import DEFAULT
from tests.benchmarks.downstream.experiment import run


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.downstream",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("manifest", help="manifest of speech, noise, music and room responses")
    add("out", type=Path, help="folder for the pool, the scores and the results")
    add("--model", default=DEFAULT, help="model that scores the pool")
    add("--seeds", type=int, default=3, help="number of trainings of each arm")
    add("--hours", type=float, default=1.2, help="hours of the pool")
    add("--share", type=float, default=0.4, help="share of the hours of the pool in each arm")
    add("--steps", type=int, default=800, help="steps of each training")
    add("--test_clips", type=int, default=100, help="number of mixtures to enhance")
    add("--rated", type=int, default=40, help="number of them that DNSMOS rates")
    add("--processes", type=int, default=2, help="number of processes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(parse(None))
