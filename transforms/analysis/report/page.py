"""A report as a page: one file, which holds all that it shows and asks no network for anything."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import math
import re
import string
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from model.labels import LabelScale
from transforms.analysis.report.examples import KINDS, Example
from transforms.analysis.report.numbers import (
    FACT_BINS,
    FACTS,
    FIRST_FOLDER,
    SCORE_BIN,
    STEPS,
    Fact,
    Group,
    ReportData,
    Steps,
)

PAGE = "assets"
# Steps of 0.01 between the rows of the table of thresholds.
_TABLE_STEPS = 10
_QUANTILE_TITLES = ("lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest")


# Control signs but for line breaks and tabs, halves of signs, and what turns the direction of the text after it: they would
# hide what a name is, and are shown by their numbers.
_HIDING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


class Html(str):
    """Text that is HTML already. Any other text is escaped before it comes into the page."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Heading:
    """What a report says of where its numbers are from.

    Attributes:
        title: of the page.
        corpus: that was scored.
        output: where the scores are.
        model_id: name@hash of the model.
        scale: of the scores.
        runs: how many runs, or waves of runs, there were.
        dates: of the first and of the last, as YYYY-MM-DD.
        versions: of audiosieve that made them.
        made: when the report was made.
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


def page(
    heading: Heading,
    data: ReportData,
    chosen: Mapping[str, Sequence[str]],
    examples: Mapping[str, Example],
    threshold: float,
) -> str:
    """The report.

    Args:
        heading: where the numbers are from.
        data: the numbers.
        chosen: ids of the examples by kind.
        examples: by id.
        threshold: that the page begins with.
    """
    from plotly.offline import get_plotlyjs  # slow to import, and of no use to anything else

    css, template = _asset("page.css"), _asset("page.html")
    script = _code(_asset("page.js"))
    plotly = _code(get_plotlyjs())
    parts = {
        "policy": Html(_policy(plotly, script)),
        "title": heading.title,
        "css": Html(css),
        "summary": _summary(heading, data),
        "threshold": _threshold(data, threshold),
        "kept_table": _kept_table(data),
        "columns": _select("column", [_title_of(column) for column in data.groups], _first_choice(data)),
        "group_tables": Html(
            "\n".join(_group_table(place, *item, data) for place, item in enumerate(data.groups.items()))
        ),
        "facts": _select("fact", [_fact_title(fact.name) for fact in data.facts], list(FACTS).index("snr_db")),
        "fact_table": _fact_table(data.facts),
        "flag_table": _flag_table(data),
        "reject_table": _reject_table(data),
        "examples": _examples(chosen, examples),
        "colophon": _colophon(heading),
        "data": Html(_json(_embedded(data, heading.scale, threshold))),
        "plotly": Html(plotly),
        "script": Html(script),
    }
    return string.Template(template).substitute({name: escape(part) for name, part in parts.items()})


def escape(text: str) -> Html:
    """Text as HTML that shows it; what is HTML already stays as it is."""
    if isinstance(text, Html):
        return text
    shown = "".join(f"\\u{ord(sign):04x}" if _HIDING.match(sign) else sign for sign in text)
    return Html(html.escape(shown, quote=True))


def element(tag: str, *children: str, **attributes: str | bool) -> Html:
    """An element with what is in it. Underscores in names of attributes stand for hyphens; `class_` is `class`."""
    written = ""
    for name, value in attributes.items():
        if value is not False:
            name = name.rstrip("_").replace("_", "-")
            written += f" {name}" if value is True else f' {name}="{escape(str(value))}"'
    inside = "".join(map(escape, children))
    return Html(f"<{tag}{written}>" + ("" if tag in ("img", "input", "source") else f"{inside}</{tag}>"))


def hours(seconds: float) -> str:
    """Hours with as many digits as they need, as `hours` in page.js writes them."""
    value = seconds / 3600
    return f"{value:,.{1 if value >= 100 else 2 if value >= 1 else 4}f}"


def _share(part: float, of: float) -> str:
    return f"{100 * part / of if of else 0.0:.1f} %"


def _asset(name: str) -> str:
    return (files("transforms.analysis.report") / PAGE / name).read_text(encoding="utf-8")


def _code(text: str) -> str:
    """A script for within HTML: what would end it there is written otherwise in its strings."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _json(values: Mapping[str, Any]) -> str:
    """JSON for within HTML: no name that stands in it can end the script, or begin a comment."""
    return json.dumps(values, allow_nan=False).replace("<", "\\u003c")


