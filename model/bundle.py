"""A trained model on disk: a folder with `bundle.json` and `model.weights.h5`. Reading `bundle.json` needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from model.diagnosis import ALL_VALUES, HEARD_CAUSES, CauseLimits, ordered_values
from model.features import FeatureConfig
from model.labels import LABEL_SCALES, LabelScale
from model.local_files import write_text
from model.pooling import Pooling

CARD = "bundle.json"
WEIGHTS = "model.weights.h5"
FORMAT = 1
BUNDLED = Path(__file__).parent / "bundles"
DEFAULT = "diagnostic_net_v3"
# The pooling of each network. The keys are those of `architectures.NETWORKS`, whose import loads TensorFlow.
POOLING: dict[str, Pooling] = {
    "quality_net": "mean",
    "l_1dcnn": "mean",
    "l_att": "mean",
    "lc_att": "mean",
    "disturbance_net": "pesq",
    "diagnostic_net": "pesq",
    "diagnostic_net_16ms": "pesq",
    "l_att_linear": "mean",
    "lc_att_linear": "mean",
}
# Revision of networks whose computation changed under the same name; the hash of their bundles contains it. Revision 2 has the
# published sigmoid in its attention. The bundles of revision 1 had none, as the networks with the suffix `_linear`.
REVISIONS = {"l_att": 2, "lc_att": 2}
# Networks that give a `Diagnosis`; their bundles have cause limits.
DIAGNOSTIC_NETWORKS = ("diagnostic_net", "diagnostic_net_16ms")
NETWORK_NAMES = tuple(POOLING)


class BundleError(ValueError):
    """A bundle is missing, damaged, or from an incompatible version."""


@dataclasses.dataclass(frozen=True)
class Bundle:
    """The content of `bundle.json`, and the folder that holds it.

    Attributes:
        path: folder of the bundle.
        name: name of the model.
        network: key of `architectures.NETWORKS`.
        features: features that the network was trained on.
        label_scale: scale of its scores.
        metrics: LCC, SRCC and RMSE on the validation split (`metrics.agreement`), and others if known.
        training: options, epochs and training set.
        weights_sha256: SHA-256 of the weights file, in hex.
        cause_limits: when a cause is heard; None if the network gives no diagnosis.
        trained: names of the values of the diagnosis (`diagnosis.FRAME_VALUES`) that it was trained on; all of them if the card
            does not say, and none if the network gives no diagnosis.
    """

    path: Path
    name: str
    network: str
    features: FeatureConfig
    label_scale: LabelScale
    metrics: dict[str, Any]
    training: dict[str, Any]
    weights_sha256: str
    cause_limits: CauseLimits | None = None
    trained: frozenset[str] = frozenset()

    @property
    def hash(self) -> str:
        """First 12 hex digits of a SHA-256 over all that determines a score, when a cause is heard, and what is null."""
        return self._hash(REVISIONS.get(self.network))

    @property
    def first_revision_hash(self) -> str:
        """The hash that the card has if the bundle was written before the network changed (`REVISIONS`)."""
        return self._hash(None)

    def _hash(self, revision: int | None) -> str:
        parts = [self.weights_sha256, self.network, self.features.hash, self.label_scale.name]
        if revision is not None:
            parts.append(f"revision {revision}")
        if self.cause_limits is not None:
            parts.append(json.dumps(dataclasses.asdict(self.cause_limits), sort_keys=True))
            if self.trained != ALL_VALUES:
                parts.append(f"trained {ordered_values(self.trained)}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    @property
    def model_id(self) -> str:
        """`name@hash`, which the output records with each score."""
        return f"{self.name}@{self.hash}"

    @property
    def pooling(self) -> Pooling:
        """Method that computes the score of an utterance from its frame scores."""
        return POOLING[self.network]

    @property
    def weights(self) -> Path:
        """Path of the weights file."""
        return self.path / WEIGHTS


def bundled_names() -> list[str]:
    """Returns the names of the models in the package, sorted."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{CARD}"))


