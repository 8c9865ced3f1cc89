"""Labels for degraded speech: PESQ against the clean reference, or the pseudo-score of the SNR."""

from __future__ import annotations

import importlib.util
import math

import numpy as np

from model.features import SAMPLE_RATE
from model.labels import PESQ_NB, PESQ_WB, PSEUDO, LabelScale, pseudo_score
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.labels.pesq_disturbance import FrameDisturbances, frame_disturbances
from transforms.synthesis.mix import Mixture

_PESQ_MODE = {PESQ_WB.name: "wb", PESQ_NB.name: "nb"}


def pesq_installed() -> bool:
    """Returns whether the optional package `pesq` is installed."""
    return importlib.util.find_spec("pesq") is not None


def label(scale: LabelScale, mixture: Mixture, snr_db: float | None, is_degraded: bool = False) -> float | None:
    """Returns the label of a mixture on a scale; None if it has none.

    Args:
        scale: scale of the label.
        mixture: degraded recording and its reference.
        snr_db: SNR in dB; None for clean speech.
        is_degraded: whether the mixture has degradations besides noise. It then has no pseudo-score, which
            depends on the SNR alone.

    Raises:
        AudioFault: PESQ fails, for example because it finds no speech.
    """
    if scale == PSEUDO:
        return None if is_degraded else pseudo_score(snr_db)
    return pesq(mixture.reference, mixture.degraded, scale)


def pesq(reference: np.ndarray, degraded: np.ndarray, scale: LabelScale) -> float:
    """Computes PESQ MOS-LQO (ITU-T P.862.1 or P.862.2).

    Args:
        reference: clean speech at 16 kHz: float32 [n].
        degraded: degraded speech at 16 kHz, aligned with it: float32 [n].
        scale: narrow-band or wide-band PESQ.

    Raises:
        AudioFault: PESQ fails, for example because it finds no speech.
        ImportError: the optional package `pesq` is not installed.
    """
    # An optional package, because its installation needs a C compiler.
    import pesq as pesq_package

    try:
        value = float(pesq_package.pesq(SAMPLE_RATE, reference, degraded, _PESQ_MODE[scale.name]))
    except (pesq_package.PesqError, ValueError) as error:
        raise AudioFault(Stage.LABEL, Reason.PESQ_FAILED, f"{type(error).__name__}: {_message(error)}") from error
    if not math.isfinite(value):
        raise AudioFault(Stage.LABEL, Reason.PESQ_FAILED, f"PESQ returned {value}")
    return value


def checked_frame_disturbances(mixture: Mixture, score: float, max_disagreement: float) -> FrameDisturbances:
    """Computes the disturbance of each frame of a mixture, and checks it against PESQ.

    Args:
        mixture: degraded recording and its reference.
        score: wide-band PESQ of the mixture.
        max_disagreement: largest difference between `score` and the score of the frame disturbances.

    Raises:
        AudioFault: the difference is larger. One of the two scores is wrong, for example because PESQ misaligned the signals.
    """
    frames = frame_disturbances(mixture.reference, mixture.degraded)
    if not abs(frames.score - score) <= max_disagreement:
        detail = f"PESQ is {score:.2f}, but the disturbances of its frames give {frames.score:.2f}"
        raise AudioFault(Stage.LABEL, Reason.LABELS_DISAGREE, detail)
    return frames


def _message(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode() if isinstance(text, bytes) else str(text)  # the C extension raises errors with bytes
