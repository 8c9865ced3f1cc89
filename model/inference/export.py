"""Exports bundles for other programs. The exported models map waveforms to scores and do not need audiosieve."""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf

from model.bundle import CARD, Bundle
from model.inference.waveform_model import SIGNATURE, WaveformModel

# Newest version of the ONNX operators that tf2onnx writes.
OPSET = 18
# Folder in a SavedModel for files that TensorFlow ignores.
EXTRA = "assets.extra"


def save_saved_model(bundle: Bundle, target: Path) -> None:
    """Writes a SavedModel for TensorFlow Serving, with the signature of `WaveformModel.score` and `bundle.json`."""
    model = WaveformModel(bundle)
    tf.saved_model.save(model, str(target), signatures={"serving_default": model.score.get_concrete_function()})
    (target / EXTRA).mkdir()
    shutil.copyfile(bundle.path / CARD, target / EXTRA / CARD)


def save_onnx(bundle: Bundle, target: Path) -> None:
    """Writes an ONNX file with the inputs and outputs of `WaveformModel.score`.

    Raises:
        ImportError: the extra `onnx` is not installed.
    """
    import onnx
    import tf2onnx

    model = WaveformModel(bundle)
    proto, _ = tf2onnx.convert.from_function(model.score, input_signature=list(SIGNATURE.values()), opset=OPSET)
    scale = bundle.label_scale
    onnx.helper.set_model_props(
        proto, {"model_id": bundle.model_id, "label_scale": scale.name, "low": str(scale.low), "high": str(scale.high)}
    )
    onnx.save_model(proto, str(target))
