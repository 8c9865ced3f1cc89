"""An exported model, run by TensorFlow or onnxruntime in a process that has none of our code, scores as `Scorer` does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.bundle import BUNDLED, DEFAULT, Bundle, open_bundle
from model.features import FeatureConfig, num_frames, spectrogram
from model.inference.export import save_onnx, save_saved_model
from model.inference.scorer import Scorer
from model.inference.waveform_model import WaveformModel
from model.labels import PESQ_WB
from tests.support.random_bundles import complete_bundle, random_network

NETWORKS = ["quality_net", "l_1dcnn", "l_att", "lc_att", "disturbance_net"]
# One frame, a sample before and at the second; windows of PESQ's law just filled and just not; seconds.
LENGTHS = [512, 767, 768, 512 + 9 * 256, 512 + 10 * 256, 512 + 19 * 256, 512 + 20 * 256, 5_000, 16_000, 40_001, 70_000]
# Runs a SavedModel, or an ONNX file, on what is in one file, and writes what it gives into another.
RUNNER = """
import sys
import numpy as np
model, given, found = sys.argv[1:]
inputs = dict(np.load(given))
if model.endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    outputs = dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs)))
else:
    import tensorflow as tf
    loaded = tf.saved_model.load(model)
    outputs = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in inputs.items()})
    outputs = {name: value.numpy() for name, value in outputs.items()}
assert not {"model", "transforms", "pipelines"} & set(sys.modules)
np.savez(found, **outputs)
"""


def batch(lengths: Sequence[int], seed: int = 0) -> np.ndarray:
    """Recordings of a rising level and with a pause, side by side; beyond their ends is noise that is much louder."""
    rng = np.random.default_rng(seed)
    found = rng.normal(0, 3, (len(lengths), max(lengths) + 100)).astype(np.float32)
    for row, length in zip(found, lengths, strict=True):
        row[:length] = rng.normal(0, 0.1, length) * np.linspace(0.01, 1, length) * (np.arange(length) % 9_000 < 7_000)
    return found


def elsewhere(model: Path, folder: Path, waveforms: np.ndarray, lengths: Sequence[int]) -> dict[str, np.ndarray]:
    """What an exported model gives in a fresh process that cannot find our code."""
    np.savez(folder / "given.npz", waveforms=waveforms, lengths=np.asarray(lengths, np.int32))
    command = [sys.executable, "-I", "-c", RUNNER, str(model), str(folder / "given.npz"), str(folder / "found.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "found.npz"))


def check(found: dict[str, np.ndarray], bundle: Bundle, waveforms: np.ndarray, lengths: Sequence[int]) -> None:
    """The scores are those of `Scorer`; beyond a recording's frames there are none."""
    scorer = Scorer(bundle)
    heard = [spectrogram(row[:length], bundle.features) for row, length in zip(waveforms, lengths, strict=True)]
    assert found["num_frames"].tolist() == [num_frames(length) for length in lengths]
    assert found["frame_score"].shape == (len(lengths), num_frames(max(lengths)))
    for place, expected in enumerate(scorer.score(heard)):
        np.testing.assert_allclose(found["frame_score"][place, : len(expected)], expected, atol=1e-3)
        assert np.isnan(found["frame_score"][place, len(expected) :]).all()
        assert found["score"][place] == pytest.approx(scorer.pool(expected), abs=1e-3)


def check_elsewhere(model: Path, bundle: Bundle, folder: Path) -> None:
    """`check` of an exported model; and what is not finite has no score there either."""
    waveforms = batch([*LENGTHS, 5_000, 5_000])
    waveforms[-2, 2_000], waveforms[-1, 3_000] = np.nan, -np.inf
    found = elsewhere(model, folder, waveforms, [*LENGTHS, 5_000, 5_000])
    assert np.isnan(found["score"][-2:]).all()
    check({name: value[:-2] for name, value in found.items()}, bundle, waveforms[:-2], LENGTHS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_model_scores_as_the_scorer_does_without_our_code(
    random_bundles: dict[str, Path], tmp_path: Path, name: str
):
    bundle = open_bundle(random_bundles[name])
    save_saved_model(bundle, tmp_path / "model")
    check_elsewhere(tmp_path / "model", bundle, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)  # the converter takes its time
@pytest.mark.parametrize("name", ["quality_net", "lc_att", "disturbance_net"])  # every kind of layer
def test_an_onnx_file_does_too(random_bundles: dict[str, Path], tmp_path: Path, name: str):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    bundle = open_bundle(random_bundles[name])
    save_onnx(bundle, tmp_path / "model.onnx")
    check_elsewhere(tmp_path / "model.onnx", bundle, tmp_path)


@pytest.fixture(scope="module")
def default() -> tuple[Bundle, WaveformModel]:
    bundle = open_bundle(DEFAULT)
    return bundle, WaveformModel(bundle)


def run(model: WaveformModel, waveforms: np.ndarray, lengths: Sequence[int]) -> dict[str, np.ndarray]:
    found = model.score(tf.constant(waveforms), tf.constant(list(lengths), tf.int32))
    return {name: value.numpy() for name, value in found.items()}


def test_frames_are_counted_as_everywhere(default):
    _, model = default
    lengths = [*range(500, 1_300, 7), *range(2_560, 2_580)]
    found = run(model, batch(lengths), lengths)
    assert found["num_frames"].tolist() == [num_frames(length) for length in lengths]


def test_one_recording_is_a_batch_too_and_company_changes_nothing(default):
    _, model = default
    waveforms = batch(LENGTHS)
    together = run(model, waveforms, LENGTHS)
    for place, length in enumerate(LENGTHS):
        alone = run(model, waveforms[place : place + 1, :length], [length])
        assert alone["score"][0] == pytest.approx(together["score"][place], abs=1e-4)


@pytest.mark.parametrize("gain", [1e-6, 1e-3, 1.0, 30.0])
def test_a_gain_changes_no_score(default, gain):
    _, model = default
    waveforms = batch(LENGTHS)
    expected, found = run(model, waveforms, LENGTHS), run(model, waveforms * np.float32(gain), LENGTHS)
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-3)


