"""An exported model gives the scores of `Scorer` in TensorFlow and onnxruntime, in a process without audiosieve."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.bundle import BUNDLED, DEFAULT, Bundle, open_bundle
from model.diagnosis import ALL_VALUES, FRAME_VALUES
from model.features import FeatureConfig, num_frames, spectrogram
from model.inference.export import save_onnx, save_saved_model
from model.inference.scorer import Scorer
from model.inference.waveform_model import WaveformModel
from model.labels import PESQ_WB
from tests.support.training.random_bundles import complete_bundle, random_network

NETWORKS = ["quality_net", "l_1dcnn", "l_att", "lc_att", "disturbance_net", "diagnostic_net", "diagnostic_net_16ms"]
# One frame, one sample before and at two frames, lengths around half and whole PESQ windows, and some seconds.
LENGTHS = [512, 767, 768, 512 + 9 * 256, 512 + 10 * 256, 512 + 19 * 256, 512 + 20 * 256, 5_000, 16_000, 40_001, 70_000]
# Runs a SavedModel or an ONNX file on the arrays in one file, and writes the outputs to another.
RUNNER = """
import sys
import numpy as np
model, inputs_path, outputs_path = sys.argv[1:]
inputs = dict(np.load(inputs_path))
if model.endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))
else:
    import tensorflow as tf
    loaded = tf.saved_model.load(model)
    outputs = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in inputs.items()})
    outputs = {name: value.numpy() for name, value in outputs.items()}
