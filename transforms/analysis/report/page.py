"""The page of a report: one HTML file that contains everything it shows and needs no network."""

from __future__ import annotations

import dataclasses
import math
import string
from collections.abc import Mapping, Sequence
from importlib.resources import files

from model.labels import LabelScale
from transforms.analysis.report.embedded_data import content_security_policy, numbers_json, script
from transforms.analysis.report.example_cards import example_cards
from transforms.analysis.report.examples import Example
from transforms.analysis.report.html import Html, element, escape, select, table
from transforms.analysis.report.numbers import FACTS, FIRST_FOLDER, Fact, Group, ReportData

ASSETS = "assets"
# Steps of 0.01 between two rows of the table of thresholds.
_TABLE_STEPS = 10
_QUANTILE_TITLES = ("lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest")
# Placeholder for the cells in which page.js writes the hours and the share that a group keeps.
_KEPT = Html("<!--kept-->")


@dataclasses.dataclass(frozen=True)
class Heading:
    """The origin of the numbers of a report.

    Attributes:
        title: title of the page.
        corpus: scored corpus.
        output: folder of the scores.
        model_id: name@hash of the model.
        scale: scale of the scores.
        runs: number of committed runs, or waves of runs.
        dates: dates of the first and the last run, as YYYY-MM-DD.
        versions: versions of audiosieve that scored the corpus.
        made: date of the report.
    """

    title: str
    corpus: str
    output: str
    model_id: str
    scale: LabelScale
    runs: int
    dates: tuple[str, str]
    versions: Sequence[str]
    made: str


def render_page(
    heading: Heading,
    data: ReportData,
    chosen: Mapping[str, Sequence[str]],
    examples: Mapping[str, Example],
    threshold: float,
) -> str:
    """Returns the report as HTML.

    Args:
        heading: origin of the numbers.
        data: numbers of the output.
        chosen: utterance ids of the examples by kind.
        examples: examples by utterance id.
        threshold: score at which the slider starts.
    """
    from plotly.offline import get_plotlyjs  # slow to import, and only this function needs it

    plotly, page_script = script(get_plotlyjs()), script(_asset("page.js"))
    group_tables = [_group_table(number, *group, data) for number, group in enumerate(data.groups.items())]
    parts = {
        "policy": content_security_policy(plotly, page_script),
        "title": heading.title,
        "css": Html(_asset("page.css")),
        "summary": _summary(heading, data),
        "threshold": _threshold(data, threshold),
        "kept_table": _kept_table(data),
        "columns": select("column", [_title_of(column) for column in data.groups], _first_choice(data)),
        "group_tables": Html("\n".join(group_tables)),
        "facts": select("fact", [FACTS[fact.name][0] for fact in data.facts], _first_fact(data)),
        "fact_table": _fact_table(data.facts),
        "cause_table": _word_table("cause", data.causes, data),
        "flag_table": _word_table("flag", data.flags, data),
        "reject_table": _reject_table(data),
        "examples": example_cards(chosen, examples),
        "colophon": _colophon(heading),
        "data": numbers_json(data, heading.scale, threshold),
        "plotly": plotly,
        "script": page_script,
    }
    return string.Template(_asset("page.html")).substitute({name: escape(part) for name, part in parts.items()})


def default_threshold(scale: LabelScale) -> float:
    """Returns the middle of a scale, rounded down to a tenth."""
    return math.floor((scale.low + scale.high) / 2 * 10) / 10


def hours(seconds: float) -> str:
    """Formats seconds as hours, with more decimals for fewer hours. `hours` in page.js must use the same format."""
    value = seconds / 3600
    return f"{value:,.{1 if value >= 100 else 2 if value >= 1 else 4}f}"


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0.0:.1f} %"


def _asset(name: str) -> str:
    return (files("transforms.analysis.report") / ASSETS / name).read_text(encoding="utf-8")


def _summary(heading: Heading, data: ReportData) -> Html:
    first, last = heading.dates
    scale = heading.scale
    runs = f"{heading.runs} wave{'' if heading.runs == 1 else 's'}, audiosieve {', '.join(heading.versions)}"
    return element(
        "dl",
        _card("Corpus", heading.corpus, f"scores in {heading.output}", wide=True),
        _card("Model", heading.model_id, f"{scale.title}, {scale.low:g} (bad) to {scale.high:g} (best)", wide=True),
        _card("Scored", f"{data.count:,}", "utterances"),
        _card("Hours", hours(data.seconds), "of speech scored"),
        _card("Rejected", f"{data.rejected:,}", "inputs without a score"),
        _card("Scored on", first if first == last else f"{first} to {last}", runs),
        class_="cards",
    )


def _card(name: str, value: str, note: str, wide: bool = False) -> Html:
    return element(
        "div",
        element("dt", name),
        element("dd", value, element("small", note)),
        class_="wide" if wide else False,
    )


