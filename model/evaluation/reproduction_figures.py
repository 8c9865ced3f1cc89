"""Figures 2, 3 and 4 of the paper on BLSTM and attention for audio quality, drawn with matplotlib."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from model.evaluation.figures import RANGE_DB, STYLE, save, spectrum_db
from model.features import FRAME_LENGTH, FRAME_SHIFT, SAMPLE_RATE
from model.labels import PSEUDO, pseudo_score


@dataclasses.dataclass(frozen=True)
class ConditionScores:
    """Scores of the test clips by one network.

    Attributes:
        title: title of the network.
        by_condition: scores by SNR in dB, None for clean clips; each in the order of the utterances [N].
    """

    title: str
    by_condition: Mapping[float | None, np.ndarray]

    def conditions(self) -> list[float | None]:
        """Returns the SNRs in descending order, the clean clips first."""
        return sorted(self.by_condition, key=lambda snr_db: np.inf if snr_db is None else snr_db, reverse=True)


def draw_scores(path: Path, networks: Sequence[ConditionScores]) -> None:
    """Draws the score of each test utterance under each condition, one panel for each network (Figure 2).

    The dashed line of a condition is its label.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4 * len(networks), 4), layout="constrained")
        panels = figure.subplots(1, len(networks), squeeze=False, sharey=True)[0]
        for axes, network in zip(panels, networks, strict=True):
            for number, snr_db in enumerate(network.conditions()):
                scores, colour = network.by_condition[snr_db], f"C{number}"
                axes.plot(scores, ".", markersize=4, color=colour, label=condition_name(snr_db))
                axes.axhline(pseudo_score(snr_db), color=colour, linestyle="--", linewidth=1)
            axes.set_title(network.title)
            axes.set_xlabel("test utterance")
        panels[0].set_ylabel("predicted score")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
        save(figure, path)


def draw_statistics(path: Path, networks: Sequence[ConditionScores]) -> None:
    """Draws the mean score under each condition, with the variance as error bar, one panel for each network (Figure 3)."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5 * len(networks), 4), layout="constrained")
        panels = figure.subplots(1, len(networks), squeeze=False, sharey=True)[0]
        for axes, network in zip(panels, networks, strict=True):
            conditions = network.conditions()[::-1]
            positions = np.arange(len(conditions))
            scores = [network.by_condition[snr_db] for snr_db in conditions]
            axes.errorbar(
                positions,
                [np.mean(values) for values in scores],
                yerr=[np.var(values) for values in scores],
                fmt="o",
                capsize=4,
                label="mean, with the variance as error bar",
            )
            labels = [pseudo_score(snr_db) for snr_db in conditions]
            axes.plot(positions, labels, "_", markersize=16, color="C1", label="label")
            axes.set_xticks(positions, [condition_name(snr_db) for snr_db in conditions], rotation=45, ha="right")
            axes.set_title(network.title)
        panels[0].set_ylabel("predicted score")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        save(figure, path)


def draw_localisation(
    path: Path,
    clean: np.ndarray,
    corrupted: np.ndarray,
    span: tuple[float, float],
    frame_scores: Mapping[str, np.ndarray],
) -> None:
    """Draws a clean and a partly corrupted spectrogram above the frame scores of each network (Figure 4).

    Args:
        path: path of the PNG file.
        clean: clean samples at 16 kHz [n].
        corrupted: the same with noise in a part [n].
        span: start and end of the noise in seconds.
        frame_scores: frame scores [T] by title of the network.
    """
    with mpl.rc_context(STYLE):
        rows = 2 + len(frame_scores)
        figure = Figure(figsize=(8, 1.7 * rows), layout="constrained")
        panels = figure.subplots(rows, 1, sharex=True)
        level_db = [spectrum_db(samples) for samples in (clean, corrupted)]
        loudest = max(level.max() for level in level_db)
        for axes, name, level in zip(panels, ("clean", "partly corrupted"), level_db, strict=False):
            extent = (0, len(level) * FRAME_SHIFT / SAMPLE_RATE, 0, SAMPLE_RATE / 2000)
            colours = {"cmap": "magma", "vmin": loudest - RANGE_DB, "vmax": loudest}
            axes.imshow(level.T, origin="lower", aspect="auto", extent=extent, **colours)
            axes.set_ylabel(f"{name}\nkHz")
            axes.grid(visible=False)
        for axes, (title, frame_score) in zip(panels[2:], frame_scores.items(), strict=True):
            # Each score is drawn at the middle of its frame.
            time_s = (np.arange(len(frame_score)) * FRAME_SHIFT + FRAME_LENGTH / 2) / SAMPLE_RATE
            axes.plot(time_s, frame_score, linewidth=1)
            axes.set_ylim(PSEUDO.low - 0.2, PSEUDO.high + 0.2)
            axes.set_ylabel(f"frame score\n{title}")
        for axes in panels[1:]:
            for edge in span:
                axes.axvline(edge, color="red", linewidth=1)
        panels[-1].set_xlabel("s")
        panels[-1].set_xlim(0, len(corrupted) / SAMPLE_RATE)
        save(figure, path)


def condition_name(snr_db: float | None) -> str:
    """Returns text such as "5 dB", or "clean"."""
    return "clean" if snr_db is None else f"{snr_db:g} dB"
