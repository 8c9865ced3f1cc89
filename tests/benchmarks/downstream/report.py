"""Tables of the comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.evaluation.bootstrap import Estimate
from tests.benchmarks.downstream.judging import MEASURES, paired_difference
from tests.benchmarks.downstream.selection import ARMS, RANDOM

NOISY = "noisy input"
UNITS = {"SI-SDR": "SI-SDR in dB", "DNSMOS": "DNSMOS OVRL"}
# Measures of an arm by name, [S, N] each: seeds by test clips, NaN where a clip is not rated.
Values = Mapping[str, np.ndarray]


def means(values: np.ndarray) -> tuple[float, float | None]:
    """Returns the mean over the test clips, and its standard deviation over the seeds; None with one seed.

    Args:
        values: measure [S, N]; NaN where a clip has none.
    """
    by_seed = np.nanmean(values, axis=1)
    return float(by_seed.mean()), float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None


def compare(arms: Mapping[str, Values], speakers: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """Returns the difference of each arm to the random one by arm and measure."""
    found: dict[str, dict[str, Estimate]] = {}
    for arm in (arm for arm in ARMS if arm != RANDOM):
        found[arm] = {}
        for name in MEASURES:
            judged = np.flatnonzero(np.isfinite(arms[RANDOM][name]).all(axis=0))
            mine, baseline = arms[arm][name][:, judged], arms[RANDOM][name][:, judged]
            found[arm][name] = paired_difference(mine, baseline, [speakers[index] for index in judged])
    return found


def markdown(
    contents: Mapping[str, Mapping[str, float]],
    noisy: Values,
    arms: Mapping[str, Values],
    speakers: Sequence[str],
    notes: Sequence[str],
) -> str:
    """Returns the report.

    Args:
        contents: mean contents of each arm (`selection.contents`).
        noisy: measures of the noisy input [1, N].
        arms: measures of each arm.
        speakers: speaker of each test clip.
        notes: sentences about the run.
    """
    differences = compare(arms, speakers)
    held = [
        [f"`{arm}`", f"{one['hours']:.2f}", f"{one['in_spoiled_clips']:.1%}", f"{one['spoiled_seconds']:.1%}"]
        for arm, one in contents.items()
    ]
    judged = [[NOISY, *(_mean(noisy[name]) for name in MEASURES)]]
    judged += [[f"`{arm}`", *(_mean(arms[arm][name]) for name in MEASURES)] for arm in ARMS]
    against = [[f"`{arm}`", *(_signed(one) for one in row.values())] for arm, row in differences.items()]
    titles = [UNITS.get(name, name) for name in MEASURES]
    tables = [
        _table(["training speech", "hours", "hours in spoiled clips", "seconds with noise or faults"], held),
        _table(["trained on", *titles], judged),
        _table([f"difference to `{RANDOM}`", *titles], against),
    ]
    return "\n\n".join([*tables, " ".join(notes)]) + "\n"


def as_json(
    contents: Mapping[str, Mapping[str, float]], noisy: Values, arms: Mapping[str, Values], speakers: Sequence[str]
) -> dict[str, Any]:
    """Returns the same figures for a program."""
    measured = {
        name: {measure: dict(zip(("mean", "std"), means(values[measure]), strict=True)) for measure in MEASURES}
        for name, values in {NOISY: noisy, **arms}.items()
    }
    differences = {
        arm: {name: one.as_dict() for name, one in row.items()} for arm, row in compare(arms, speakers).items()
    }
    return {"contents": dict(contents), "measures": measured, "differences": differences}


def _mean(values: np.ndarray) -> str:
    mean, deviation = means(values)
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def _signed(one: Estimate) -> str:
    low, high = one.interval or (float("nan"), float("nan"))
    return f"{one.value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
