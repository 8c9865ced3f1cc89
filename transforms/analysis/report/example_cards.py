"""The examples of a report, each with its figure, player and facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.diagnosis import RATINGS
from model.labels import LabelScale
from transforms.analysis.report.embedded_data import data_uri
from transforms.analysis.report.example_figure import example_figure
from transforms.analysis.report.examples import KINDS, Example
from transforms.analysis.report.html import Html, definitions, element
from transforms.durations import duration_text
from transforms.schemas import HEARD

# Largest number of anomalies that a card lists.
MAX_ANOMALIES = 4


def example_cards(chosen: Mapping[str, Sequence[str]], examples: Mapping[str, Example], scale: LabelScale) -> Html:
    """Returns a list of recordings of each kind. Each has a line that opens its card.

    Args:
        chosen: utterance ids by kind.
        examples: examples by utterance id.
        scale: scale of the scores.
    """
    if not examples:
        return element("p", "The report was made without examples, or the output has no utterances.")
    explanation = (
        "Open a line to look at a recording and to play it. The picture shows the spectrogram of the signal that the model "
        "scored (16 kHz, one channel) above the frame scores. Anomalies are shaded. A lane below shows the causes of damage "
        "that the model hears. If the player plays only a part, a bar above the spectrogram marks that part."
    )
    parts = [element("p", explanation, class_="quiet")]
    for kind, ids in chosen.items():
        parts.append(element("h3", KINDS[kind]))
        parts += [_card(examples[name], scale) for name in ids] or [element("p", "There are none.", class_="quiet")]
    return Html("\n".join(parts))


def _card(example: Example, scale: LabelScale) -> Html:
    row, name = example.utterance.row, example.utterance_id
    alt = (
        f"Spectrogram and frame scores of {name}: {row['duration_s']:.1f} s, frame scores from {row['frame_score_min']:.2f}, "
        f"anomalies: {_anomalies(example.utterance.anomalies)}."
    )
    figure = example_figure(example.figure, example.span if example.clip and not example.is_whole else None, alt)
    return element(
        "details",
        element("summary", _line(example, scale)),
        element("div", element("div", figure, _player(example)), _facts(example), class_="seen"),
        class_="example",
    )


def _line(example: Example, scale: LabelScale) -> Html:
    """Returns the line of a closed card: score, name, length, causes and bad stretches."""
    row = example.utterance.row
    bad_s = sum(end - start for start, end in example.utterance.anomalies)
    notes = [duration_text(row["duration_s"]), *(row["causes"] or [])]
    notes += [f"{duration_text(bad_s)} bad"] if bad_s else []
    return element(
        "span",
        element("span", f"{row['score']:.2f}", class_=f"score {_grade(row['score'], scale)}"),
        element("code", example.utterance_id),
        element("span", ", ".join(notes), class_="quiet"),
        class_="line",
    )


def _grade(score: float, scale: LabelScale) -> str:
    """Returns the name of the third of the scale in which a score lies."""
    thirds = 3 * (score - scale.low) / scale.span
    return "bad" if thirds < 1 else "fair" if thirds < 2 else "good"


def _facts(example: Example) -> Html:
    row = example.utterance.row
    channel = "" if row["channel"] is None else f", channel {row['channel']}"
    start = f" from {row['start_s']:.2f} s" if row["start_s"] else ""
    return definitions(
        [
            ("lowest frame", f"{row['frame_score_min']:.2f}"),
            ("anomalies", _anomalies(example.utterance.anomalies)),
            ("format", f"{row['format']}, {row['sample_rate']:,} Hz{channel}"),
            ("peak", f"{row['peak_dbfs']:.1f} dBFS"),
            ("RMS", f"{row['rms_dbfs']:.1f} dBFS"),
            ("clipped", f"{100 * row['clipped_ratio']:.1f} %"),
            ("silent", f"{100 * row['silence_ratio']:.0f} %"),
            ("DC offset", f"{100 * row['dc_offset']:.1f} %".replace("-0.0", "0.0")),
            ("bandwidth", f"{row['bandwidth_hz']:,.0f} Hz"),
            *_heard(row),
            ("causes", "unknown" if row["causes"] is None else ", ".join(row["causes"]) or "none"),
            ("flags", ", ".join(row["flags"]) or "none"),
            ("at", row["uri"] + start),
        ]
    )


def _heard(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the values that the model hears; if it hears none, the SNR of the samples."""
    if all(row[name] is None for name in HEARD):
        return [("SNR", _decibels(row["noise_floor_snr_db"]))]
    ratings = {name.removeprefix("mos_"): row[name] for name in RATINGS if row[name] is not None}
    return [
        ("speech", f"{row['speech_s']:.1f} s"),
        ("SNR", _decibels(row["snr_db"])),
        ("C50", _decibels(row["c50_db"])),
        ("ratings", ", ".join(f"{name} {value:.1f}" for name, value in ratings.items()) or "unknown"),
    ]


def _decibels(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} dB"


def _anomalies(spans: Sequence[tuple[float, float]]) -> str:
    if not spans:
        return "none"
    listed = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in spans[:MAX_ANOMALIES])
    return listed + (f" and {len(spans) - MAX_ANOMALIES} more" if len(spans) > MAX_ANOMALIES else "")


def _player(example: Example) -> Html:
    if example.clip is None:
        return element("p", f"Nothing to play: {example.no_clip_reason}.", class_="quiet")
    start, end = example.span
    duration_s = example.utterance.row["duration_s"]
    label = f"{example.utterance_id}, " + ("all of it" if example.is_whole else f"{start:.1f} to {end:.1f} s")
    source = data_uri("audio/flac", example.clip)
    player = element("audio", controls=True, preload="metadata", aria_label=label, src=source)
    if example.is_whole:
        return player
    note = element("p", f"Plays {start:.1f} to {end:.1f} s of {duration_s:.1f} s.", class_="quiet")
    return Html(player + note)