@pytest.mark.parametrize("window", ["hann", "hamming"])
@pytest.mark.parametrize("compression", ["log", "magnitude"])
@pytest.mark.parametrize("level", ["gated", "none"])
def test_features_of_every_kind(random_bundles, tmp_path, window, compression, level):
    (tmp_path / "model.weights.h5").write_bytes((random_bundles["quality_net"] / "model.weights.h5").read_bytes())
    bundle = complete_bundle(tmp_path, features=FeatureConfig(window=window, compression=compression, level=level))
    waveforms = batch(LENGTHS[-4:])
    check(run(WaveformModel(bundle), waveforms, LENGTHS[-4:]), bundle, waveforms, LENGTHS[-4:])


def test_scores_at_the_ends_of_the_scale_are_those_of_the_scorer(tmp_path):
    """A network whose frame scores lie beyond its scale: both hold them there, before they are pooled."""
    for name, layer, value in (("quality_net", "frame_score", 6.0), ("disturbance_net", "disturbance", -9.0)):
        folder = tmp_path / name
        folder.mkdir()
        network = random_network(name)
        network.get_layer(layer).bias.assign([value])
        network.save_weights(folder / "model.weights.h5")
        bundle = complete_bundle(folder, network=name)
        waveforms = batch(LENGTHS)
        found = run(WaveformModel(bundle), waveforms, LENGTHS)
        assert found["score"].max() == pytest.approx(PESQ_WB.high, abs=1e-3)
        check(found, bundle, waveforms, LENGTHS)


def test_what_has_no_score_has_no_number_and_costs_no_other(default):
    bundle, model = default
    waveforms = batch([40_000, 511, 20_000, 30_000])
    waveforms[2] = 0
    found = run(model, waveforms, [40_000, 511, 20_000, 30_000])
    assert np.isnan(found["score"]).tolist() == [False, True, True, False]
    assert np.isnan(found["frame_score"][1:3]).all()
    assert found["num_frames"].tolist() == [155, 0, 77, 116]
    good = {name: value[[0, 3]] for name, value in found.items()}
    check(good, bundle, waveforms[[0, 3]], [40_000, 30_000])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 777, 19_900])
def test_samples_that_are_not_finite_have_no_score(default, value, place):
    bundle, model = default
    lengths = [20_000] * 3
    waveforms = batch(lengths)
    waveforms[1, place] = value
    found = run(model, waveforms, lengths)
    assert np.isnan(found["score"]).tolist() == [False, True, False]
    assert np.isnan(found["frame_score"][1]).all()
    check({name: value[::2] for name, value in found.items()}, bundle, waveforms[::2], lengths[::2])


@pytest.mark.parametrize("lengths", [[1_000, 1_101], [-1, 1_000]])
def test_a_length_beyond_the_waveforms_is_an_error(default, lengths):
    _, model = default
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(model, np.ones((2, 1_100), np.float32), lengths)


def test_nothing_but_recordings_that_are_too_short(default):
    _, model = default
    assert np.isnan(run(model, np.ones((2, 100), np.float32), [100, 0])["score"]).all()


@pytest.mark.slow
def test_a_long_recording_is_scored_as_a_whole_by_what_has_no_windows(default):
    bundle, model = default
    lengths = [512 + 256 * 8_000]
    waveforms = batch(lengths)
    check(run(model, waveforms, lengths), bundle, waveforms, lengths)


def test_attention_over_more_than_its_window_is_refused(random_bundles):
    model = WaveformModel(open_bundle(random_bundles["l_att"]))
    most = 512 + 256 * 2_047
    assert run(model, batch([most + 255]), [most + 255])["num_frames"] == [2_048]
    with pytest.raises(tf.errors.InvalidArgumentError, match="cut it"):
        run(model, batch([most + 256]), [most + 256])


def test_every_bundled_model_can_be_exported():
    for path in BUNDLED.iterdir():
        WaveformModel(open_bundle(path))
