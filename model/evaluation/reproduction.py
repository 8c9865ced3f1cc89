"""Results of `audiosieve reproduce`: measures of one network, their spread over repeats, the table, and progress."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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
}
BASELINE = next(iter(TITLES))
# Published results; those of the other networks and measures are unknown.
PUBLISHED: dict[str, dict[str, float]] = {
    "quality_net": {"lcc": 0.876, "srcc": 0.876, "f1": 0.752},
    "lc_att": {"lcc": 0.919, "srcc": 0.914, "f1": 0.848},
}
MISSING = "-"
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


def differences(repeats: Sequence[Mapping[str, Values]], networks: Sequence[str]) -> dict[str, dict[str, Spread]]:
    """Returns the spread of the differences from the baseline within each repeat.

    A difference within one repeat varies less than the difference of two means.

    Args:
        repeats: for each repeat, the measures of each network.
        networks: names of the networks.

    Returns:
        The spreads by network and measure; empty if the baseline is not among the networks.
    """
    if BASELINE not in networks:
        return {}

    def minus(repeat: Mapping[str, Values], name: str, measure: str) -> float | None:
        value, baseline = repeat[name].get(measure), repeat[BASELINE].get(measure)
        return None if value is None or baseline is None else value - baseline

    return {
        name: {measure: Spread.of([minus(repeat, name, measure) for repeat in repeats]) for measure in MEASURES}
        for name in networks
        if name != BASELINE
    }


def spreads_as_json(spreads: Mapping[str, Mapping[str, Spread]]) -> dict[str, Any]:
    """Returns spreads as JSON values."""
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
    published = [measure for measure in MEASURES if any(measure in row for row in PUBLISHED.values())]
    rows = [
        [
            TITLES[name],
            *(spread.text() for spread in row.values()),
            *(_published(name, measure) for measure in published),
        ]
        for name, row in summarise(repeats, networks).items()
    ]
    lines += _table(["network", *MEASURES.values(), *(f"published {MEASURES[measure]}" for measure in published)], rows)
    from_baseline = differences(repeats, networks)
    if from_baseline:
        lines += ["", f"Difference from {TITLES[BASELINE]} in the same repeat, mean ± standard deviation:", ""]
        rows = [[TITLES[name], *(spread.text("+") for spread in row.values())] for name, row in from_baseline.items()]
        lines += _table(["network", *MEASURES.values()], rows)
    lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def notes(
    utterances: Mapping[str, int],
    test_speakers: int,
    snrs_db: Sequence[float],
    epochs: int,
    failed: Mapping[str, int],
    quick: bool,
) -> list[str]:
    """Returns notes for the reader of the table, one sentence each.

    Args:
        utterances: number of utterances by split: "train", "val" and "test".
        test_speakers: number of test speakers.
        snrs_db: SNRs of each utterance in dB.
        epochs: epochs of each training.
        failed: by network, the number of repeats in which it could not be trained, if over 0.
        quick: whether the run only tested that everything works.
    """
    sentences = ["**This was a quick run, to test that everything works: its numbers mean little.**"] if quick else []
    sentences += [
        f"There are {utterances['train'] + utterances['val']} training utterances and {utterances['test']} test utterances "
        f"of {test_speakers} other speakers with other noise, each clean and at "
        f"{', '.join(f'{snr_db:g}' for snr_db in snrs_db)} dB.",
        f"{utterances['val']} of the training utterances, from speakers of their own, choose the epoch and the threshold.",
        "Precision, recall and F1 are those of clean clips; the threshold was chosen without the test clips.",
        f"Each repeat draws new noise for the same speech, trains {epochs} epochs and keeps the best one by LCC.",
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


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table whose columns also align in a terminal."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    cells = [[row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))] for row in (header, *rows)]
    return ["| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:])]


def seconds_left(finished: Sequence[tuple[str, float]], unfinished: Sequence[str]) -> float | None:
    """Estimates the time of the remaining work in seconds.

    A network without finished work is estimated by the mean of the others. A set is then estimated by 0, because it takes
    little time.

    Args:
        finished: kind (`SET`, or the name of a network) and seconds of each finished piece of work.
        unfinished: kind of each remaining piece of work.

    Returns:
        The seconds; None if no network is finished.
    """
    of_kind: dict[str, list[float]] = defaultdict(list)
    for kind, seconds in finished:
        of_kind[kind].append(seconds)
    networks = [seconds for kind, seconds in finished if kind != SET]
    if not networks:
        return None
    return float(sum(np.mean(of_kind[kind] or ([0.0] if kind == SET else networks)) for kind in unfinished))


def time_text(seconds: float) -> str:
    """Returns a duration as text: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def progress_text(finished: Sequence[tuple[str, float]], unfinished: Sequence[str]) -> str:
    """Returns progress as text: "2 min so far, about 3 h 05 min left"; no estimate if no network is finished.

    Args:
        finished: kind and seconds of each finished piece of work, as for `seconds_left`.
        unfinished: kind of each remaining piece of work.
    """
    spent_s, left_s = sum(seconds for _, seconds in finished), seconds_left(finished, unfinished)
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
