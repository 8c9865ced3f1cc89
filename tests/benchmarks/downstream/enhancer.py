"""A small causal speech enhancer: a convolutional network that masks the magnitudes of a spectrogram."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tests.benchmarks.downstream.mixing import draw_batch, power

FRAME, SHIFT, BINS = 512, 256, 257
UNITS, KERNEL = 128, 3
# Frames between the taps of each convolution; together they reach back 62 frames, 1 s.
DILATIONS = (1, 2, 4, 8, 16)
LEARNING_RATE, CLIP_NORM = 2e-3, 1.0
# Magnitudes are compared after this compression, which weighs soft sounds as an ear does.
COMPRESSION, FLOOR = 0.5, 1e-4
# Softer magnitudes look alike to the network. Noise at the level of a mixture has magnitudes of about 14.
INPUT_FLOOR = 1e-2


def build_network() -> keras.Model:
    """Returns the network: half the log-magnitudes [B, T, 257] -> mask from 0 to 1 [B, T, 257]."""
    spectrogram = keras.Input((None, BINS))
    hidden = keras.layers.Dense(UNITS, activation="relu")(spectrogram)
    for dilation in DILATIONS:
        level = keras.layers.LayerNormalization()(hidden)
        past = keras.layers.Conv1D(UNITS, KERNEL, padding="causal", dilation_rate=dilation, activation="relu")(level)
        hidden = hidden + past
    return keras.Model(spectrogram, keras.layers.Dense(BINS, activation="sigmoid")(hidden))


def _spectrum(samples: tf.Tensor) -> tf.Tensor:
    return tf.signal.stft(samples, FRAME, SHIFT)


def _mask(network: keras.Model, magnitude: tf.Tensor) -> tf.Tensor:
    return network(tf.math.log(magnitude + INPUT_FLOOR) / 2)


def train(
    speech: np.ndarray, noise: np.ndarray, seed: int, steps: int, report: Callable[[int, float], None]
) -> keras.Model:
    """Trains a network.

    Args:
        speech: targets as one long signal.
        noise: noise as one long signal.
        seed: seed of the first weights, of the order and of the mixtures.
        steps: number of steps of a batch each.
        report: called with the number of steps and the mean loss since the last call, every 100 steps.
    """
    keras.utils.set_random_seed(seed)
    network = build_network()
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=CLIP_NORM)
    optimizer.build(network.trainable_variables)

    @tf.function
    def step(mixtures: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            mixed, target = tf.abs(_spectrum(mixtures)), tf.abs(_spectrum(targets))
            enhanced = _mask(network, mixed) * mixed
            error = tf.pow(enhanced + FLOOR, COMPRESSION) - tf.pow(target + FLOOR, COMPRESSION)
            loss = tf.reduce_mean(tf.square(error))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    losses = []
    for number in range(steps):
        losses.append(float(step(*map(tf.constant, draw_batch(speech, noise, seed, number)))))
        if not math.isfinite(losses[-1]):
            raise ArithmeticError(f"the loss of step {number} is {losses[-1]}")
        if (number + 1) % 100 == 0:
            report(number + 1, float(np.mean(losses[-100:])))
    return network


def enhance(network: keras.Model, noisy: np.ndarray) -> np.ndarray:
    """Returns enhanced samples with the phase of the noisy ones: float32 [n]."""
    scale = math.sqrt(power(noisy))
    # Every sample is in two frames, also at the ends.
    padded = np.pad(noisy / scale, (SHIFT, SHIFT + -len(noisy) % SHIFT)).astype(np.float32)
    spectrum = _spectrum(tf.constant(padded[np.newaxis]))
    masked = spectrum * tf.cast(_mask(network, tf.abs(spectrum)), tf.complex64)
    window = tf.signal.inverse_stft_window_fn(SHIFT)
    samples = tf.signal.inverse_stft(masked, FRAME, SHIFT, window_fn=window).numpy()[0]
    return np.asarray(samples[SHIFT : SHIFT + len(noisy)] * scale, np.float32)
