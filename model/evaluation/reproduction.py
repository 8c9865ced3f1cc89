"""Results of `audiosieve reproduce`: measures of one network, their spread over repeats, the table, and progress."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from model.evaluation.bootstrap import Resamples
from model.evaluation.measures import as_json, measure, measure_conditions
from model.evaluation.scored_clips import ScoredClips

MEASURES = {"lcc": "LCC", "srcc": "SRCC", "precision": "precision", "recall": "recall", "f1": "F1"}
# Titles of the networks in the order of the table. The first network is the baseline.
TITLES = {
    "quality_net": "Quality-Net (baseline)",
    "l_1dcnn": "L_1DCNN",
    "l_att": "L_ATT",
    "lc_att": "LC_ATT",
    "l_att_linear": "L_ATT without sigmoid",
    "lc_att_linear": "LC_ATT without sigmoid",
}
BASELINE = next(iter(TITLES))
# Table 3 of the paper: means over eight repeats.
PUBLISHED: dict[str, dict[str, float]] = {
    "quality_net": {"lcc": 0.876, "srcc": 0.876, "precision": 0.728, "recall": 0.777, "f1": 0.752},
    "l_1dcnn": {"lcc": 0.858, "srcc": 0.863, "precision": 0.926, "recall": 0.691, "f1": 0.792},
    "l_att": {"lcc": 0.892, "srcc": 0.894, "precision": 0.957, "recall": 0.709, "f1": 0.815},
    "lc_att": {"lcc": 0.919, "srcc": 0.914, "precision": 0.927, "recall": 0.781, "f1": 0.848},
}
MISSING = "-"
# Standard deviations below this are rounding errors.
TINY = 1e-12
# Kind of work that makes the set of a repeat; the other kinds are names of networks.
SET = "set"

# Measures of one network in one repeat, by name; None if a measure is undefined.
Values = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a measure over repeats.

    Attributes:
        mean: mean over the repeats in which the measure is defined; None if there are none.
        std: standard deviation over these repeats, with n - 1 in the denominator; None for fewer than two.
        repeats: number of these repeats.
    """

    mean: float | None
    std: float | None
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread:
        """Returns mean and standard deviation of the values that are finite and not None."""
        defined = np.array([value for value in values if value is not None and math.isfinite(value)])
        return cls(
            mean=float(defined.mean()) if len(defined) else None,
            std=float(defined.std(ddof=1)) if len(defined) > 1 else None,
            repeats=len(defined),
        )

    def text(self, sign: str = "") -> str:
        """Returns text such as "0.912 ± 0.004". If `sign` is "+", positive numbers have a sign too."""
        if self.mean is None:
            return MISSING
        return f"{self.mean:{sign}.3f}" + (f" ± {self.std:.3f}" if self.std is not None else "")


@dataclasses.dataclass(frozen=True)
class Difference:
    """Difference of a measure from the baseline within each repeat.

    Attributes:
        spread: mean and standard deviation of the differences.
        p_value: probability of a mean at least as far from 0 if the true one is 0, by the paired t-test (two-sided); None for
            fewer than two repeats or equal differences.
    """

    spread: Spread
    p_value: float | None

    @classmethod
    def of(cls, values: Sequence[float | None], baseline: Sequence[float | None]) -> Difference:
        """Returns the difference of values from those of the baseline, paired by repeat; None for an undefined value."""
        pairs = np.array(
            [
                pair
                for pair in zip(values, baseline, strict=True)
                if all(v is not None and math.isfinite(v) for v in pair)
            ],
            float,
        ).reshape(-1, 2)
        differences = pairs[:, 0] - pairs[:, 1]
        spread = Spread.of(differences.tolist())
        # Equal differences have no variance, and the test would divide by 0.
        if spread.std is None or spread.std < TINY:
            return cls(spread, None)
        return cls(spread, float(scipy.stats.ttest_rel(pairs[:, 0], pairs[:, 1]).pvalue))

    def text(self) -> str:
        """Returns text such as "+0.021 ± 0.004 (p 0.003)"."""
        if self.p_value is None:
            return self.spread.text("+")
        number = "< 0.001" if self.p_value < 0.001 else f"{self.p_value:.3f}"
        return f"{self.spread.text('+')} (p {number})"


