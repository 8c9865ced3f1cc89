"""Scores spectrograms: pads and masks them, and runs the network of a bundle."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from model.bundle import Bundle, open_bundle
from model.diagnosis import Diagnosis
from model.features import NUM_BINS, WHOLE_FRAMES, Frames
from model.frame_estimates import FrameEstimates
from model.inference.streaming import WINDOW, LongRecordings, before_blstm, from_blstm
from model.networks.architectures import NETWORKS
from model.networks.attention import AdditiveAttention
from model.pooling import pool
from model.runtime import hold_native_stderr

# Frames that enter the layers before the BLSTM at a time, which bounds their memory: a frame takes 4 kB after a convolution. At
# the input of the BLSTM it takes only 0.4 kB, so the BLSTM runs on the whole batch, which is faster.
FRONT_FRAMES = 2048


class Scorer:
    """A loaded bundle that scores spectrograms.

    A score depends only on the spectrogram and the bundle. Padding is masked, so the other members of a batch affect it only
    through the rounding of float32. A recording longer than `whole_frames` is scored in parts, with the same result.

    Attributes:
        bundle: the bundle.
        whole_frames: longest recording that is scored at once, in frames. For longer ones, attention covers only windows.
    """

    def __init__(self, bundle: Bundle | str | Path) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        network = NETWORKS[self.bundle.network]()
        network.load_weights(self.bundle.weights)
        has_attention = any(isinstance(layer, AdditiveAttention) for layer in network.layers)
        self.whole_frames = WINDOW if has_attention else WHOLE_FRAMES
        self._network = network
        front, rest = before_blstm(network), from_blstm(network)
        # One signature for all lengths and batch sizes, so that TensorFlow traces each function only once. Autograph is off,
        # because it writes generated code to the temporary directory, and the networks do not branch on tensors.
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
        with hold_native_stderr():
            self.score([np.zeros((1, NUM_BINS), np.float32)])  # traces the functions now, not at the first batch

    def score(self, spectrograms: Sequence[Frames]) -> list[FrameEstimates]:
        """Scores a batch in one call of the network, and each long recording separately.

        Args:
            spectrograms: spectrograms with the bundle's feature config: float32 [T_i, 257], T_i >= 1.

        Returns:
            Estimates of the frames [T_i] in the same order.
        """
        values: list[np.ndarray] = [np.empty((0, 1), np.float32)] * len(spectrograms)
        short = []
        for i, spectrogram in enumerate(spectrograms):
            if len(spectrogram) > self.whole_frames:
                values[i] = self._long.frame_values(spectrogram)
            else:
                short.append(i)
        if short:
            batch = self._frame_values([spectrograms[i][:] for i in short])
            for i, padded in zip(short, batch, strict=True):
                values[i] = padded[: len(spectrograms[i])]
        return [self._estimates(one) for one in values]

    def score_in_parts(self, spectrogram: Frames) -> Iterator[FrameEstimates]:
        """Scores one long recording in steps of about 30 s, so that the caller can do other work between them.

        Args:
            spectrogram: spectrogram with the bundle's feature config: float32 [T, 257], T > `whole_frames`.

        Yields:
            Estimates of the frames of the next step, [T] in total. The first half of the steps has no frames.
        """
        for values in self._long.parts(spectrogram):
            yield self._estimates(values)

    def _estimates(self, values: np.ndarray) -> FrameEstimates:
        """Returns the outputs of the network for a recording [T, K] as estimates, with copies instead of views of a batch."""
        # The last layer of the published networks is linear and may exceed the label scale.
        score = np.clip(values[:, 0], self.bundle.label_scale.low, self.bundle.label_scale.high)
        limits, trained = self.bundle.cause_limits, self.bundle.trained
        return FrameEstimates(score, None if limits is None else Diagnosis(values[:, 1:].copy(), limits, trained))

    def _frame_values(self, spectrograms: list[np.ndarray]) -> np.ndarray:
        """Returns the outputs of the network for a batch (`frame_outputs`): float32 [B, T, K], T = max T_i."""
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
        """The network for long recordings. It is created on first use, because most corpora have none."""
        with hold_native_stderr():
            return LongRecordings(self._network)

    def pool(self, frame_score: np.ndarray) -> float:
        """Returns the score of an utterance from its frame scores [T], with the pooling of the network."""
        return pool(frame_score, self.bundle.pooling)


def pad(spectrograms: Sequence[np.ndarray], longest: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Stacks spectrograms into a zero-padded batch.

    Args:
        spectrograms: spectrograms: float32 [T_i, 257].
        longest: number of frames T of the batch; max T_i by default.

    Returns:
        Batch, float32 [B, T, 257], and mask, bool [B, T], true at real frames.
    """
    longest = longest or max(map(len, spectrograms))
    batch = np.zeros((len(spectrograms), longest, NUM_BINS), np.float32)
    mask = np.zeros((len(spectrograms), longest), bool)
    for i, spectrogram in enumerate(spectrograms):
        batch[i, : len(spectrogram)] = spectrogram
        mask[i, : len(spectrogram)] = True
    return batch, mask
