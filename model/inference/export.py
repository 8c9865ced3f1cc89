"""Bundles in the formats of other programs: from waveforms to scores, and without our code."""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf

from model.bundle import CARD, Bundle
from model.inference.waveform_model import SIGNATURE, WaveformModel

# The operators that a runtime of ONNX must know: tf2onnx writes none that are newer.
OPSET = 18
# A folder of a SavedModel that TensorFlow leaves alone.
EXTRA = "assets.extra"


def save_saved_model(bundle: Bundle, target: Path) -> None:
    """Writes a folder for TensorFlow Serving: one signature, `WaveformModel.score`, and the card beside it."""
    model = WaveformModel(bundle)
    tf.saved_model.save(model, str(target), signatures={"serving_default": model.score.get_concrete_function()})
    (target / EXTRA).mkdir()
    shutil.copyfile(bundle.path / CARD, target / EXTRA / CARD)


def save_onnx(bundle: Bundle, target: Path) -> None:
    """Writes a file for ONNX runtimes, with the same inputs and outputs; needs the extra `onnx`."""
    import onnx
    import tf2onnx

    model = WaveformModel(bundle)
    proto, _ = tf2onnx.convert.from_function(model.score, input_signature=list(SIGNATURE.values()), opset=OPSET)
    scale = bundle.label_scale
    onnx.helper.set_model_props(
        proto, {"model_id": bundle.model_id, "label_scale": scale.name, "low": str(scale.low), "high": str(scale.high)}
    )
    onnx.save_model(proto, str(target))
