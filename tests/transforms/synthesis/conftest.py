"""Recordings and plans of clips."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from model.features import SAMPLE_RATE
from tests.support.training.clip_options import OPTIONS
from transforms.elements import AudioRef
from transforms.synthesis.clip_plan import ClipPlan, plan_clip
from transforms.synthesis.materials import Catalog, Material


def make_tone() -> np.ndarray:
    """Returns a melody of three tones in a second, repeated: float32 [32,000]."""
    time = np.arange(32_000) / SAMPLE_RATE
    pitch = np.array([262.0, 330.0, 392.0])[(3 * time).astype(int) % 3]
    return (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, make_speech) -> dict[str, Material]:
    """Measured material with files, by name; `noise` is shorter than any clip."""
    root = tmp_path_factory.mktemp("recordings")
    sounds = {
        "speech": make_speech(3.0),
        "noise": np.random.default_rng(0).normal(0, 0.1, 6_000).astype(np.float32),
        "music": make_tone(),
        "other": make_speech(4.0, seed=5),
        "late": np.concatenate([np.zeros(SAMPLE_RATE, np.float32), make_speech(1.0)]),
    }
    material = {}
    for name, samples in sounds.items():
        soundfile.write(root / f"{name}.flac", samples, SAMPLE_RATE)
        ref = AudioRef(f"{name}.flac", str(root / f"{name}.flac"), 1, "1-1")
        kind = name if name in ("noise", "music") else "speech"
        material[name] = Material(ref, kind, f"{name}-group", "train", len(samples))
    return material


@pytest.fixture(scope="module")
def plans(recordings) -> tuple[ClipPlan, ClipPlan]:
    """A noisy and a clean clip."""
    catalog = Catalog([recordings["speech"], recordings["noise"]])
    some = [plan_clip(number, catalog, OPTIONS) for number in range(30)]
    return next(plan for plan in some if plan.noise), next(plan for plan in some if plan.noise is None)
