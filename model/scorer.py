"""From spectrograms to frame scores: pads, masks and runs a bundle's network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.bundle import Bundle, open_bundle
from model.features import NUM_BINS
from model.networks import NETWORKS
from model.pooling import pool
from model.runtime import native_stderr_held


class Scorer:
    """A loaded bundle.

    A score depends on the spectrogram and the bundle alone: padding is masked, so neither the other members of a batch
    nor their lengths change it (beyond the rounding of float32).

    Attributes:
        bundle: what was loaded.
    """

    def __init__(self, bundle: Bundle | str | Path) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        network = NETWORKS[self.bundle.network]()
        network.load_weights(self.bundle.weights)
        # One signature for every length and batch size, so that nothing is ever traced again.
        self._run = tf.function(
            lambda spectrogram, mask: network({"spectrogram": spectrogram, "mask": mask})["frame_score"],
            input_signature=[
                tf.TensorSpec([None, None, NUM_BINS], tf.float32),
                tf.TensorSpec([None, None], tf.bool),
            ],
        )
        with native_stderr_held():
            self.score([np.zeros((1, NUM_BINS), np.float32)])  # traced here, not with the first batch

    def score(self, spectrograms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Scores the frames of a batch in one call of the network.

        Args:
            spectrograms: float32 [T_i, 257] each, T_i >= 1, made with the bundle's feature config.

        Returns:
            Frame scores, float32 [T_i] each, in the same order, within the label scale.
        """
        if not spectrograms:
            return []
        lengths = [len(spectrogram) for spectrogram in spectrograms]
        batch, mask = pad(spectrograms)
        # The network's last layer is linear: it may point beyond the ends of the scale, where nothing is.
        scale = self.bundle.label_scale
        scores = np.clip(self._run(batch, mask).numpy(), scale.low, scale.high)
        # Copies: a slice would keep the whole padded batch alive.
        return [scores[i, :length].copy() for i, length in enumerate(lengths)]

    def pool(self, frame_score: np.ndarray) -> float:
        """Score of an utterance from its frame scores [T], as the bundle's network pools them."""
        return pool(frame_score, self.bundle.pooling)


def pad(spectrograms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Stacks spectrograms [T_i, 257] into zero-padded float32 [B, T, 257] and its mask, bool [B, T], T = max T_i."""
    longest = max(map(len, spectrograms))
    batch = np.zeros((len(spectrograms), longest, NUM_BINS), np.float32)
    mask = np.zeros((len(spectrograms), longest), bool)
    for i, spectrogram in enumerate(spectrograms):
        batch[i, : len(spectrogram)] = spectrogram
        mask[i, : len(spectrogram)] = True
    return batch, mask
