"""The page of a report: one HTML file that contains everything it shows and needs no network."""

from __future__ import annotations

import dataclasses
import math
import shlex
import string
from collections.abc import Mapping, Sequence
from importlib.resources import files

from model.labels import LabelScale
from transforms.analysis.report.embedded_data import content_security_policy, numbers_json, script
from transforms.analysis.report.example_cards import example_cards
from transforms.analysis.report.examples import Example
from transforms.analysis.report.html import Html, element, escape, select, table
from transforms.analysis.report.numbers import FACTS, FIRST_FOLDER, Fact, Group, ReportData
from transforms.analysis.report.presets import PresetAmount
from transforms.analysis.report.rejects import Rejected
from transforms.analysis.text_tables import count_text
from transforms.durations import duration_text

ASSETS = "assets"
# Steps of 0.01 between two rows of the table of thresholds.
_TABLE_STEPS = 10
_QUANTILE_TITLES = ("lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest")
# Placeholder for the cells in which page.js writes the length and the share that a group keeps.
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
    presets: Sequence[PresetAmount],
    chosen: Mapping[str, Sequence[str]],
    examples: Mapping[str, Example],
    threshold: float,
) -> str:
    """Returns the report as HTML.

    Args:
        heading: origin of the numbers.
        data: numbers of the output.
        presets: amounts that presets keep.
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
        "threshold": _threshold(heading, data, threshold),
        "kept_table": _kept_table(data),
        "preset_table": _preset_table(presets, data),
        "columns": select("column", [_title_of(column) for column in data.groups], _first_choice(data)),
        "group_tables": Html("\n".join(group_tables)),
        "facts": select("fact", [FACTS[fact.name][0] for fact in data.facts], _first_fact(data)),
        "fact_table": _fact_table(data.facts),
        "texts": _texts(data),
        "cause_table": _cause_table(data),
        "flag_table": _flag_table(data),
        "rejects": _rejects(data),
        "examples": example_cards(chosen, examples, heading.scale),
        "colophon": _colophon(heading),
        "data": numbers_json(data, heading.scale, threshold),
        "plotly": plotly,
        "script": page_script,
    }
    return string.Template(_asset("page.html")).substitute({name: escape(part) for name, part in parts.items()})


def default_threshold(scale: LabelScale) -> float:
    """Returns the middle of a scale, rounded down to a tenth."""
    return math.floor((scale.low + scale.high) / 2 * 10) / 10


def length(seconds: float) -> str:
    """Formats a duration in the unit that suits it. `length` in page.js must use the same format."""
    return duration_text(seconds)


def filter_command(output: str, threshold: float) -> str:
    """Returns the command that keeps the utterances whose score reaches the threshold. page.js changes its threshold.

    Args:
        output: folder of the scores.
        threshold: lowest score, with two decimals.
    """
    return f"audiosieve filter {shlex.quote(output)} --output kept --where 'score >= {threshold:.2f}'"


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
        _card("Length", length(data.seconds), "of audio scored"),
        _card("Rejected", f"{data.rejected:,}", _skipped_note(data)),
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


def _skipped_note(data: ReportData) -> str:
    skipped = f"; {count_text(data.num_skipped, 'other file')} skipped" if data.num_skipped else ""
    return f"recordings without a score{skipped}"


def _threshold(heading: Heading, data: ReportData, threshold: float) -> Html:
    """Returns the slider, its numbers and the command, which the page also shows without scripts."""
    count, seconds = data.steps.kept(threshold)
    ends = {"min": f"{data.steps.threshold(0):.2f}", "max": f"{data.steps.threshold(len(data.steps.count) - 1):.2f}"}
    setting = {**ends, "step": "0.01", "value": f"{threshold:.2f}", "autocomplete": "off"}
    kept_length = element("b", element("data", length(seconds), id="kept-length", value=repr(seconds)))
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
            element("output", kept_length, " kept"),
            " (",
            element("span", _share(seconds, data.seconds), id="kept-share"),
            "), ",
            element("span", f"{count:,}", id="kept-count"),
            " utterances; ",
            element("span", length(data.seconds - seconds), id="dropped"),
            " dropped",
            aria_live="polite",
            class_="kept",
        ),
        element(
            "div",
            element(
                "code", filter_command(heading.output, threshold), id="command", tabindex="0", aria_label="Command"
            ),
            element("button", "Copy", type="button", id="copy", hidden=True, title="Copy the command"),
            class_="command",
        ),
        class_="threshold",
        role="region",
        aria_label="Threshold",
    )


def _kept_table(data: ReportData) -> Html:
    rows = []
    for index in range(0, len(data.steps.count), _TABLE_STEPS):
        threshold = data.steps.threshold(index)
        count, seconds = data.steps.kept(threshold)
        rows.append(
            [
                f"{threshold:.2f}",
                f"{count:,}",
                _share(count, data.count),
                length(seconds),
                _share(seconds, data.seconds),
            ]
        )
    head = ["threshold", "utterances kept", "share", "length kept", "share"]
    return table("Utterances and length kept by threshold", head, rows, id="kept-table")


def _preset_table(presets: Sequence[PresetAmount], data: ReportData) -> Html:
    rows = []
    for preset in presets:
        name = element("code", preset.name) if preset.name else "(suggested rules)"
        if preset.kept is None:
            rows.append([name, "-", "-", "-", preset.note])
        else:
            kept = preset.kept
            rows.append(
                [name, f"{kept.utterances:,}", length(kept.seconds), _share(kept.seconds, data.seconds), preset.note]
            )
    head = ["preset", "utterances kept", "length kept", "share", "note"]
    return table("Utterances and length kept by presets", head, rows, text_columns=(4,), id="preset-table")


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
    head = [_title_of(column), "utterances", "length", "share", *_QUANTILE_TITLES[1:-1], _kept_title(), "share kept"]
    rows = []
    for group in groups:
        quantiles = [f"{value:.2f}" for value in group.quantiles]
        rows.append([group.title, *_size(group, data), *quantiles, _KEPT, _KEPT])
    content = table(f"Score by {_title_of(column)}, lowest median first", head, rows)
    return element("div", _with_kept_cells(content), id=f"group-table-{number}")


def _kept_title() -> Html:
    return Html('kept <span data-threshold=""></span>')


def _with_kept_cells(content: Html) -> Html:
    """Marks the cells that page.js fills."""
    return Html(content.replace(f">{_KEPT}</td>", ' data-kept=""></td>'))


def _size(group: Group, data: ReportData) -> list[str]:
    return [f"{group.count:,}", length(group.seconds), _share(group.seconds, data.seconds)]


def _texts(data: ReportData) -> Html:
    """Returns a note on the columns that do not group the utterances; empty if there are none."""
    if not data.texts:
        return Html("")
    names = [part for name in data.texts for part in (", ", element("code", name))][1:]
    return element("p", "Not offered, because the values are free text: ", *names, ".", class_="quiet")


def _fact_table(facts: Sequence[Fact]) -> Html:
    rows = []
    for fact in facts:
        title, unit = FACTS[fact.name]
        values = [_digits(value) for value in fact.quantiles] or ["-"] * len(_QUANTILE_TITLES)
        rows.append([f"{title} ({unit})", *values, f"{fact.missing:,}"])
    head = ["fact", *_QUANTILE_TITLES, "missing"]
    return table("All facts: quantiles over the utterances", head, rows, id="fact-table")


def _digits(value: float) -> str:
    """Returns a number with three digits, or with four decimals if it is small."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _cause_table(data: ReportData) -> Html:
    if not data.causes:
        return element("p", "The output has no utterances with known causes.")
    rows = [
        [group.name or "(no cause)", *_size(group, data), f"{group.quantiles[2]:.2f}", _KEPT, _KEPT]
        for group in data.causes
    ]
    head = ["cause", "utterances", "length", "share", "median score", _kept_title(), "share kept"]
    return _with_kept_cells(table("Causes, longest first", head, rows, id="cause-table"))


