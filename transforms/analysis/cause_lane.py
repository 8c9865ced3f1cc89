"""The lane of a figure that shows the cause of damage of each frame, in one colour a cause."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from model.diagnosis import HEARD_CAUSES, NO_CAUSE

# Colours in the order of `HEARD_CAUSES`: those of Okabe and Ito, which colour-blind people can tell apart, and two more.
COLOURS = ("#d55e00", "#0072b2", "#cc79a7", "#009e73", "#e69f00", "#56b4e9", "#f0e442", "#8c510a", "#999999")


def column_causes(frame_causes: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Returns the most frequent cause of the frames of each column, or `NO_CAUSE` if most have none: int8 [C].

    Args:
        frame_causes: index in `HEARD_CAUSES` of the cause of each frame, or `NO_CAUSE`: int8 [T].
        edges: first frame of each column and the end of the last: int64 [C + 1].
    """
    columns = len(edges) - 1
    counts = np.zeros((columns, len(HEARD_CAUSES) + 1), np.int64)
    np.add.at(counts, (np.repeat(np.arange(columns), np.diff(edges)), frame_causes), 1)  # NO_CAUSE is the last one
    index = np.argmax(counts, axis=1)
    return np.where(index == len(HEARD_CAUSES), NO_CAUSE, index).astype(np.int8)


def draw_causes(axes: Axes, causes: np.ndarray, extent: tuple[float, float]) -> list[Patch]:
    """Draws the lane, and returns patches for a legend of its causes.

    Args:
        axes: axes of the lane.
        causes: result of `column_causes`, with at least one cause: int8 [C].
        extent: start of the first column and end of the last one, in seconds.
    """
    shown = np.ma.masked_equal(causes[np.newaxis], NO_CAUSE)
    axes.imshow(
        shown,
        cmap=ListedColormap(COLOURS),
        vmin=0,
        vmax=len(COLOURS) - 1,
        aspect="auto",
        extent=(*extent, 0, 1),
        interpolation="nearest",
    )
    axes.grid(visible=False)
    axes.set_yticks([])
    axes.set_ylabel("cause", rotation=0, ha="right", va="center")
    present = np.unique(causes[causes != NO_CAUSE]).tolist()
    return [Patch(color=COLOURS[index], label=HEARD_CAUSES[index].replace("_", " ")) for index in present]
