"""`audiosieve train`, end to end: a labelled set becomes a bundle that scores."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from model.bundle import open_bundle
from pipelines.train import parse
from tests.support.command import Output, audiosieve
from tests.support.training.training_material import synthesize, write_folders

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def labelled(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 40 clips with pseudo-scores."""
    root = tmp_path_factory.mktemp("set")
    synthesize(write_folders(root / "material", samples), root / "set")
    return root / "set"


@pytest.mark.parametrize("network", ["quality_net", "lc_att"])
def test_a_set_becomes_a_bundle_that_scores(network: str, labelled: Path, samples: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "mine"
    common = ["--data", labelled, "--output", bundle, "--label", "pseudo", "--network", network, "--batch_size", 8]
    audiosieve("train", *common, "--epochs", 1)
    done = audiosieve("train", *common, "--epochs", 2, "--resume")
    assert f"use it as --model {bundle}" in done.stdout
    assert "epoch 2 of 2" in done.stderr
    assert "epoch 1 of" not in done.stderr
    card = open_bundle(bundle)
    assert (card.name, card.network, card.label_scale.name) == ("mine", network, "pseudo")
    assert [epoch["epoch"] for epoch in card.training["history"]] == [1, 2]
    audiosieve("score", "--input", samples, "--model", bundle, "--output", tmp_path / "out")
    out = Output(tmp_path / "out")
    assert {row["model_id"] for row in out.utterances} == {card.model_id}
    assert len(out.utterances) == 8


def test_training_mistakes_end_with_one_sentence(labelled: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("keep me")
    for options, sentence in (
        (["--data", tmp_path, "--output", tmp_path / "b"], "no finished training set"),
        (["--data", labelled, "--output", full], "is not empty"),
        (
            ["--data", labelled, "--output", tmp_path / "b", "--label", "pesq-wb"],
            "the split 'train' has no clip with the label pesq-wb",
        ),
        (["--data", labelled, "--output", tmp_path / "c", "--network", "resnet"], "invalid choice"),
        (
            ["--data", labelled, "--output", tmp_path / "c", "--epoch", "3"],
            "unknown option --epoch (did you mean --epochs?)",
        ),
        (["--data", labelled, "--output", tmp_path / "c", "--resume"], "there is nothing to continue"),
        (["--data", labelled, "--output", tmp_path / "c", "--start", "nothing"], "no model 'nothing'"),
        (
            ["--data", labelled, "--output", tmp_path / "c", "--average", "1"],
            "--average is 1; must be at least 0 and under 1",
        ),
        (["--data", labelled, "--output", tmp_path / "c", "--clip_norm", "0"], "--clip_norm is 0; must be over 0"),
        (["--data", labelled, "--output", tmp_path / "c", "--patience", "0"], "--patience is 0; must be at least 1"),
        (
            ["--data", labelled, "--output", tmp_path / "c", "--loss", "frames", "--label", "pseudo"],
            "--loss frames needs --label pesq-wb",
        ),
    ):
        done = audiosieve("train", *options, status=2)
        assert sentence in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_service_recipe_leads_from_folders_to_a_bundle(samples: Path, tmp_path: Path) -> None:
    speech, noise = write_folders(tmp_path / "material", samples)
    words = ["--recipe", "service", "--speech", speech, "--noise", noise, "--output", tmp_path / "mine", "--clips", 24]
    done = audiosieve("train", *words, "--epochs", 1, "--batch_size", 8)
    assert re.search(r"LCC -?[01]\.\d+, .* on the split val", done.stdout)
    card = open_bundle(tmp_path / "mine")
    assert (card.network, card.label_scale.name) == ("quality_net", "pesq-wb")
    options = card.training["options"]
    assert (options["loss"], options["learning_rate"], options["decay"]) == ("weighted", 1e-3, 1.0)
    rows = pq.read_table(tmp_path / "mine" / "set" / "clips").to_pylist()
    assert len({row["snr_db"] for row in rows}) > 10
    assert all(len(row["noise_ids"]) <= 1 and row["pesq_wb"] is not None for row in rows)
    # A resumed training has the same set.
    done = audiosieve("train", *words, "--epochs", 2, "--batch_size", 8, "--resume")
    assert "making" not in done.stderr
    assert "epoch 2 of 2" in done.stderr
    done = audiosieve("train", *words, "--clips", 25, "--resume", status=2)
    assert "set was made with other options (--clips was 24, now 25)" in done.stderr


def test_a_recipe_and_a_set_exclude_each_other(labelled: Path, tmp_path: Path) -> None:
    for options, sentence in (
        ([], "name the training set with --data, or make it with --recipe"),
        (["--recipe", "service", "--data", labelled], "leave out --data"),
        (["--recipe", "service", "--speech", labelled], "needs --speech and --noise"),
        (["--data", labelled, "--noise", labelled], "no effect without --recipe"),
    ):
        done = audiosieve("train", "--output", tmp_path / "b", *options, status=2)
        assert sentence in done.stderr
    assert parse(["--recipe", "service", "--speech", "s", "--noise", "n", "--output", "o"]).shuffle_clips == 1000
    assert parse(["--recipe", "service", "--output", "o", "--decay", "0.9"]).decay == 0.9