assert not {"model", "transforms", "pipelines"} & set(sys.modules)
np.savez(outputs_path, **outputs)
"""


def batch(lengths: Sequence[int], seed: int = 0) -> np.ndarray:
    """Makes recordings with a rising level and a pause, and with much louder noise after their ends."""
    rng = np.random.default_rng(seed)
    waveforms = rng.normal(0, 3, (len(lengths), max(lengths) + 100)).astype(np.float32)
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = rng.normal(0, 0.1, length) * np.linspace(0.01, 1, length) * (np.arange(length) % 9_000 < 7_000)
    return waveforms


def run_exported(model: Path, folder: Path, waveforms: np.ndarray, lengths: Sequence[int]) -> dict[str, np.ndarray]:
    """Runs an exported model in a new process that cannot import audiosieve."""
    np.savez(folder / "inputs.npz", waveforms=waveforms, lengths=np.asarray(lengths, np.int32))
    command = [sys.executable, "-I", "-c", RUNNER, str(model), str(folder / "inputs.npz"), str(folder / "outputs.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "outputs.npz"))


def check(outputs: dict[str, np.ndarray], bundle: Bundle, waveforms: np.ndarray, lengths: Sequence[int]) -> None:
    """Checks that the scores are those of `Scorer`, and NaN after the frames of a recording."""
    scorer = Scorer(bundle)
    features = [spectrogram(row[:length], bundle.features) for row, length in zip(waveforms, lengths, strict=True)]
    assert outputs["num_frames"].tolist() == [num_frames(length) for length in lengths]
    assert outputs["frame_score"].shape == (len(lengths), num_frames(max(lengths)))
    for index, estimates in enumerate(scorer.score(features)):
        expected = estimates.score
        np.testing.assert_allclose(outputs["frame_score"][index, : len(expected)], expected, atol=1e-3)
        assert np.isnan(outputs["frame_score"][index, len(expected) :]).all()
        assert outputs["score"][index] == pytest.approx(scorer.pool(expected), abs=1e-3)
        assert ("diagnosis" in outputs) == (estimates.diagnosis is not None)
        if estimates.diagnosis is not None:
            # SNR and C50 are in dB, some ten times as large as the other values.
            values = outputs["diagnosis"][index]
            is_trained = [name in bundle.trained for name in FRAME_VALUES]
            known = np.where(is_trained, estimates.diagnosis.values, np.nan)
            np.testing.assert_allclose(values[: len(expected)], known, atol=1e-2)
            assert np.isnan(values[len(expected) :]).all()


def check_exported(model: Path, bundle: Bundle, folder: Path) -> None:
    """Checks an exported model, also on samples that are not finite."""
    waveforms = batch([*LENGTHS, 5_000, 5_000])
    waveforms[-2, 2_000], waveforms[-1, 3_000] = np.nan, -np.inf
    outputs = run_exported(model, folder, waveforms, [*LENGTHS, 5_000, 5_000])
    assert np.isnan(outputs["score"][-2:]).all()
    check({name: value[:-2] for name, value in outputs.items()}, bundle, waveforms[:-2], LENGTHS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_model_gives_the_scores_of_the_scorer(random_bundles: dict[str, Path], tmp_path: Path, name: str):
    bundle = open_bundle(random_bundles[name])
    save_saved_model(bundle, tmp_path / "model")
    check_exported(tmp_path / "model", bundle, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the converter is slow
@pytest.mark.parametrize("name", ["quality_net", "lc_att", "disturbance_net", "diagnostic_net"])  # every kind of layer
def test_an_onnx_file_gives_the_scores_of_the_scorer(random_bundles: dict[str, Path], tmp_path: Path, name: str):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    bundle = open_bundle(random_bundles[name])
    save_onnx(bundle, tmp_path / "model.onnx")
    check_exported(tmp_path / "model.onnx", bundle, tmp_path)


@pytest.fixture(scope="module")
def default() -> tuple[Bundle, WaveformModel]:
    bundle = open_bundle(DEFAULT)
    return bundle, WaveformModel(bundle)


def run(model: WaveformModel, waveforms: np.ndarray, lengths: Sequence[int]) -> dict[str, np.ndarray]:
    outputs = model.score(tf.constant(waveforms), tf.constant(list(lengths), tf.int32))
    return {name: value.numpy() for name, value in outputs.items()}


def test_frames_are_counted_as_in_the_features(default):
    _, model = default
    lengths = [*range(500, 1_300, 7), *range(2_560, 2_580)]
    outputs = run(model, batch(lengths), lengths)
    assert outputs["num_frames"].tolist() == [num_frames(length) for length in lengths]


def test_a_recording_scores_the_same_alone_and_in_a_batch(default):
    _, model = default
    waveforms = batch(LENGTHS)
    together = run(model, waveforms, LENGTHS)
    for index, length in enumerate(LENGTHS):
        alone = run(model, waveforms[index : index + 1, :length], [length])
        assert alone["score"][0] == pytest.approx(together["score"][index], abs=1e-4)


@pytest.mark.parametrize("gain", [1e-6, 1e-3, 1.0, 30.0])
def test_a_gain_does_not_change_the_score(default, gain):
    _, model = default
    waveforms = batch(LENGTHS)
    expected, outputs = run(model, waveforms, LENGTHS), run(model, waveforms * np.float32(gain), LENGTHS)
    np.testing.assert_allclose(outputs["score"], expected["score"], atol=1e-3)


@pytest.mark.parametrize("window", ["hann", "hamming"])
@pytest.mark.parametrize("compression", ["log", "magnitude"])
@pytest.mark.parametrize("level", ["gated", "none"])
def test_every_feature_config_is_supported(random_bundles, tmp_path, window, compression, level):
    (tmp_path / "model.weights.h5").write_bytes((random_bundles["quality_net"] / "model.weights.h5").read_bytes())
    bundle = complete_bundle(tmp_path, features=FeatureConfig(window=window, compression=compression, level=level))
    waveforms = batch(LENGTHS[-4:])
    check(run(WaveformModel(bundle), waveforms, LENGTHS[-4:]), bundle, waveforms, LENGTHS[-4:])


def test_scores_are_limited_to_the_scale_before_pooling(tmp_path):
    """The frame scores of these networks exceed the scale."""
    for name, layer, value in (("quality_net", "frame_score", 6.0), ("disturbance_net", "disturbance", -9.0)):
        folder = tmp_path / name
        folder.mkdir()
        network = random_network(name)
        network.get_layer(layer).bias.assign([value])
        network.save_weights(folder / "model.weights.h5")
        bundle = complete_bundle(folder, network=name)
        waveforms = batch(LENGTHS)
        outputs = run(WaveformModel(bundle), waveforms, LENGTHS)
        assert outputs["score"].max() == pytest.approx(PESQ_WB.high, abs=1e-3)
        check(outputs, bundle, waveforms, LENGTHS)


def test_values_of_a_diagnosis_without_training_are_nan(tmp_path):
    random_network("diagnostic_net").save_weights(tmp_path / "model.weights.h5")
    bundle = complete_bundle(tmp_path, network="diagnostic_net", trained=ALL_VALUES - {"music", "mos_ovrl"})
    values = run(WaveformModel(bundle), batch([5_000]), [5_000])["diagnosis"][0]
    is_nan = np.isnan(values)
    assert (is_nan.all(axis=0) == is_nan.any(axis=0)).all()
    assert {name for name, nan in zip(FRAME_VALUES, is_nan.all(axis=0), strict=True) if nan} == {"music", "mos_ovrl"}


def test_silent_and_short_recordings_have_nan_scores_and_do_not_affect_others(default):
    bundle, model = default
    waveforms = batch([40_000, 511, 20_000, 30_000])
    waveforms[2] = 0
    outputs = run(model, waveforms, [40_000, 511, 20_000, 30_000])
    assert np.isnan(outputs["score"]).tolist() == [False, True, True, False]
    assert np.isnan(outputs["frame_score"][1:3]).all()
    assert outputs["num_frames"].tolist() == [155, 0, 77, 116]
    good = {name: value[[0, 3]] for name, value in outputs.items()}
    check(good, bundle, waveforms[[0, 3]], [40_000, 30_000])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 777, 19_900])
def test_samples_that_are_not_finite_have_no_score(default, value, position):
    bundle, model = default
    lengths = [20_000] * 3
    waveforms = batch(lengths)
    waveforms[1, position] = value
    outputs = run(model, waveforms, lengths)
    assert np.isnan(outputs["score"]).tolist() == [False, True, False]
    assert np.isnan(outputs["frame_score"][1]).all()
    check({name: value[::2] for name, value in outputs.items()}, bundle, waveforms[::2], lengths[::2])


@pytest.mark.parametrize("lengths", [[1_000, 1_101], [-1, 1_000]])
def test_a_length_beyond_the_waveforms_is_an_error(default, lengths):
    _, model = default
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(model, np.ones((2, 1_100), np.float32), lengths)


def test_a_batch_of_short_recordings_has_nan_scores(default):
    _, model = default
    assert np.isnan(run(model, np.ones((2, 100), np.float32), [100, 0])["score"]).all()


@pytest.mark.slow
def test_a_network_without_attention_scores_a_long_recording(default):
    bundle, model = default
    lengths = [512 + 256 * 8_000]
    waveforms = batch(lengths)
    check(run(model, waveforms, lengths), bundle, waveforms, lengths)


def test_a_recording_longer_than_the_attention_window_is_an_error(random_bundles):
    model = WaveformModel(open_bundle(random_bundles["l_att"]))
    limit = 512 + 256 * 2_047
    assert run(model, batch([limit + 255]), [limit + 255])["num_frames"] == [2_048]
    with pytest.raises(tf.errors.InvalidArgumentError, match="cut it"):
        run(model, batch([limit + 256]), [limit + 256])


def test_every_bundled_model_can_be_exported():
    for path in BUNDLED.iterdir():
        WaveformModel(open_bundle(path))