def _flag_table(data: ReportData) -> Html:
    rows = [
        [group.name or "(no flag)", f"{group.count:,}", _share(group.count, data.count), *_size(group, data)[1:]]
        for group in data.flags
    ]
    return table("Flags, longest first", ["flag", "utterances", "share", "length", "share"], rows)


def _rejects(data: ReportData) -> Html:
    listed = Html(f"The table {element('code', 'rejects')} lists each with its reason.")
    if data.rejects:
        text = element("p", f"{count_text(data.rejected, 'recording')} got no score. ", listed)
        content = Html(text + _reject_table("Rejected recordings by reason", data.rejects))
    else:
        content = element("p", "Every recording got a score.")
    if not data.skipped:
        return content
    names = f"{count_text(data.num_skipped, 'other file')} skipped, such as texts and pictures"
    note = element("p", "By their names, these files are no recordings. ", listed, class_="quiet")
    skipped = _reject_table("Other files by reason", data.skipped)
    return Html(content + element("details", element("summary", names), note, skipped))


def _reject_table(caption: str, rejects: Sequence[Rejected]) -> Html:
    rows = []
    for reject in rejects:
        examples = [element("li", element("code", name), f": {detail}") for name, detail in reject.examples]
        rows.append([reject.reason, reject.stage, f"{reject.count:,}", element("ul", *examples, class_="plain")])
    return table(caption, ["reason", "stage", "inputs", "for example"], rows, text_columns=(1, 3))


def _colophon(heading: Heading) -> str:
    return (
        f"Made by audiosieve report on {heading.made}. The page contains everything it shows and uses no network. "
        "Players play the signal that the model scored: 16 kHz, one channel, 16 bits, level unchanged."
    )
