"""The examples of a report, each with its figure, player and facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model.diagnosis import RATINGS
from transforms.analysis.report.embedded_data import data_uri
from transforms.analysis.report.examples import KINDS, Example
from transforms.analysis.report.html import Html, definitions, element
from transforms.schemas import HEARD

# Largest number of anomalies that a card lists.
MAX_ANOMALIES = 4


def example_cards(chosen: Mapping[str, Sequence[str]], examples: Mapping[str, Example]) -> Html:
    """Returns a card for each recording, under its first kind. Its other kinds link to the card.

    Args:
        chosen: utterance ids by kind.
        examples: examples by utterance id.
    """
    if not examples:
        return element("p", "The report was made without examples, or the output has no utterances.")
    shown: dict[str, tuple[int, str]] = {}
    explanation = (
        "The picture shows the spectrogram of the signal that the model scored (16 kHz, one channel) above the frame scores. "
        "Anomalies are shaded. A lane below shows the causes of damage that the model hears. If the player plays only a part, "
        "a bar above the spectrogram marks that part."
    )
    parts = [element("p", explanation, class_="quiet")]
    for kind, ids in chosen.items():
        parts.append(element("h3", f"{kind.capitalize()}: {KINDS[kind]}"))
        if not ids:
            parts.append(element("p", "There are none."))
        for utterance_id in ids:
            if utterance_id in shown:
                number, first_kind = shown[utterance_id]
                link = element("a", utterance_id, href=f"#example-{number}")
                parts.append(element("p", link, f" is shown above, under {first_kind.capitalize()}."))
            else:
                shown[utterance_id] = (len(shown), kind)
                parts.append(_card(len(shown) - 1, examples[utterance_id]))
    return Html("\n".join(parts))


def _card(number: int, example: Example) -> Html:
    row, name = example.utterance.row, example.utterance_id
    alt = (
        f"Spectrogram and frame scores of {name}: {row['duration_s']:.1f} s, frame scores from {row['frame_score_min']:.2f}, "
        f"anomalies: {_anomalies(example.utterance.anomalies)}."
    )
    picture = element(
        "picture",
        element("source", media="screen and (prefers-color-scheme: dark)", srcset=data_uri("image/png", example.dark)),
        element("img", src=data_uri("image/png", example.light), alt=alt, width="900", height="330"),
    )
    scrolled = element("div", picture, class_="picture", tabindex="0", role="group", aria_label=f"Picture of {name}")
    score = element("span", f"score {row['score']:.2f}", class_="score")
    return element(
        "article",
        element("header", element("h4", element("code", name)), score),
        element("div", element("div", scrolled, _player(example)), _facts(example), class_="seen"),
        class_="example",
        id=f"example-{number}",
    )


def _facts(example: Example) -> Html:
    row = example.utterance.row
    channel = "" if row["channel"] is None else f", channel {row['channel']}"
    start = f" from {row['start_s']:.2f} s" if row["start_s"] else ""
    return definitions(
        [
            ("length", f"{row['duration_s']:.2f} s"),
            ("lowest frame", f"{row['frame_score_min']:.2f}"),
            ("anomalies", _anomalies(example.utterance.anomalies)),
            ("format", f"{row['format']}, {row['sample_rate']:,} Hz{channel}"),
            ("peak", f"{row['peak_dbfs']:.1f} dBFS"),
            ("RMS", f"{row['rms_dbfs']:.1f} dBFS"),
            ("clipped", f"{100 * row['clipped_ratio']:.2f} %"),
            ("silent", f"{100 * row['silence_ratio']:.0f} %"),
            ("DC offset", f"{row['dc_offset']:.4f}"),
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
    is_whole = end - start >= duration_s
    label = f"{example.utterance_id}, " + ("all of it" if is_whole else f"{start:.1f} to {end:.1f} s")
    source = data_uri("audio/flac", example.clip)
    player = element("audio", controls=True, preload="metadata", aria_label=label, src=source)
    if is_whole:
        return player
    note = element("p", f"Plays {start:.1f} to {end:.1f} s of {duration_s:.1f} s.", class_="quiet")
    return Html(player + note)