def _policy(*scripts: str) -> str:
    """What a browser allows the page: these very scripts, what is within it, and no network."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _table(
    name: str, head: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = (), **more: str
) -> Html:
    """A table whose first column names the rows; `text` are the columns of words and not of numbers."""
    kinds = ["text" if n in text else False for n in range(len(head))]
    columns = [element("th", title, scope="col", class_=kind) for title, kind in zip(head, kinds, strict=True)]
    body = []
    for first, *rest in rows:
        cells = [element("td", cell, class_=kind) for cell, kind in zip(rest, kinds[1:], strict=True)]
        body.append(element("tr", element("th", first, scope="row"), *cells))
    table = element(
        "table", element("caption", name), element("thead", element("tr", *columns)), element("tbody", *body)
    )
    # What is wider than the window scrolls, with the keyboard too.
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=name, **more)


def _select(name: str, titles: Sequence[str], chosen: int) -> Html:
    options = [element("option", title, value=str(n), selected=n == chosen) for n, title in enumerate(titles)]
    return element("select", *options, id=name, autocomplete="off")


def _card(name: str, value: str, small: str = "", wide: bool = False) -> Html:
    parts = [value, element("small", small)] if small else [value]
    return element("div", element("dt", name), element("dd", *parts), class_="wide" if wide else False)


def _summary(heading: Heading, data: ReportData) -> Html:
    first, last = heading.dates
    scale = heading.scale
    return element(
        "dl",
        _card("Corpus", heading.corpus, f"scores in {heading.output}", wide=True),
        _card("Model", heading.model_id, f"{scale.title}, {scale.low:g} (bad) to {scale.high:g} (best)", wide=True),
        _card("Scored", f"{data.count:,}", "utterances"),
        _card("Hours", hours(data.seconds), "of speech scored"),
        _card("Rejected", f"{data.rejected:,}", "inputs without a score"),
        _card("Scored on", first if first == last else f"{first} to {last}",
            f"{heading.runs} wave{'' if heading.runs == 1 else 's'}, audiosieve {', '.join(heading.versions)}"),
        class_="cards",
    )  # fmt: skip


def _threshold(data: ReportData, threshold: float) -> Html:
    """The control, which stands in the page with its numbers before any script has run."""
    count, seconds = data.steps.kept(threshold)
    ends = {"min": f"{data.steps.threshold(0):.2f}", "max": f"{data.steps.threshold(len(data.steps.count) - 1):.2f}"}
    setting = {**ends, "step": "0.01", "value": f"{threshold:.2f}", "autocomplete": "off"}
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
            element(
                "output", element("b", element("data", hours(seconds), id="kept-hours", value=repr(seconds))), " h kept"
            ),
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
    for place in range(0, len(data.steps.count), _TABLE_STEPS):
        threshold = data.steps.threshold(place)
        count, seconds = data.steps.kept(threshold)
        rows.append(
            [f"{threshold:.2f}", f"{count:,}", _share(count, data.count), hours(seconds), _share(seconds, data.seconds)]
        )
    head = ["threshold", "utterances kept", "share", "hours kept", "share"]
    return _table("What is kept at some thresholds", head, rows, id="kept-table")


def _title_of(column: str) -> str:
    return {FIRST_FOLDER: FIRST_FOLDER, "sample_rate": "sample rate"}.get(column, column)


def _first_choice(data: ReportData) -> int:
    """The first column that tells utterances apart."""
    return next((place for place, groups in enumerate(data.groups.values()) if len(groups) > 1), 0)


def _group_name(group: Group) -> str:
    if group.values:
        return f"all others ({group.values:,} values)"
    return "(none)" if group.name is None else group.name


def _group_table(place: int, column: str, groups: Sequence[Group], data: ReportData) -> Html:
    threshold = Html('hours kept at <span data-threshold=""></span>')
    head = [_title_of(column), "utterances", "hours", "share", *_QUANTILE_TITLES[1:-1], threshold,
        "share kept"]  # fmt: skip
    rows = []
    for group in groups:
        quantiles = [f"{value:.2f}" for value in group.quantiles]
        size = [f"{group.count:,}", hours(group.seconds), _share(group.seconds, data.seconds)]
        rows.append([_group_name(group), *size, *quantiles, _KEPT, _KEPT])
    table = _table(f"Score by {_title_of(column)}, the largest groups first", head, rows)
    filled = table.replace(f"<td>{_KEPT}</td>", '<td data-kept=""></td>')
    return element("div", Html(filled), id=f"group-table-{place}")


# Stands where the script writes what a group keeps.
_KEPT = Html("<!--kept-->")


def _fact_title(name: str) -> str:
    return FACTS[name][0]


def _fact_table(facts: Sequence[Fact]) -> Html:
    rows = []
    for fact in facts:
        title, unit = FACTS[fact.name]
        values = [_digits(value) for value in fact.quantiles] or ["-"] * len(_QUANTILE_TITLES)
        rows.append([f"{title} ({unit})", *values, f"{fact.missing:,}"])
    return _table(
        "All facts: quantiles over the utterances", ["fact", *_QUANTILE_TITLES, "without"], rows, id="fact-table"
    )


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _flag_table(data: ReportData) -> Html:
    rows = [
        [flag or "(no flag)", f"{count:,}", _share(count, data.count), hours(seconds), _share(seconds, data.seconds)]
        for flag, count, seconds in data.flags
    ]
    return _table("Flags, the most frequent first", ["flag", "utterances", "share", "hours", "share"], rows)


def _reject_table(data: ReportData) -> Html:
    if not data.rejects:
        return element("p", "Every input got a score.")
    rows = []
    for reject in data.rejects:
        some = [element("li", element("code", name), f": {detail}") for name, detail in reject.examples]
        rows.append([reject.reason, reject.stage, f"{reject.count:,}", element("ul", *some, class_="plain")])
    inputs = "1 input" if data.rejected == 1 else f"{data.rejected:,} inputs"
    total = element("p", f"{inputs} got no score; the table ", element("code", "rejects"), " names each.")
    return Html(total + _table("Rejects by reason", ["reason", "stage", "inputs", "for example"], rows, text=(1, 3)))


# --- examples ----------------------------------------------------------------------------------------------------------


def _examples(chosen: Mapping[str, Sequence[str]], examples: Mapping[str, Example]) -> Html:
    """Each recording once, under the first kind that it is of; under a further one there is a link."""
    if not examples:
        return element("p", "None were asked for, or there are none.")
    places: dict[str, tuple[int, str]] = {}
    about = (
        "A picture shows the spectrogram of what the model hears (16 kHz, one channel) over the scores of its frames; "
        "anomalies are shaded. A bar over the spectrogram marks what the player plays, where that is a part."
    )
    parts = [element("p", about, class_="quiet")]
    for kind, ids in chosen.items():
        parts.append(element("h3", f"{kind.capitalize()}: {KINDS[kind]}"))
        if not ids:
            parts.append(element("p", "There are none."))
        for name in ids:
            if name in places:
                place, first = places[name]
                link = element("a", name, href=f"#example-{place}")
                parts.append(element("p", link, f" is shown above, under {first.capitalize()}."))
            else:
                places[name] = (len(places), kind)
                parts.append(_example(len(places) - 1, examples[name]))
    return Html("\n".join(parts))


def _example(place: int, example: Example) -> Html:
    row, anomalies = example.found.row, example.found.anomalies
    name = example.utterance_id
    alt = (
        f"Spectrogram and frame scores of {name}: {row['duration_s']:.1f} s, frame scores from {row['frame_score_min']:.2f}, "
        f"anomalies: {_anomalies(anomalies)}."
    )
    picture = element(
        "picture",
        element("source", media="screen and (prefers-color-scheme: dark)", srcset=_data_uri("image/png", example.dark)),
        element("img", src=_data_uri("image/png", example.light), alt=alt, width="900", height="330"),
    )
    facts = {
        "length": f"{row['duration_s']:.2f} s",
        "lowest frame": f"{row['frame_score_min']:.2f}",
        "anomalies": _anomalies(anomalies),
        "format": f"{row['format']}, {row['sample_rate']:,} Hz"
        + ("" if row["channel"] is None else f", channel {row['channel']}"),
        "peak": f"{row['peak_dbfs']:.1f} dBFS",
        "RMS": f"{row['rms_dbfs']:.1f} dBFS",
        "clipped": f"{100 * row['clipped_ratio']:.2f} %",
        "silent": f"{100 * row['silence_ratio']:.0f} %",
        "DC offset": f"{row['dc_offset']:.4f}",
        "bandwidth": f"{row['bandwidth_hz']:,.0f} Hz",
        "SNR": "unknown" if row["snr_db"] is None else f"{row['snr_db']:.0f} dB",
        "flags": ", ".join(row["flags"]) or "none",
        "at": row["uri"] + (f" from {row['start_s']:.2f} s" if row["start_s"] else ""),
    }
    scrolled = element("div", picture, class_="picture", tabindex="0", role="group", aria_label=f"Picture of {name}")
    score = element("span", f"score {row['score']:.2f}", class_="score")
    return element(
        "article",
        element("header", element("h4", element("code", name)), score),
        element("div", element("div", scrolled, _player(example)), _facts(facts), class_="seen"),
        class_="example",
        id=f"example-{place}",
    )


def _facts(facts: Mapping[str, str]) -> Html:
    return element("dl", *(element("div", element("dt", key), element("dd", value)) for key, value in facts.items()))


def _anomalies(spans: Sequence[tuple[float, float]]) -> str:
    if not spans:
        return "none"
    shown = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in spans[:4])
    return shown + (f" and {len(spans) - 4} more" if len(spans) > 4 else "")


def _player(example: Example) -> Html:
    if example.clip is None:
        return element("p", f"Nothing to play: {example.silent}.", class_="quiet")
    start, end = example.span
    whole = end - start >= example.found.row["duration_s"]
    label = f"{example.utterance_id}, " + ("all of it" if whole else f"{start:.1f} to {end:.1f} s")
    player = element(
        "audio", controls=True, preload="metadata", aria_label=label, src=_data_uri("audio/flac", example.clip)
    )
    if whole:
        return player
    return Html(player + element("p", f"Plays {start:.1f} to {end:.1f} s of {example.found.row['duration_s']:.1f} s.",
        class_="quiet"))  # fmt: skip


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _colophon(heading: Heading) -> str:
    return (
        f"Made by audiosieve report on {heading.made}. The page holds all that it shows, and asks no network. "
        "Players give the sound as the model heard it: 16 kHz, one channel, 16 bits, level unchanged."
    )


# --- numbers for the script --------------------------------------------------------------------------------------------


def _embedded(data: ReportData, scale: LabelScale, threshold: float) -> dict[str, Any]:
    return {
        "scale": scale.name,
        "threshold": threshold,
        "steps_per_point": STEPS,
        "first_step": data.steps.first,
        "score_bin": SCORE_BIN,
        "steps": _packed_steps(data.steps),
        "groups": [
            [
                {"name": _group_name(group), "quantiles": group.quantiles, "steps": _packed_steps(group.steps)}
                for group in groups
            ]
            for groups in data.groups.values()
        ],
        "facts": [
            {
                "title": FACTS[fact.name][0],
                "unit": FACTS[fact.name][1],
                "low": float(fact.edges[0]),
                "high": float(fact.edges[-1]),
                "bins": FACT_BINS,
                "density": packed(fact.density, "<u4"),
            }
            for fact in data.facts
        ],
    }


def _packed_steps(steps: Steps) -> dict[str, str]:
    return {"count": packed(steps.count, "<u4"), "seconds": packed(steps.seconds, "<f8")}


def packed(values: np.ndarray, kind: str) -> str:
    """Numbers as base64 of their bytes, row by row."""
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode()


def default_threshold(scale: LabelScale) -> float:
    """The middle of a scale, to a tenth."""
    return math.floor((scale.low + scale.high) / 2 * 10) / 10
