"""The arithmetic and the text of `audiosieve reproduce`.

What a network reached, what several repeats of the experiment say together, the table of it, and how far a run is.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.evaluation.bootstrap import Resamples
from model.evaluation.measures import Scored, measure, measure_conditions
from model.evaluation.measures import plain as plain_estimates

MEASURES = {"lcc": "LCC", "srcc": "SRCC", "precision": "precision", "recall": "recall", "f1": "F1"}
# In the order of the table. The first is what the others are set against.
TITLES = {
    "quality_net": "Quality-Net (baseline)",
    "l_1dcnn": "L_1DCNN",
    "l_att": "L_ATT",
    "lc_att": "LC_ATT",
}
BASELINE = next(iter(TITLES))
# As published; of the networks and measures that are not here the published numbers are not known to us.
PUBLISHED: dict[str, dict[str, float]] = {
    "quality_net": {"lcc": 0.876, "srcc": 0.876, "f1": 0.752},
    "lc_att": {"lcc": 0.919, "srcc": 0.914, "f1": 0.848},
}
NONE = "-"
# A kind of work beside the networks: making the set of a repeat.
SET = "set"

# What one network reached in one repeat, by measure; None where a measure is not defined.
Values = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A measure over the repeats.

    Attributes:
        mean: over the repeats in which the measure is defined; None where there are none.
        std: standard deviation over them (n - 1 in the denominator); None for fewer than two.
        repeats: how many they are.
    """

    mean: float | None
    std: float | None
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread:
        """Mean and standard deviation of the values; those that are None or not finite are left out."""
        defined = np.array([value for value in values if value is not None and math.isfinite(value)])
        return cls(
            mean=float(defined.mean()) if len(defined) else None,
            std=float(defined.std(ddof=1)) if len(defined) > 1 else None,
            repeats=len(defined),
        )

    def text(self, sign: str = "") -> str:
        """For people: "0.912 ± 0.004"; with `sign` "+" also the sign of what is not negative."""
        if self.mean is None:
            return NONE
        return f"{self.mean:{sign}.3f}" + (f" ± {self.std:.3f}" if self.std is not None else "")


def reached(scored: Scored) -> dict[str, Any]:
    """What a network reached in one repeat, for JSON.

    Args:
        scored: the test clips, with the threshold that was chosen on others.

    Returns:
        The "values" of all clips by measure, the "threshold", and "by_snr" how label and score lie.
    """
    everything = np.arange(len(scored.clips))
    # No intervals: the repeats say how sure the numbers are.
    no_resamples = Resamples([clip.speaker for clip in scored.clips], 0, 0)
    found = plain_estimates(measure(scored, everything, everything[:0], no_resamples))
    bands = measure_conditions(scored, "snr", no_resamples)
    return {
        "values": {name: found[name]["value"] for name in (*MEASURES, "rmse", "auc")},
        "threshold": dataclasses.asdict(scored.threshold) if scored.threshold else None,
        "by_snr": {
            band: {key: part[key] for key in ("clips", "label_mean", "score_mean", "score_variance")}
            for band, part in bands.items()
        },
    }


def summarise(repeats: Sequence[Mapping[str, Values]], networks: Sequence[str]) -> dict[str, dict[str, Spread]]:
    """Mean and standard deviation of every measure of every network.

    Args:
        repeats: for each repeat, what each network reached. A network that could not be trained in one has no values.
        networks: which.
    """
    return {
        name: {measure: Spread.of([repeat[name].get(measure) for repeat in repeats]) for measure in MEASURES}
        for name in networks
    }


def differences(repeats: Sequence[Mapping[str, Values]], networks: Sequence[str]) -> dict[str, dict[str, Spread]]:
    """By how much each network differs from the baseline in one and the same repeat, which is surer than two means.

    Empty without the baseline among the networks.
    """
    if BASELINE not in networks:
        return {}

    def minus(repeat: Mapping[str, Values], name: str, measure: str) -> float | None:
        own, other = repeat[name].get(measure), repeat[BASELINE].get(measure)
        return None if own is None or other is None else own - other

    return {
        name: {measure: Spread.of([minus(repeat, name, measure) for repeat in repeats]) for measure in MEASURES}
        for name in networks
        if name != BASELINE
    }


def plain(spreads: Mapping[str, Mapping[str, Spread]]) -> dict[str, Any]:
    """The same for JSON."""
    return {name: {key: dataclasses.asdict(value) for key, value in row.items()} for name, row in spreads.items()}


