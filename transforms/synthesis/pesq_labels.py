"""True labels for degraded speech: PESQ against the clean reference, or the SNR pseudo-score."""

from __future__ import annotations

import importlib.util
import math

import numpy as np

from model.features import SAMPLE_RATE
from model.labels import PESQ_NB, PESQ_WB, PSEUDO, LabelScale, pseudo_score
from transforms.errors import AudioFault, Reason, Stage
from transforms.synthesis.mix import Mixture
from transforms.synthesis.pesq_disturbance import FrameTruth, frame_disturbances

_PESQ_MODE = {PESQ_WB.name: "wb", PESQ_NB.name: "nb"}


def pesq_installed() -> bool:
    """Whether the extra that PESQ labels need is there."""
    return importlib.util.find_spec("pesq") is not None


def label(scale: LabelScale, mixture: Mixture, snr_db: float | None, faulty: bool = False) -> float | None:
    """The true quality of a mixture on a scale.

    Args:
        scale: which label.
        mixture: the degraded recording and its reference.
        snr_db: mixing SNR in dB; None for clean speech.
        faulty: whether more than noise was done to it, of which the pseudo-score knows nothing: it has none then.

    Raises:
        AudioFault: PESQ finds no label, as where it finds no speech.
    """
    if scale == PSEUDO:
        return None if faulty else pseudo_score(snr_db)
    return pesq(mixture.reference, mixture.degraded, scale)


def pesq(reference: np.ndarray, degraded: np.ndarray, scale: LabelScale) -> float:
    """PESQ MOS-LQO (ITU-T P.862.1 or P.862.2) of 16 kHz samples [n] against their reference [n].

    Raises:
        AudioFault: PESQ refuses the pair.
    """
    # An extra that needs a C compiler: not there where nothing is ever labelled.
    import pesq as pesq_package

    try:
        value = float(pesq_package.pesq(SAMPLE_RATE, reference, degraded, _PESQ_MODE[scale.name]))
    except (pesq_package.PesqError, ValueError) as error:
        raise AudioFault(Stage.LABEL, Reason.PESQ_FAILED, f"{type(error).__name__}: {_message(error)}") from error
    if not math.isfinite(value):
        raise AudioFault(Stage.LABEL, Reason.PESQ_FAILED, f"PESQ returned {value}")
    return value


def checked_frame_truth(mixture: Mixture, score: float, max_disagreement: float) -> FrameTruth:
    """What PESQ finds in each frame of a mixture, checked against PESQ itself.

    Args:
        mixture: the degraded recording and its reference.
        score: PESQ of the whole, wide band.
        max_disagreement: how far the score of the frames may be from it.

    Raises:
        AudioFault: it is farther, so one of the two has not understood the pair (as where PESQ aligns what was aligned).
    """
    truth = frame_disturbances(mixture.reference, mixture.degraded)
    if not abs(truth.score - score) <= max_disagreement:
        detail = f"PESQ is {score:.2f}, its frames make {truth.score:.2f}"
        raise AudioFault(Stage.LABEL, Reason.LABELS_DISAGREE, detail)
    return truth


def _message(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode() if isinstance(text, bytes) else str(text)  # the C extension raises with bytes
