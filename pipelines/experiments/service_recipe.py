"""The recipe of the article on a quality service with a BLSTM: from folders of speech and noise to a trained scorer.

The article mixes clean speech with 100 kinds of noise at various SNRs and labels the clips with PESQ. Spectra of a 512-point
FFT enter a BLSTM with two outputs, frame scores and an overall score. The loss is the squared error of the overall score plus
that of the frames with the weight 10^(PESQ - 4.5). RMSprop has a constant learning rate of 0.001. Clips pass a shuffle buffer
of 1,000 and are padded and batched, and batches are prefetched.

The article leaves these points open, or they differ here:

- The network is `quality_net`; the article gives no sizes. Its overall score is the mean of the frame scores.
- The spectrum is the logarithm of the magnitude after a level normalisation (`FeatureConfig`).
- The SNR is drawn from -10 to 40 dB. A tenth of the clips is clean. A clip has one noise over its whole length.
- Padding has no part in the loss, and a batch holds clips of similar length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Defaults of `audiosieve train` under this recipe.
TRAIN_DEFAULTS: dict[str, Any] = {
    "network": "quality_net",
    "label": "pesq-wb",
    "loss": "weighted",
    "learning_rate": 1e-3,
    "decay": 1.0,
    "shuffle_clips": 1000,
}


def synthesis_arguments(
    speech: str, noise: str, output: Path, *, clips: int, seed: int, where: Sequence[str], workers: int
) -> list[str]:
    """Returns the arguments of `audiosieve synthesize` for the training set.

    Args:
        speech: directory, glob or manifest of clean speech.
        noise: directory, glob or manifest of noise.
        output: folder for the set.
        clips: number of clips.
        seed: seed of the set.
        where: conditions on columns of the manifests.
        workers: number of worker processes.
    """
    arguments = ["--speech", speech, "--noise", noise, "--output", str(output), "--clips", str(clips)]
    arguments += ["--seed", str(seed), "--labels", "pesq-wb", "--snr=-10:40", "--clean_ratio", "0.1"]
    arguments += ["--noises", "1:1", "--partial_ratio", "0"]
    for condition in where:
        arguments += ["--where", condition]
    return [*arguments, f"--direct_num_workers={workers}"]
