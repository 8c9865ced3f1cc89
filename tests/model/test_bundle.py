"""Bundles on disk: writing, reading, the hash, and errors of damaged ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.bundle import CARD, FORMAT, WEIGHTS, BundleError, bundled_names, open_bundle
from model.diagnosis import ALL_VALUES, CauseLimits
from model.features import FeatureConfig
from model.labels import LABEL_SCALES, PESQ_NB, PESQ_WB, PSEUDO
from tests.support.training.random_bundles import complete_bundle

CopyBundle = Callable[..., Path]


def edit(path: Path, **changes: Any) -> None:
    """Changes fields of a card."""
    card = json.loads((path / CARD).read_text())
    (path / CARD).write_text(json.dumps({**card, **changes}))


def error_of(path: Path) -> str:
    """Returns the message of the error at opening a bundle, which must contain its path."""
    with pytest.raises(BundleError, match=re.escape(str(path))) as caught:
        open_bundle(path)
    return str(caught.value)


# Writing and reading.


def test_a_written_bundle_is_read_back(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    written = complete_bundle(
        path,
        name="mine",
        network="quality_net",
        features=FeatureConfig(window="hamming", floor=1e-4),
        label_scale=PSEUDO,
        metrics={"lcc": 0.91, "rmse": 0.3},
        training={"best_epoch": 7, "history": [{"epoch": 1, "loss": 2.5}]},
    )
    assert open_bundle(path) == written
    assert written.weights == path / WEIGHTS


def test_the_path_may_be_a_string(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    assert open_bundle(str(path)) == open_bundle(path)


def test_the_path_may_be_relative(bundle_copy: CopyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle_copy("here")
    monkeypatch.chdir(path.parent)
    assert open_bundle("here").hash == open_bundle(path).hash


def test_the_card_is_readable_json(bundle_copy: CopyBundle) -> None:
    text = (bundle_copy() / CARD).read_text(encoding="utf-8")
    card = json.loads(text)
    assert card["format"] == FORMAT
    assert card["label_scale"] == "pesq-wb"
    assert card["features"] == FeatureConfig().as_dict()
    assert text.count("\n") > len(card)
    assert text.endswith("}\n")


@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_model_opens_by_its_name(name: str) -> None:
    assert open_bundle(name).path.name == name


# The hash and the id.


def test_the_model_id_is_the_name_at_the_hash(bundle_copy: CopyBundle) -> None:
    bundle = open_bundle(bundle_copy())
    assert re.fullmatch("[0-9a-f]{12}", bundle.hash)
    assert bundle.model_id == f"random@{bundle.hash}"


def test_everything_that_decides_a_score_changes_the_hash(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    hashes = [
        complete_bundle(path).hash,
        complete_bundle(path, features=FeatureConfig(window="hamming")).hash,
        complete_bundle(path, label_scale=PESQ_NB).hash,
        complete_bundle(path, network="lc_att").hash,
    ]
    (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes() + b"\0")
    hashes.append(complete_bundle(path).hash)
    assert len(set(hashes)) == len(hashes)


def test_cause_limits_are_read_back_and_change_the_hash(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    default = complete_bundle(path, network="diagnostic_net")
    probability = {**default.cause_limits.probability, "hum": 0.25} if default.cause_limits else {}
    limits = CauseLimits(probability, CauseLimits.default().share)
    changed = complete_bundle(path, network="diagnostic_net", cause_limits=limits)
    assert open_bundle(path) == changed
    assert changed.cause_limits == limits
    assert changed.hash != default.hash


def test_an_edited_cause_limit_is_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    complete_bundle(path, network="diagnostic_net")
    limits = json.loads((path / CARD).read_text())["diagnosis"]
    edit(path, diagnosis={**limits, "share": {**limits["share"], "codec": 0.5}})
    assert "hash" in error_of(path)
    edit(path, diagnosis={"probability": {}, "share": {}})
    assert "cannot be read" in error_of(path)


def test_the_values_with_training_are_read_back_and_change_the_hash(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    whole = complete_bundle(path, network="diagnostic_net")
    assert open_bundle(path).trained == ALL_VALUES
    part = complete_bundle(path, network="diagnostic_net", trained=ALL_VALUES - {"mos_sig", "mos_bak", "mos_ovrl"})
    assert open_bundle(path) == part
    assert part.trained == ALL_VALUES - {"mos_sig", "mos_bak", "mos_ovrl"}
    assert part.hash != whole.hash
    assert complete_bundle(path, network="quality_net").trained == open_bundle(path).trained == frozenset()


def test_an_older_card_does_not_name_the_values_with_training_and_counts_as_trained_in_all(
    bundle_copy: CopyBundle,
) -> None:
    path = bundle_copy()
    written = complete_bundle(path, network="diagnostic_net")
    diagnosis = json.loads((path / CARD).read_text())["diagnosis"]
    assert diagnosis.pop("trained")[0] == "speech"
    edit(path, diagnosis=diagnosis)
    assert open_bundle(path) == written


def test_edited_values_with_training_are_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    complete_bundle(path, network="diagnostic_net", trained={"speech", "noise"})
    diagnosis = json.loads((path / CARD).read_text())["diagnosis"]
    assert diagnosis["trained"] == ["speech", "noise"]
    edit(path, diagnosis={**diagnosis, "trained": ["speech", "noise", "mos_ovrl"]})
    assert "hash" in error_of(path)
    edit(path, diagnosis={**diagnosis, "trained": ["speech", "wow"]})
    assert "'wow' is not a value of a diagnosis" in error_of(path)


@pytest.mark.parametrize(("network", "limits"), [("quality_net", CauseLimits.default()), ("diagnostic_net", None)])
def test_only_networks_with_a_diagnosis_have_cause_limits(bundle_copy: CopyBundle, network, limits) -> None:
    with pytest.raises(ValueError, match=network):
        complete_bundle(bundle_copy(), network=network, cause_limits=limits)


def test_nothing_else_changes_the_hash(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    elsewhere = Path(shutil.copytree(path, path.parent / "elsewhere"))
    expected = complete_bundle(path).hash
    assert complete_bundle(path, name="other").hash == expected
    assert complete_bundle(path, metrics={}).hash == expected
    assert complete_bundle(path, training={"best_epoch": 9}).hash == expected
    assert complete_bundle(elsewhere).hash == expected


# Errors.


def test_the_error_of_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(BundleError, match="no_such_model") as caught:
        open_bundle("no_such_model")
    assert all(name in str(caught.value) for name in bundled_names())


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    assert CARD in error_of(tmp_path / "nowhere")


def test_a_folder_without_a_card_is_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    (path / CARD).unlink()
    assert CARD in error_of(path)


def test_the_path_of_a_card_is_an_error(bundle_copy: CopyBundle) -> None:
    error_of(bundle_copy() / CARD)


def test_missing_weights_are_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    (path / WEIGHTS).unlink()
    assert WEIGHTS in error_of(path)


def test_a_changed_bit_in_the_weights_is_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    content = bytearray((path / WEIGHTS).read_bytes())
    content[len(content) // 2] ^= 1
    (path / WEIGHTS).write_bytes(content)
    assert WEIGHTS in error_of(path)


def test_truncated_weights_are_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    content = (path / WEIGHTS).read_bytes()
    (path / WEIGHTS).write_bytes(content[: len(content) // 2])
    assert WEIGHTS in error_of(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"label_scale": "pseudo"},
        {"network": "lc_att"},
        {"features": FeatureConfig(window="hamming").as_dict()},
        {"hash": "0123456789ab"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_edited_card_is_an_error(bundle_copy: CopyBundle, changes: dict[str, Any]) -> None:
    path = bundle_copy()
    edit(path, **changes)
    assert "does not match" in error_of(path)


def test_an_edited_hash_of_the_weights_is_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    edit(path, weights_sha256="0" * 64)
    error_of(path)


@pytest.mark.parametrize("version", [FORMAT + 1, 0, str(FORMAT), None])
def test_another_format_version_is_an_error(bundle_copy: CopyBundle, version: Any) -> None:
    path = bundle_copy()
    edit(path, format=version)
    assert "format" in error_of(path)


def test_the_format_version_is_checked_before_the_fields(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    (path / CARD).write_text(json.dumps({"format": FORMAT + 1}))
    assert f"format is {FORMAT + 1}" in error_of(path)


@pytest.mark.parametrize("field", ["sample_rate", "frame_length", "frame_shift"])
def test_another_frame_grid_is_an_error(bundle_copy: CopyBundle, field: str) -> None:
    path = bundle_copy()
    edit(path, features={**FeatureConfig().as_dict(), field: 123})
    assert "frame grid" in error_of(path)


def test_an_unknown_feature_is_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    edit(path, features={**FeatureConfig().as_dict(), "mel_bands": 40})
    assert "mel_bands" in error_of(path)


def test_an_unknown_label_scale_is_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    edit(path, label_scale="polqa")
    assert "polqa" in error_of(path)


@pytest.mark.parametrize(
    "field",
    ["format", "name", "hash", "network", "features", "label_scale", "metrics", "training", "weights_sha256"],
)
def test_a_card_without_a_field_is_an_error(bundle_copy: CopyBundle, field: str) -> None:
    path = bundle_copy()
    card = json.loads((path / CARD).read_text())
    del card[field]
    (path / CARD).write_text(json.dumps(card))
    assert field in error_of(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"7", b'"text"', b"{}", b"\xff\xfe\x00", b"\x89PNG\r\n"],
)
def test_content_that_is_not_a_card_is_an_error(bundle_copy: CopyBundle, content: bytes) -> None:
    path = bundle_copy()
    (path / CARD).write_bytes(content)
    error_of(path)


@pytest.mark.parametrize("features", [[], "hann", 3, None, {}])
def test_features_that_are_not_a_config_are_an_error(bundle_copy: CopyBundle, features: Any) -> None:
    path = bundle_copy()
    edit(path, features=features)
    error_of(path)


def test_an_unknown_network_is_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    complete_bundle(path, network="transformer_v9")
    error_of(path)


def test_an_unknown_feature_value_is_an_error(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    complete_bundle(path, features=FeatureConfig(compression="cube_root"))
    error_of(path)


# Imports.


@pytest.mark.parametrize("module", ["model.bundle", "model.features", "model.labels", "model.anomalies", "model"])
def test_reading_a_bundle_does_not_load_tensorflow(module: str, bundle_copy: CopyBundle) -> None:
    program = (
        f"import sys, {module}, model.bundle; model.bundle.open_bundle(sys.argv[1]); "
        "print([name for name in ('tensorflow', 'keras', 'apache_beam') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(bundle_copy())], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_label_scale_is_read_back(bundle_copy: CopyBundle) -> None:
    path = bundle_copy()
    for scale in LABEL_SCALES.values():
        assert complete_bundle(path, label_scale=scale).label_scale is open_bundle(path).label_scale
    assert PESQ_WB in LABEL_SCALES.values()


def test_a_bundle_whose_network_has_changed_is_refused_with_the_reason(
    random_bundles: dict[str, Path], tmp_path: Path
) -> None:
    """Before the sigmoid, the hash of `l_att` had no revision."""
    old = Path(shutil.copytree(random_bundles["l_att"], tmp_path / "old"))
    card = json.loads((old / CARD).read_text())
    card["hash"] = open_bundle(old).first_revision_hash
    assert card["hash"] != open_bundle(old).hash
    (old / CARD).write_text(json.dumps(card))
    with pytest.raises(
        BundleError, match=r"attention of l_att had no sigmoid.*train it again as l_att, or as l_att_linear"
    ):
        open_bundle(old)
    assert (
        open_bundle(random_bundles["quality_net"]).hash
        == open_bundle(random_bundles["quality_net"]).first_revision_hash
    )
