"""Diagnoses of a model as tables for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model.diagnosis import RATINGS
from model.evaluation.text_tables import MISSING, estimate, number, table

DECIBELS = {"snr_db": "SNR", "c50_db": "C50"}
# Causes in a line of the table of false causes.
LISTED_CAUSES = 3


def diagnosis_tables(measured: dict[str, Any]) -> list[str]:
    """Returns the tables of a diagnostic model; none for parts that were not measured, or for another model.

    Args:
        measured: measures of the model: those of `measures.measure_diagnoses`.
    """
    kinds: list[tuple[str, Callable[[Any], str]]] = [
        ("causes", lambda causes: cause_table(causes["by_cause"])),
        ("music", music_table),
        ("second_voice", lambda bands: _level_table("second voice, SNR of the speech", bands)),
        *((name, _decibel_table(title)) for name, title in DECIBELS.items()),
        ("false_causes", false_cause_table),
    ]
    tables = [write(measured[part]) for part, write in kinds if part in measured]
    ratings = {name: measured[name] for name in RATINGS if name in measured}
    return [*tables, rating_table(ratings)] if ratings else tables


def cause_table(causes: dict[str, dict[str, Any]]) -> str:
    """Returns the detection of each cause in clips, and in frames."""
    rows = [["cause", "in", "known", "with it", "precision", "recall", "F1", "AUC"]]
    for cause, measured in causes.items():
        for where in ("clips", "frames"):
            part = measured[where]
            rows.append(
                [
                    cause if where == "clips" else "",
                    where,
                    str(part["known"]),
                    str(part["with_cause"]),
                    number(part["precision"].value),
                    number(part["recall"].value),
                    estimate(part["f1"], 2),
                    estimate(part["auc"]),
                ]
            )
    return table(rows)


def music_table(music: dict[str, Any]) -> str:
    """Returns the detection of music alone, and behind speech."""
    bands = {f"behind speech at {level}": part for level, part in music.get("behind_speech", {}).items()}
    alone = {"alone": music["alone"]} if "alone" in music else {}
    return _level_table("music", {**alone, **bands})


def _level_table(name: str, bands: dict[str, dict[str, Any]]) -> str:
    rows = [[name, "clips", "speech without it", "AUC"]]
    rows += [[level, str(part["clips"]), str(part["without"]), estimate(part["auc"])] for level, part in bands.items()]
    return table(rows)


def _decibel_table(title: str) -> Callable[[dict[str, Any]], str]:
    """Returns a function that writes the errors of a value in dB, by the true value."""

    def write(measured: dict[str, Any]) -> str:
        rows = [[f"true {title}", "clips", "without value", "mean absolute error, dB", "mean error, dB", "LCC"]]
        for ends, part in (*measured["bins"].items(), ("all", measured)):
            errors = [estimate(part.get(name), 2) for name in ("mae", "bias", "lcc")]
            rows.append([ends, str(part["clips"]), str(part["without_value"]), *errors])
        return table(rows)

    return write


def rating_table(ratings: dict[str, dict[str, Any]]) -> str:
    """Returns the agreement of each rating with the teacher's."""
    rows = [["rating", "clips", "LCC", "SRCC", "RMSE", "same decision", "of"]]
    for name, measured in ratings.items():
        parts = [(name, measured), *([(f"{name}, real recordings", measured["real"])] if "real" in measured else [])]
        for title, part in parts:
            agreement = [estimate(part.get(measure), 2) for measure in ("lcc", "srcc", "rmse", "same_decision")]
            rows.append([title, str(part["clips"]), *agreement, str(part["judged"])])
    return table(rows)


def false_cause_table(kinds: dict[str, dict[str, Any]]) -> str:
    """Returns how often causes are heard that are not there."""
    rows = [["false causes", "clips", "share of clips", "clips by cause"]]
    for kind, part in kinds.items():
        causes = [f"{cause} {count}" for cause, count in part["causes"].items()]
        listed = ", ".join([*causes[:LISTED_CAUSES], *(["..."] if len(causes) > LISTED_CAUSES else [])])
        rows.append([kind.replace("_", " "), str(part["clips"]), estimate(part["share"]), listed or MISSING])
    return table(rows)
