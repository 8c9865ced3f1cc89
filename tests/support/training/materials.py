"""Speech and noise of an experiment, without recordings behind them."""

from __future__ import annotations

from model.features import SAMPLE_RATE
from transforms.elements import AudioRef
from transforms.synthesis.materials import Material


def material(sizes: dict[str, int], split: str = "train", kind: str = "speech") -> list[Material]:
    """Measured material with nothing behind it: so many recordings of each group."""
    return [
        Material(
            AudioRef(f"{kind}-{group}/{n}", f"/corpus/{kind}/{group}/{n}", 1, "1-1"),
            kind,
            group,
            split,
            SAMPLE_RATE + 4_000 * n,
        )
        for group, size in sizes.items()
        for n in range(size)
    ]


def speech_and_noise() -> tuple[list[Material], list[Material]]:
    """Of all three splits."""
    speech, noise = [], []
    for number, split in enumerate(("train", "val", "test")):
        speech += material({f"speaker{number}": 3, f"other{number}": 2}, split)
        noise += material({f"rain{number}": 2, f"wind{number}": 4}, split, "noise")
    return speech, noise
