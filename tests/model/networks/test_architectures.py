"""Networks: their sizes, and that padding does not change frame scores."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.bundle import NETWORK_NAMES
from model.features import NUM_BINS
from model.inference.scorer import pad
from model.networks.architectures import NETWORKS, ForgetBias, quality_net
from tests.support.training.random_bundles import random_network

PUBLISHED = ("quality_net", "l_1dcnn", "l_att", "lc_att")
published = pytest.mark.parametrize("name", PUBLISHED)


@pytest.fixture(scope="module")
def networks() -> dict[str, keras.Model]:
    return {name: random_network(name) for name in NETWORKS}


def spectrograms(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (length, NUM_BINS)).astype(np.float32) for length in lengths]


def run(network: keras.Model, spectrogram: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    out = network({"spectrogram": spectrogram, "mask": mask})
    return out["frame_score"].numpy(), out["score"].numpy()


# The published sizes: 257 bins, a BLSTM of 100 units in each direction, 250 convolution kernels over 3 frames, additive
# attention of 32 units, dense layers of 50 and 1.
BINS, LSTM, KERNELS, WIDTH, ATTENTION, DENSE = 257, 100, 250, 3, 32, 50


def blstm_parameters(inputs: int) -> int:
    """Counts two directions of four gates, each with weights from all inputs and units, and a bias."""
    return 2 * 4 * (inputs * LSTM + LSTM * LSTM + LSTM)


def conv_parameters(inputs: int) -> int:
    return KERNELS * (WIDTH * inputs + 1)


def attention_parameters(inputs: int) -> int:
    """Counts W_t, W_x and b_h, then w_a and b_a."""
    return 2 * inputs * ATTENTION + ATTENTION + ATTENTION + 1


def dense_parameters(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


# The layers in order: name, width of the output, parameters.
BLSTM_LAYER = ("blstm", 2 * LSTM, blstm_parameters(BINS))
CONV_LAYER = ("conv", KERNELS, conv_parameters(2 * LSTM))
FRAME_SCORE_LAYER = ("frame_score", 1, dense_parameters(DENSE, 1))
LAYERS = {
    "quality_net": [BLSTM_LAYER, ("dense", DENSE, dense_parameters(2 * LSTM, DENSE)), FRAME_SCORE_LAYER],
    "l_1dcnn": [BLSTM_LAYER, CONV_LAYER, ("dense", DENSE, dense_parameters(KERNELS, DENSE)), FRAME_SCORE_LAYER],
    "l_att": [
        BLSTM_LAYER,
        ("attention", 2 * LSTM, attention_parameters(2 * LSTM)),
        ("dense", DENSE, dense_parameters(2 * LSTM, DENSE)),
        FRAME_SCORE_LAYER,
    ],
    "lc_att": [
        BLSTM_LAYER,
        CONV_LAYER,
        ("attention", KERNELS, attention_parameters(KERNELS)),
        ("dense", DENSE, dense_parameters(KERNELS, DENSE)),
        FRAME_SCORE_LAYER,
    ],
}


def test_the_networks_have_the_names_in_bundles() -> None:
    assert set(PUBLISHED) <= set(NETWORKS)
    assert tuple(NETWORKS) == NETWORK_NAMES


@published
def test_the_layers_have_the_published_sizes_and_numbers_of_parameters(networks, name: str) -> None:
    network = networks[name]
    sizes = [(layer.name, layer.output.shape[-1], layer.count_params()) for layer in network.layers]
    assert [layer for layer in sizes if layer[2]] == LAYERS[name]
    assert network.count_params() == sum(layer[2] for layer in LAYERS[name])
    if CONV_LAYER in LAYERS[name]:
        assert network.get_layer("conv").kernel.shape == (WIDTH, 2 * LSTM, KERNELS)


@pytest.mark.parametrize(
    ("name", "parameters"), [("quality_net", 296_501), ("l_1dcnn", 449_251), ("l_att", 309_366), ("lc_att", 465_316)]
)
def test_the_networks_have_the_expected_numbers_of_parameters(networks, name: str, parameters: int) -> None:
    assert networks[name].count_params() == parameters


@published
def test_all_parameters_are_trainable(networks, name: str) -> None:
    network = networks[name]
    assert sum(int(np.prod(w.shape)) for w in network.trainable_variables) == network.count_params()


@published
def test_the_name_of_a_network_is_its_key(networks, name: str) -> None:
    assert networks[name].name == name


@published
@pytest.mark.parametrize("length", [1, 2, 3, 40])
def test_every_frame_has_a_score(networks, name: str, length: int) -> None:
    frame_score, score = run(networks[name], *pad(spectrograms(length, length)))
    assert frame_score.shape == (2, length)
    assert score.shape == (2,)
    assert frame_score.dtype == score.dtype == np.float32


@published
def test_a_traced_network_keeps_the_number_of_frames(networks, name: str) -> None:
    network = networks[name]
    signature = [tf.TensorSpec([None, None, NUM_BINS]), tf.TensorSpec([None, None], tf.bool)]
    traced = tf.function(lambda x, mask: network({"spectrogram": x, "mask": mask}), input_signature=signature)
    for lengths in [(5,), (1,), (12, 30, 7)]:
        batch, mask = pad(spectrograms(*lengths))
        out = traced(batch, mask)
        expected, expected_score = run(network, batch, mask)
        assert out["frame_score"].numpy()[mask] == pytest.approx(expected[mask], abs=1e-5)
        assert out["score"].numpy() == pytest.approx(expected_score, abs=1e-5)


@published
def test_the_score_is_the_mean_of_the_real_frames_scores(networks, name: str) -> None:
    lengths = (4, 20, 1, 13)
    frame_score, score = run(networks[name], *pad(spectrograms(*lengths)))
    assert score == pytest.approx([frame_score[i, :n].mean() for i, n in enumerate(lengths)], abs=1e-5)


@published
def test_longer_members_of_a_batch_do_not_change_a_frame_score(networks, name: str) -> None:
    members = spectrograms(6, 25, 1, 17)
    together, score = run(networks[name], *pad(members))
    for i, member in enumerate(members):
        alone, alone_score = run(networks[name], *pad([member]))
        assert together[i, : len(member)] == pytest.approx(alone[0], abs=1e-5)
        assert score[i] == pytest.approx(alone_score[0], abs=1e-5)


@published
def test_values_in_the_padding_do_not_change_a_frame_score(networks, name: str) -> None:
    batch, mask = pad(spectrograms(6, 25, 1, 17))
    garbage = np.where(mask[..., np.newaxis], batch, np.float32(50))
    expected, score = run(networks[name], batch, mask)
    scored, scored_score = run(networks[name], garbage, mask)
    assert scored[mask] == pytest.approx(expected[mask], abs=1e-5)
    assert scored_score == pytest.approx(score, abs=1e-5)


@published
def test_a_frame_score_depends_on_frames_before_and_after_it(networks, name: str) -> None:
    batch, mask = pad(spectrograms(8))
    before, _ = run(networks[name], batch, mask)
    for changed in (0, 7):
        other = batch.copy()
        other[0, changed] += 1
        after, _ = run(networks[name], other, mask)
        assert (np.abs(after - before) > 1e-6).all()


@published
def test_different_recordings_get_different_scores(networks, name: str) -> None:
    _, score = run(networks[name], *pad(spectrograms(20, 20, 20)))
    assert len(set(score.tolist())) == 3


@pytest.mark.parametrize(("name", "value"), [("quality_net", -3.0), ("l_1dcnn", 1.0), ("l_att", 1.0), ("lc_att", 1.0)])
def test_the_forget_gates_start_at_their_value_and_other_biases_at_0(name: str, value: float) -> None:
    network = NETWORKS[name]()
    blstm = network.get_layer("blstm")
    for lstm in (blstm.forward_layer, blstm.backward_layer):
        gates = lstm.get_weights()[2].reshape(4, 100)  # input, forget, cell, output
        assert (gates[1] == value).all()
        assert (gates[[0, 2, 3]] == 0).all()
    others = [layer for layer in network.layers if layer.name in ("conv", "dense", "frame_score")]
    assert len(others) >= 2
    for layer in others:
        assert (layer.get_weights()[1] == 0).all()
    if "att" in name:
        attention = network.get_layer("attention")
        assert not np.any(attention.hidden_bias)
        assert not np.any(attention.energy_bias)


def test_the_second_quarter_of_a_keras_lstm_bias_is_the_forget_gate() -> None:
    lstm = keras.layers.LSTM(3, unit_forget_bias=True)
    lstm.build((None, None, 2))
    assert lstm.get_weights()[2].tolist() == ForgetBias(1.0)((12,)).numpy().tolist()


def test_the_forget_bias_can_be_rebuilt_from_its_config() -> None:
    again = keras.initializers.deserialize(keras.initializers.serialize(ForgetBias(-3.0)))
    assert isinstance(again, ForgetBias)
    assert again.value == -3.0


def test_the_same_seed_makes_the_same_network() -> None:
    weights = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        weights.append(quality_net().get_weights()[0])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
