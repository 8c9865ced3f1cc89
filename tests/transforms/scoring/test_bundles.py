"""Bundles in other filesystems, and how workers find a bundle."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model.bundle import BUNDLED, CARD, DEFAULT, WEIGHTS, BundleError, open_bundle
from tests.support.storage.gcs_emulator import Bucket
from tests.support.storage.gcs_proxy import Proxy, first
from transforms.scoring.bundles import MODELS, bundle_reference, find_bundle, share_bundle
from transforms.scoring.inference import ScorerHandler


def test_a_bundle_in_a_bucket_is_downloaded_once_per_process(bucket: Bucket, proxy: Proxy) -> None:
    uri = bucket.upload(BUNDLED / DEFAULT, "models/mine")
    found = find_bundle(uri)
    assert (found.model_id, found.hash) == (open_bundle(DEFAULT).model_id, open_bundle(DEFAULT).hash)
    assert found.weights.read_bytes() == open_bundle(DEFAULT).weights.read_bytes()
    assert find_bundle(f"{uri}/") is found
    assert proxy.counts["read"] == 2


def test_concurrent_threads_share_one_download(bucket: Bucket, proxy: Proxy) -> None:
    proxy.fail = first(1, 503)
    uri = bucket.upload(BUNDLED / DEFAULT, "models/mine")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(find_bundle, [uri] * 4))
    assert {bundle.hash for bundle in found} == {open_bundle(DEFAULT).hash}
    assert all(bundle.weights.is_file() for bundle in found)
    assert {bundle.path for bundle in found} == {find_bundle(uri).path}


def test_bundled_and_local_bundles_are_opened_in_place(bundle: Path) -> None:
    assert find_bundle(DEFAULT) == open_bundle(DEFAULT)
    assert find_bundle(bundle) == open_bundle(bundle)


def test_workers_find_a_bundled_model_by_name_and_others_by_path(bucket: Bucket, bundle: Path) -> None:
    assert bundle_reference(open_bundle(DEFAULT), DEFAULT) == DEFAULT
    assert bundle_reference(open_bundle(BUNDLED / DEFAULT), str(BUNDLED / DEFAULT)) == DEFAULT
    assert bundle_reference(open_bundle(bundle), str(bundle)) == str(bundle)
    uri = bucket.upload(bundle, "models/mine")
    assert bundle_reference(find_bundle(uri), uri) == share_bundle(find_bundle(uri), uri, bucket / "out") == uri


def test_a_local_bundle_is_copied_to_the_output(bucket: Bucket, bundle: Path, tmp_path: Path) -> None:
    expected = open_bundle(bundle)
    for output in (bucket / "out", str(tmp_path / "out")):
        place = share_bundle(expected, str(bundle), output)
        assert place == f"{output}/{MODELS}/{expected.hash}"
        assert find_bundle(place).model_id == expected.model_id
        assert share_bundle(expected, str(bundle), output) == place
    names = [f"out/{MODELS}/{expected.hash}/{name}" for name in (CARD, WEIGHTS)]
    assert bucket.names("out/") == sorted(names)
    assert share_bundle(open_bundle(DEFAULT), DEFAULT, bucket / "out") == DEFAULT


def test_an_incomplete_copy_is_replaced(bucket: Bucket, bundle: Path) -> None:
    expected = open_bundle(bundle)
    bucket.write(f"out/{MODELS}/{expected.hash}/{WEIGHTS}", "half of")
    place = share_bundle(expected, str(bundle), bucket / "out")
    assert find_bundle(place).hash == expected.hash
    assert ScorerHandler(place, 1, expected.hash).load_model().bundle.hash == expected.hash


def test_a_worker_refuses_another_bundle_than_the_job_was_started_with(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    with pytest.raises(BundleError, match="the job was started with @0123456789ab"):
        ScorerHandler(str(copy), 1, "0123456789ab").load_model()