def _threshold(data: ReportData, threshold: float) -> Html:
    """Returns the slider and its numbers, which the page also shows without scripts."""
    count, seconds = data.steps.kept(threshold)
    ends = {"min": f"{data.steps.threshold(0):.2f}", "max": f"{data.steps.threshold(len(data.steps.count) - 1):.2f}"}
    setting = {**ends, "step": "0.01", "value": f"{threshold:.2f}", "autocomplete": "off"}
    kept_hours = element("b", element("data", hours(seconds), id="kept-hours", value=repr(seconds)))
    return element(
        "div",
        element(
            "div",
            element("label", "Threshold", for_="threshold"),
            element("input", type="range", id="threshold", **setting),
            element("input", type="number", id="threshold-number", aria_label="Threshold as a number", **setting),
            class_="setting",
        ),
        element(
            "div",
            element("output", kept_hours, " h kept"),
            " = ",
            element("span", _share(seconds, data.seconds), id="kept-share"),
            " of the hours, ",
            element("span", f"{count:,}", id="kept-count"),
            " utterances; ",
            element("span", hours(data.seconds - seconds), id="dropped"),
            " h dropped",
            aria_live="polite",
        ),
        class_="threshold",
    )


def _kept_table(data: ReportData) -> Html:
    rows = []
    for index in range(0, len(data.steps.count), _TABLE_STEPS):
        threshold = data.steps.threshold(index)
        count, seconds = data.steps.kept(threshold)
        rows.append(
            [f"{threshold:.2f}", f"{count:,}", _share(count, data.count), hours(seconds), _share(seconds, data.seconds)]
        )
    head = ["threshold", "utterances kept", "share", "hours kept", "share"]
    return table("Utterances and hours kept by threshold", head, rows, id="kept-table")


def _title_of(column: str) -> str:
    return {FIRST_FOLDER: FIRST_FOLDER, "sample_rate": "sample rate"}.get(column, column)


def _first_choice(data: ReportData) -> int:
    """Returns the number of the first column with more than one group."""
    return next((number for number, groups in enumerate(data.groups.values()) if len(groups) > 1), 0)


def _first_fact(data: ReportData) -> int:
    """Returns the number of the signal-to-noise ratio that the model hears, or of that of the samples."""
    names = [fact.name for fact in data.facts]
    return names.index("snr_db" if "snr_db" in names else "noise_floor_snr_db")


def _group_table(number: int, column: str, groups: Sequence[Group], data: ReportData) -> Html:
    threshold = Html('hours kept at <span data-threshold=""></span>')
    head = [_title_of(column), "utterances", "hours", "share", *_QUANTILE_TITLES[1:-1], threshold, "share kept"]
    rows = []
    for group in groups:
        quantiles = [f"{value:.2f}" for value in group.quantiles]
        size = [f"{group.count:,}", hours(group.seconds), _share(group.seconds, data.seconds)]
        rows.append([group.title, *size, *quantiles, _KEPT, _KEPT])
    content = table(f"Score by {_title_of(column)}, largest groups first", head, rows)
    filled = content.replace(f"<td>{_KEPT}</td>", '<td data-kept=""></td>')
    return element("div", Html(filled), id=f"group-table-{number}")


def _fact_table(facts: Sequence[Fact]) -> Html:
    rows = []
    for fact in facts:
        title, unit = FACTS[fact.name]
        values = [_digits(value) for value in fact.quantiles] or ["-"] * len(_QUANTILE_TITLES)
        rows.append([f"{title} ({unit})", *values, f"{fact.missing:,}"])
    head = ["fact", *_QUANTILE_TITLES, "missing"]
    return table("All facts: quantiles over the utterances", head, rows, id="fact-table")


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _word_table(kind: str, counts: Sequence[tuple[str | None, int, float]], data: ReportData) -> Html:
    rows = [
        [word or f"(no {kind})", f"{count:,}", _share(count, data.count), hours(seconds), _share(seconds, data.seconds)]
        for word, count, seconds in counts
    ]
    return table(f"{kind.capitalize()}s, most frequent first", [kind, "utterances", "share", "hours", "share"], rows)


def _reject_table(data: ReportData) -> Html:
    if not data.rejects:
        return element("p", "Every input got a score.")
    rows = []
    for reject in data.rejects:
        examples = [element("li", element("code", name), f": {detail}") for name, detail in reject.examples]
        rows.append([reject.reason, reject.stage, f"{reject.count:,}", element("ul", *examples, class_="plain")])
    inputs = "1 input" if data.rejected == 1 else f"{data.rejected:,} inputs"
    total = element(
        "p", f"{inputs} got no score. The table ", element("code", "rejects"), " lists each with its reason."
    )
    head = ["reason", "stage", "inputs", "for example"]
    return Html(total + table("Rejects by reason", head, rows, text_columns=(1, 3)))


def _colophon(heading: Heading) -> str:
    return (
        f"Made by audiosieve report on {heading.made}. The page contains everything it shows and uses no network. "
        "Players play the signal that the model scored: 16 kHz, one channel, 16 bits, level unchanged."
    )