def network_result(scored: ScoredClips) -> dict[str, Any]:
    """Returns the result of a network in one repeat, as JSON values.

    Args:
        scored: scored test clips, with a threshold that was chosen on other clips.

    Returns:
        "values" by measure, the "threshold", and "by_snr" the means of labels and scores.
    """
    everything = np.arange(len(scored.clips))
    # No intervals are needed, because the repeats give the spread.
    no_resamples = Resamples([clip.speaker for clip in scored.clips], 0, 0)
    measured = as_json(measure(scored, everything, everything[:0], no_resamples))
    bands = measure_conditions(scored, "snr", no_resamples)
    return {
        "values": {name: measured[name]["value"] for name in (*MEASURES, "rmse", "auc")},
        "threshold": dataclasses.asdict(scored.threshold) if scored.threshold else None,
        "by_snr": {
            band: {key: part[key] for key in ("clips", "label_mean", "score_mean", "score_variance")}
            for band, part in bands.items()
        },
    }


def summarise(repeats: Sequence[Mapping[str, Values]], networks: Sequence[str]) -> dict[str, dict[str, Spread]]:
    """Returns the spread of each measure of each network.

    Args:
        repeats: for each repeat, the measures of each network; none for a network that could not be trained.
        networks: names of the networks.
    """
    return {
        name: {measure: Spread.of([repeat[name].get(measure) for repeat in repeats]) for measure in MEASURES}
        for name in networks
    }


def differences(repeats: Sequence[Mapping[str, Values]], networks: Sequence[str]) -> dict[str, dict[str, Difference]]:
    """Returns the differences of each network from the baseline within each repeat, with a paired test.

    A difference within one repeat varies less than the difference of two means.

    Args:
        repeats: for each repeat, the measures of each network.
        networks: names of the networks.

    Returns:
        The differences by network and measure; empty if the baseline is not among the networks.
    """
    if BASELINE not in networks:
        return {}

    def of_repeats(name: str, measure: str) -> list[float | None]:
        return [repeat[name].get(measure) for repeat in repeats]

    return {
        name: {measure: Difference.of(of_repeats(name, measure), of_repeats(BASELINE, measure)) for measure in MEASURES}
        for name in networks
        if name != BASELINE
    }


def spreads_as_json(spreads: Mapping[str, Mapping[str, Spread | Difference]]) -> dict[str, Any]:
    """Returns spreads or differences as JSON values."""
    return {name: {key: dataclasses.asdict(value) for key, value in row.items()} for name, row in spreads.items()}


def results(repeats: Sequence[Mapping[str, Values]], networks: Sequence[str]) -> dict[str, Any]:
    """Returns the results of all repeats as JSON values.

    Args:
        repeats: for each finished repeat, the measures of each network.
        networks: names of the networks.
    """
    return {
        "repeats_finished": len(repeats),
        "summary": spreads_as_json(summarise(repeats, networks)),
        "differences_from_baseline": spreads_as_json(differences(repeats, networks)),
        "published": PUBLISHED,
    }


