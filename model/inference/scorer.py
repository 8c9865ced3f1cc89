"""From spectrograms to frame scores: pads, masks and runs a bundle's network."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.bundle import Bundle, open_bundle
from model.features import NUM_BINS, WHOLE_FRAMES, Frames
from model.inference.streaming import WINDOW, LongRecordings, before_blstm, from_blstm
from model.networks.architectures import NETWORKS
from model.networks.attention import AdditiveAttention
from model.pooling import pool
from model.runtime import native_stderr_held

# Frames that enter what stands before the BLSTM at a time. A convolution makes 4 kB of one of its frames; what enters the
# BLSTM, which is fast with many utterances side by side, is 0.4 kB.
FRONT_FRAMES = 2048


class Scorer:
    """A loaded bundle.

    A score depends on the spectrogram and the bundle alone: padding is masked, so neither the other members of a batch
    nor their lengths change it (beyond the rounding of float32). Nor does it matter whether a recording is scored at once
    or, where it is longer than `whole_frames`, in parts (`long_recordings`).

    Attributes:
        bundle: what was loaded.
        whole_frames: the longest recording that is scored at once. Attention over more is defined by windows.
    """

    def __init__(self, bundle: Bundle | str | Path) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        network = NETWORKS[self.bundle.network]()
        network.load_weights(self.bundle.weights)
        attends = any(isinstance(layer, AdditiveAttention) for layer in network.layers)
        self.whole_frames = WINDOW if attends else WHOLE_FRAMES
        self._network = network
        front, rest = before_blstm(network), from_blstm(network)
        # One signature for every length and batch size, so that nothing is ever traced again. No autograph: the networks
        # branch on no tensor, and autograph writes the code that it generates to the temporary directory.
        masks = tf.TensorSpec([None, None], tf.bool)
        self._run_front = tf.function(
            lambda x, mask: front([x, mask]),
            input_signature=[tf.TensorSpec([None, None, NUM_BINS], tf.float32), masks],
            autograph=False,
        )
        self._run_rest = tf.function(
            lambda x, mask: rest([x, mask]),
            input_signature=[tf.TensorSpec([None, None, front.output.shape[-1]], tf.float32), masks],
            autograph=False,
        )
        with native_stderr_held():
            self.score([np.zeros((1, NUM_BINS), np.float32)])  # traced here, not with the first batch

    def score(self, spectrograms: Sequence[Frames]) -> list[np.ndarray]:
        """Scores the frames of a batch in one call of the network, and those of each long recording by themselves.

        Args:
            spectrograms: float32 [T_i, 257] each, T_i >= 1, made with the bundle's feature config.

        Returns:
            Frame scores, float32 [T_i] each, in the same order, within the label scale.
        """
        found: list[np.ndarray] = [np.empty(0, np.float32)] * len(spectrograms)
        together = []
        for i, spectrogram in enumerate(spectrograms):
            if len(spectrogram) > self.whole_frames:
                found[i] = self._long.frame_scores(spectrogram)
            else:
                together.append(i)
        if together:
            batch = self._frame_scores([spectrograms[i][:] for i in together])
            for i, scores in zip(together, batch, strict=True):
                # A copy: a slice would keep the whole padded batch alive.
                found[i] = scores[: len(spectrograms[i])].copy()
        return [self._within_scale(scores) for scores in found]

    def score_in_parts(self, spectrogram: Frames) -> Iterator[np.ndarray]:
        """`score` for one long recording, in steps of some 30 s of it, for a caller who has other things to do in between.

        Args:
            spectrogram: float32 [T, 257], T > `whole_frames`.

        Yields:
            Frame scores, float32; the steps' together are [T]. Those of the first half of the steps are empty.
        """
        for scores in self._long.parts(spectrogram):
            yield self._within_scale(scores)

    def _within_scale(self, scores: np.ndarray) -> np.ndarray:
        """The published networks' last layer is linear: it may point beyond the ends of the scale, where nothing is."""
        return np.clip(scores, self.bundle.label_scale.low, self.bundle.label_scale.high)

    def _frame_scores(self, spectrograms: list[np.ndarray]) -> np.ndarray:
        """What the network's last layer gives for a batch: float32 [B, T], T of the longest."""
        longest = max(map(len, spectrograms))
        step = max(1, FRONT_FRAMES // longest)
        parts, masks = [], []
        for start in range(0, len(spectrograms), step):
            part, mask = pad(spectrograms[start : start + step], longest)
            parts.append(self._run_front(part, mask))
            masks.append(mask)
        return self._run_rest(tf.concat(parts, axis=0), np.concatenate(masks)).numpy()

    @functools.cached_property
    def _long(self) -> LongRecordings:
        """Taken apart when the first long recording comes: most corpora have none."""
        with native_stderr_held():
            return LongRecordings(self._network)

    def pool(self, frame_score: np.ndarray) -> float:
        """Score of an utterance from its frame scores [T], as the bundle's network pools them."""
        return pool(frame_score, self.bundle.pooling)


def pad(spectrograms: Sequence[np.ndarray], longest: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Stacks spectrograms [T_i, 257] into zero-padded float32 [B, T, 257] and its mask, bool [B, T], T = max T_i or given."""
    longest = longest or max(map(len, spectrograms))
    batch = np.zeros((len(spectrograms), longest, NUM_BINS), np.float32)
    mask = np.zeros((len(spectrograms), longest), bool)
    for i, spectrogram in enumerate(spectrograms):
        batch[i, : len(spectrogram)] = spectrogram
        mask[i, : len(spectrogram)] = True
    return batch, mask
