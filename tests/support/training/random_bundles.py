"""Networks and bundles with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import DIAGNOSTIC_NETWORKS, POOLING, Bundle, write_card
from model.diagnosis import CauseLimits
from model.features import FeatureConfig
from model.labels import PESQ_WB


def random_network(name: str) -> Any:
    """A network whose weights, biases included, are all random: a bias of 0 would hide what leaks through it.

    Its scores lie about the middle of the PESQ scale, so that holding them on the scale hides nothing either.
    """
    import keras

    from model.networks.architectures import NETWORKS

    keras.utils.set_random_seed(7)
    network = NETWORKS[name]()
    rng = np.random.default_rng(7)
    network.set_weights([w + rng.normal(0, 0.1, w.shape).astype(w.dtype) for w in network.get_weights()])
    if POOLING[name] == "pesq":
        network.get_layer("disturbance").bias.assign([1.5])  # points of PESQ's raw score
    else:
        network.get_layer("frame_score").bias.assign([(PESQ_WB.low + PESQ_WB.high) / 2])
    return network


def complete_bundle(path: Path, **changes: Any) -> Bundle:
    """Writes the card of the bundle whose weights stand in `path`."""
    fields: dict[str, Any] = {
        "name": "random",
        "network": "quality_net",
        "features": FeatureConfig(),
        "label_scale": PESQ_WB,
        "metrics": {"lcc": 0.5, "srcc": 0.4, "rmse": 0.6},
        "training": {"best_epoch": 3},
    }
    fields.update(changes)
    if fields["network"] in DIAGNOSTIC_NETWORKS:
        fields.setdefault("cause_limits", CauseLimits.default())
    return write_card(path, **fields)