def open_bundle(name_or_path: str | Path) -> Bundle:
    """Reads and checks a bundle.

    Args:
        name_or_path: name of a bundled model, or folder of a bundle.

    Raises:
        BundleError: the bundle is missing, damaged, or from an incompatible version.
    """
    path = Path(name_or_path)
    if str(name_or_path) in bundled_names():
        path = BUNDLED / str(name_or_path)
    if not (path / CARD).is_file():
        raise BundleError(
            f"no model {str(name_or_path)!r}: it is neither a bundled model ({', '.join(bundled_names()) or 'none'}) "
            f"nor a folder with {CARD}"
        )
    try:
        card = json.loads((path / CARD).read_text(encoding="utf-8"))
        if card["format"] != FORMAT:
            raise BundleError(f"model {path}: its format is {card['format']}; this version reads {FORMAT}")
        if card["network"] not in NETWORK_NAMES:
            raise BundleError(
                f"model {path}: its network is {card['network']}; this version has {', '.join(NETWORK_NAMES)}"
            )
        is_diagnostic = card["network"] in DIAGNOSTIC_NETWORKS
        bundle = Bundle(
            path=path,
            name=card["name"],
            network=card["network"],
            features=FeatureConfig.from_dict(card["features"]),
            label_scale=LABEL_SCALES[card["label_scale"]],
            metrics=card["metrics"],
            training=card["training"],
            weights_sha256=card["weights_sha256"],
            cause_limits=_cause_limits(card["diagnosis"]) if is_diagnostic else None,
            trained=_trained(card["diagnosis"]) if is_diagnostic else frozenset(),
        )
        if _sha256(bundle.weights) != bundle.weights_sha256:
            raise BundleError(f"model {path}: {WEIGHTS} does not match the SHA-256 in {CARD}; copy both files again")
        if bundle.network in REVISIONS and card["hash"] == bundle.first_revision_hash:
            raise BundleError(
                f"model {path}: it was trained when the attention of {bundle.network} had no sigmoid, and would score "
                f"differently now; train it again as {bundle.network}, or as {bundle.network}_linear for the same attention"
            )
        if bundle.hash != card["hash"]:
            raise BundleError(
                f"model {path}: the hash in {CARD} does not match its content; copy the original file again"
            )
    except BundleError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"model {path}: cannot be read ({type(error).__name__}: {error})") from error
    return bundle


def write_card(
    path: Path,
    *,
    name: str,
    network: str,
    features: FeatureConfig,
    label_scale: LabelScale,
    metrics: dict[str, Any],
    training: dict[str, Any],
    cause_limits: CauseLimits | None = None,
    trained: Collection[str] | None = None,
) -> Bundle:
    """Writes `bundle.json` to a folder that holds the weights file, and returns the bundle.

    Args:
        path: the folder.
        name: name of the model.
        network: key of `architectures.NETWORKS`.
        features: features that the network was trained on.
        label_scale: scale of its scores.
        metrics: measures of the network.
        training: options, epochs and training set.
        cause_limits: when a cause is heard; None if the network gives no diagnosis.
        trained: names of the values of the diagnosis that it was trained on; None for all.

    Raises:
        ValueError: the network gives a diagnosis and there are no cause limits, or the reverse; or a name in `trained` is
            unknown.
    """
    if (cause_limits is not None) != (network in DIAGNOSTIC_NETWORKS):
        raise ValueError(f"a bundle of {network} has {'no ' if cause_limits is not None else ''}cause limits")
    sha256 = _sha256(path / WEIGHTS)
    values = frozenset() if cause_limits is None else frozenset(ALL_VALUES if trained is None else trained)
    bundle = Bundle(path, name, network, features, label_scale, metrics, training, sha256, cause_limits, values)
    card = {
        "format": FORMAT,
        "name": name,
        "hash": bundle.hash,
        "network": network,
        "features": features.as_dict(),
        "label_scale": label_scale.name,
        "metrics": metrics,
        "training": training,
        "weights_sha256": bundle.weights_sha256,
    }
    if cause_limits is not None:
        card["diagnosis"] = {**dataclasses.asdict(cause_limits), "trained": ordered_values(values)}
    write_text(path / CARD, json.dumps(card, indent=2) + "\n")
    return bundle


def _cause_limits(value: dict[str, dict[str, float]]) -> CauseLimits:
    """Reads the entry `diagnosis` of a card.

    Raises:
        KeyError: a cause has no limit.
    """
    limits = {name: {cause: float(value[name][cause]) for cause in HEARD_CAUSES} for name in ("probability", "share")}
    return CauseLimits(**limits)


def _trained(value: dict[str, Any]) -> frozenset[str]:
    """Reads the values that the network was trained on from the entry `diagnosis` of a card. Older cards do not name them.

    Raises:
        ValueError: a value is unknown.
    """
    return frozenset(ordered_values(value.get("trained", ALL_VALUES)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