def markdown(repeats: Sequence[Mapping[str, Values]], networks: Sequence[str], notes: Sequence[str]) -> str:
    """Returns the table of results beside the published ones, as Markdown.

    The text has no dates or times: equal results give equal tables.

    Args:
        repeats: for each finished repeat, the measures of each network.
        networks: names of the networks.
        notes: notes for the reader, one sentence each.
    """
    number = f"{len(repeats)} repeat" + ("" if len(repeats) == 1 else "s")
    lines = ["# Quality assessment by BLSTM and attention, reproduced", ""]
    lines += [f"Mean ± standard deviation over {number}.", ""]
    rows = [
        [
            TITLES[name],
            *(spread.text() for spread in row.values()),
            *(_published(name, measure) for measure in MEASURES),
        ]
        for name, row in summarise(repeats, networks).items()
    ]
    lines += markdown_table(
        ["network", *MEASURES.values(), *(f"published {title}" for title in MEASURES.values())], rows
    )
    from_baseline = differences(repeats, networks)
    if from_baseline:
        title = f"Difference from {TITLES[BASELINE]} in the same repeat, mean ± standard deviation"
        lines += ["", f"{title} (p of the paired t-test over the repeats):", ""]
        rows = [[TITLES[name], *(one.text() for one in row.values())] for name, row in from_baseline.items()]
        lines += markdown_table(["network", *MEASURES.values()], rows)
    lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def notes(material: Mapping[str, Any], choices: Sequence[str], failed: Mapping[str, int], quick: bool) -> list[str]:
    """Returns notes for the reader of the table, one sentence each.

    Args:
        material: facts about the material, with the numbers of "utterances" and "speakers" by split.
        choices: settings of the experiment, one sentence each.
        failed: by network, the number of repeats in which it could not be trained, if over 0.
        quick: whether the run only tested that everything works.
    """
    utterances, speakers = material["utterances"], material["speakers"]
    sentences = ["**This was a quick run, to test that everything works: its numbers mean little.**"] if quick else []
    sentences += [
        f"There are {utterances['train'] + utterances['val']} training utterances and {utterances['test']} test utterances "
        f"of {speakers['test']} other speakers.",
        f"{utterances['val']} of the training utterances, from speakers of their own, choose the epoch.",
        *choices,
        "Precision, recall and F1 are those of clean clips.",
        "The published numbers come from other speech and noise: compare the order of the networks and the differences "
        "between them.",
    ]
    return sentences + [
        f"{TITLES[name]} could not be trained in {count} of the repeats; its numbers leave them out."
        for name, count in failed.items()
    ]


def _published(name: str, measure: str) -> str:
    value = PUBLISHED.get(name, {}).get(measure)
    return MISSING if value is None else f"{value:.3f}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table whose columns also align in a terminal."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    cells = [[row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))] for row in (header, *rows)]
    return ["| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:])]


def seconds_left(
    finished: Sequence[tuple[str, float]],
    unfinished: Sequence[str],
    processes: int = 1,
    running: Sequence[tuple[str, float]] = (),
) -> float | None:
    """Estimates the time until the end of the work in seconds.

    A network without finished work is estimated by the mean of the others. A set is then estimated by 0, because it takes
    little time.

    Args:
        finished: kind (`SET`, or the name of a network) and seconds of each finished piece of work.
        unfinished: kind of each remaining piece of work, those that run now included.
        processes: number of pieces that run at the same time.
        running: kind and seconds so far of each piece that runs now.

    Returns:
        The seconds; None if no network is finished.
    """
    of_kind: dict[str, list[float]] = defaultdict(list)
    for kind, seconds in finished:
        of_kind[kind].append(seconds)
    networks = [seconds for kind, seconds in finished if kind != SET]
    if not networks:
        return None

    def estimate(kind: str) -> float:
        return float(np.mean(of_kind[kind] or ([0.0] if kind == SET else networks)))

    # A piece that takes longer than estimated is nearly finished.
    done = sum(min(seconds, estimate(kind)) for kind, seconds in running)
    return (sum(map(estimate, unfinished)) - done) / processes


def time_text(seconds: float) -> str:
    """Returns a duration as text: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def progress_text(
    finished: Sequence[tuple[str, float]],
    unfinished: Sequence[str],
    processes: int = 1,
    running: Sequence[tuple[str, float]] = (),
) -> str:
    """Returns progress as text: "2 min so far, about 3 h 05 min left"; no estimate if no network is finished.

    Args:
        finished: kind and seconds of each finished piece of work, as for `seconds_left`.
        unfinished: kind of each remaining piece of work.
        processes: number of pieces that run at the same time.
        running: kind and seconds so far of each piece that runs now.
    """
    spent_s = sum(seconds for _, seconds in (*finished, *running)) / processes
    left_s = seconds_left(finished, unfinished, processes, running)
    return f"{time_text(spent_s)} so far" + ("" if left_s is None else f", about {time_text(left_s)} left")


def option_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns text for each changed option: "epochs was 2, now 5".

    Args:
        before: earlier options, as read from JSON.
        now: options of this run, compared in their JSON form.
    """
    now = json.loads(json.dumps(now))
    return [
        f"{name} was {before.get(name)}, now {now.get(name)}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