def results(repeats: Sequence[Mapping[str, Values]], networks: Sequence[str]) -> dict[str, Any]:
    """What all repeats say together, for JSON.

    Args:
        repeats: for each finished repeat, what each network reached.
        networks: which.
    """
    return {
        "repeats_finished": len(repeats),
        "summary": plain(summarise(repeats, networks)),
        "differences_from_baseline": plain(differences(repeats, networks)),
        "published": PUBLISHED,
    }


def markdown(repeats: Sequence[Mapping[str, Values]], networks: Sequence[str], notes: Sequence[str]) -> str:
    """The table beside the published numbers, as Markdown: the same for the same results, whenever they were reached.

    Args:
        repeats: for each finished repeat, what each network reached.
        networks: which.
        notes: what the reader must know, a sentence each.
    """
    rests = f"{len(repeats)} repeat" + ("" if len(repeats) == 1 else "s")
    lines = ["# Quality assessment by BLSTM and attention, reproduced", ""]
    lines += [f"Mean ± standard deviation over {rests}.", ""]
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
    apart = differences(repeats, networks)
    if apart:
        lines += ["", f"Difference from {TITLES[BASELINE]} in the same repeat, mean ± standard deviation:", ""]
        rows = [[TITLES[name], *(spread.text("+") for spread in row.values())] for name, row in apart.items()]
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
    """What the reader of the table must know, a sentence each.

    Args:
        utterances: how many, by split: "train", "val" and "test".
        test_speakers: how many.
        snrs_db: at which each utterance is there, in dB.
        epochs: of each training.
        failed: in how many repeats a network could not be trained, where there are any.
        quick: whether the run was only to see that all works.
    """
    found = ["**A quick run, to see that all works: its numbers mean little.**"] if quick else []
    found += [
        f"{utterances['train'] + utterances['val']} training utterances ({utterances['val']} of them, of speakers of their "
        f"own, choose the epoch and the threshold), {utterances['test']} test utterances of {test_speakers} other speakers "
        f"with other noise; each clean and at {', '.join(f'{snr_db:g}' for snr_db in snrs_db)} dB.",
        "Precision, recall and F1 are those of clean clips, told from noisy ones by a threshold that was fixed "
        "without the test clips.",
        f"Every repeat draws other noise for the same speech; {epochs} epochs, the best by LCC is kept.",
        "The published numbers were reached on other speech and noise: what can be compared is the order of the "
        "networks and the distances between them.",
    ]
    return found + [
        f"{TITLES[name]} could not be trained in {count} of the repeats, which its numbers leave out."
        for name, count in failed.items()
    ]


def _published(name: str, measure: str) -> str:
    value = PUBLISHED.get(name, {}).get(measure)
    return NONE if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns also line up in a terminal."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    cells = [[row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))] for row in (header, *rows)]
    return ["| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:])]


def seconds_left(finished: Sequence[tuple[str, float]], unfinished: Sequence[str]) -> float | None:
    """How long the rest of the work will take, in s, if it goes as it went.

    Args:
        finished: kind and seconds of each finished piece of work: `SET`, or a network.
        unfinished: kind of each other piece. A network of which nothing is finished yet is taken for the mean of those
            that are; a set for nothing, as it takes little.

    Returns:
        None where no network is finished yet.
    """
    of_kind: dict[str, list[float]] = defaultdict(list)
    for kind, seconds in finished:
        of_kind[kind].append(seconds)
    networks = [seconds for kind, seconds in finished if kind != SET]
    if not networks:
        return None
    return float(sum(np.mean(of_kind[kind] or ([0.0] if kind == SET else networks)) for kind in unfinished))


def say_time(seconds: float) -> str:
    """For people: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def say_progress(finished: Sequence[tuple[str, float]], unfinished: Sequence[str]) -> str:
    """For people: "2 min so far, about 3 h 05 min left"; without the second part where nobody can know it yet.

    Args:
        finished: as `seconds_left` takes it.
        unfinished: likewise.
    """
    took, left = sum(seconds for _, seconds in finished), seconds_left(finished, unfinished)
    return f"{say_time(took)} so far" + ("" if left is None else f", about {say_time(left)} left")


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """For people: "epochs was 2, now 5" for each option that is not what it was.

    Args:
        before: options, as read from JSON.
        now: options, which are compared as JSON would have them.
    """
    now = json.loads(json.dumps(now))
    return [
        f"{name} was {before.get(name)}, now {now.get(name)}"
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
