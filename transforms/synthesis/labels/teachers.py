"""Ratings of clips by published models without a reference ("teachers"), which a network learns to predict.

Their packages are optional, as only the synthesis of training sets needs them. Each process loads a model once and runs it in
one thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.resources
import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from model.diagnosis import RATINGS
from model.features import SAMPLE_RATE
from transforms.synthesis.clip_options import ClipOptions
from transforms.synthesis.clip_plan import TEACHER_RATINGS

# Returns the ratings of samples [n] at 16 kHz, full scale 1.0, n > 0.
Rate = Callable[[np.ndarray], Sequence[float]]
# Length of the input of DNSMOS; longer recordings are rated in windows that start one second apart.
DNSMOS_INPUT_S = 9.01
_DNSMOS_SAMPLES = int(DNSMOS_INPUT_S * SAMPLE_RATE)
# The package maps the outputs of the network to ratings with these polynomials, highest power first: SIG, BAK, OVRL.
_DNSMOS_POLYNOMIALS = (
    (-0.08397278, 1.22083953, 0.0052439),
    (-0.13166888, 1.60915514, -0.39604546),
    (-0.06766283, 1.11546468, 0.04602535),
)


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A published model that rates recordings.

    Attributes:
        columns: columns of its ratings in a training set.
        packages: packages that it needs.
        load: loads the model.
    """

    columns: tuple[str, ...]
    packages: tuple[str, ...]
    load: Callable[[], Rate]


def rate(names: Sequence[str], samples: np.ndarray) -> dict[str, float]:
    """Returns the ratings of a recording by column.

    A rating depends on the level: DNSMOS rates soft recordings lower.

    Args:
        names: names of the teachers, keys of `TEACHERS`.
        samples: float32 [n], mono, 16 kHz, full scale 1.0, n > 0.

    Raises:
        ImportError: the package of a teacher is not installed.
    """
    ratings: dict[str, float] = {}
    for name in names:
        ratings |= zip(TEACHERS[name].columns, map(float, _loaded(name)(samples)), strict=True)
    return ratings


def is_rated(number: int, options: ClipOptions) -> bool:
    """Returns whether teachers rate a made clip; drawn with the probability `teacher_ratio`."""
    rng = np.random.default_rng([options.seed, number, TEACHER_RATINGS])
    return bool(options.teachers) and bool(rng.random() < options.teacher_ratio)


def missing_packages(names: Sequence[str]) -> list[str]:
    """Returns the packages that teachers need and that are not installed."""
    packages = dict.fromkeys(package for name in names for package in TEACHERS[name].packages)
    return [package for package in packages if importlib.util.find_spec(package) is None]


@functools.cache
def _loaded(name: str) -> Rate:
    return TEACHERS[name].load()


def _load_dnsmos() -> Rate:
    """Loads DNSMOS P.835 (Reddy et al. 2022), not personalized, from the package `speechmos`.

    The code of the package also runs a second model (P.808), with librosa, and as many threads as there are cores. So only its
    weights are used here. The ratings are the same.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    weights = importlib.resources.files("speechmos") / "dnsmos_models" / "sig_bak_ovr.onnx"
    session = onnxruntime.InferenceSession(weights.read_bytes(), options, providers=["CPUExecutionProvider"])

    def ratings(samples: np.ndarray) -> list[float]:
        outputs = [session.run(None, {"input_1": window[np.newaxis]})[0][0] for window in dnsmos_windows(samples)]
        columns = zip(_DNSMOS_POLYNOMIALS, np.transpose(outputs), strict=True)
        return [float(np.polyval(polynomial, column).mean()) for polynomial, column in columns]

    return ratings


def dnsmos_windows(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the windows of a recording that `speechmos` rates: float32 [144160] each, at least one.

    A shorter recording is doubled until it fills a window. The package computes the ends of the windows in floating point, and
    leaves out those that are a sample too short because of it: the windows that start from 7 to 23 s.

    Raises:
        ValueError: there are no samples.
    """
    if not len(samples):
        raise ValueError("DNSMOS needs at least one sample")
    while len(samples) < _DNSMOS_SAMPLES:
        samples = np.concatenate([samples, samples])
    for start_s in range(int(len(samples) // SAMPLE_RATE - DNSMOS_INPUT_S) + 1):
        window = samples[start_s * SAMPLE_RATE : int((start_s + DNSMOS_INPUT_S) * SAMPLE_RATE)]
        if len(window) == _DNSMOS_SAMPLES:
            yield np.ascontiguousarray(window, np.float32)


def _load_distillmos() -> Rate:
    """Loads DistillMOS (Stahl and Gamper 2025)."""
    import torch

    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the path of its weights
        from distillmos import ConvTransformerSQAModel

        network = ConvTransformerSQAModel().eval()

    def ratings(samples: np.ndarray) -> list[float]:
        with torch.no_grad():
            return [network(torch.tensor(samples, dtype=torch.float32)[None]).item()]

    return ratings


TEACHERS = {
    "dnsmos": Teacher(RATINGS, ("speechmos", "onnxruntime"), _load_dnsmos),
    "distillmos": Teacher(("distillmos",), ("distillmos", "torch"), _load_distillmos),
}
