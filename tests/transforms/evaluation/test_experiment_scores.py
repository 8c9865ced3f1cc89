"""Scores of an experiment: threshold from the training clips, and the kept scores."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model.features import SAMPLE_RATE, FeatureConfig
from model.frame_estimates import FrameEstimates
from model.labels import PSEUDO, pseudo_score
from transforms.corpus.sources import SourceError
from transforms.elements import AudioRef
from transforms.evaluation.experiment import make_clips, make_example, write_example, write_set
from transforms.evaluation.experiment_scores import predict, read_predictions, write_predictions
from transforms.synthesis.materials import Material


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_speech) -> tuple[Path, Path]:
    """A set of one utterance and one noise in each split, and an example."""
    root = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    items: dict[str, list[Material]] = {"speech": [], "noise": []}
    for split in ("train", "val", "test"):
        for kind, of_kind in items.items():
            samples = make_speech(1.2, seed=1) if kind == "speech" else 0.1 * rng.standard_normal(9_000)
            file = root / f"{kind}-{split}.flac"
            soundfile.write(file, samples, SAMPLE_RATE)
            of_kind.append(Material(AudioRef(file.name, str(file), 1, "1-1"), kind, split, split, len(samples)))
    write_set(root / "set", make_clips(items["speech"], items["noise"], 5, 1.0), 8)
    write_example(root / "example.parquet", make_example(items["speech"], items["noise"], 5, 1.0))
    return root / "set", root / "example.parquet"


def loudness() -> types.SimpleNamespace:
    """Scores a frame by its mean level, and records the number of scored clips."""
    scored: list[int] = []

    def score(spectrograms):
        scored.append(len(spectrograms))
        return [FrameEstimates(spectrogram.mean(axis=1), None) for spectrogram in spectrograms]

    bundle = types.SimpleNamespace(features=FeatureConfig(), label_scale=PSEUDO)
    return types.SimpleNamespace(score=score, scored=scored, bundle=bundle)


def test_the_threshold_is_of_the_training_clips_and_the_scores_of_the_test_clips(made) -> None:
    scorer = loudness()
    found = predict(*made, scorer).test
    assert sum(scorer.scored) == 6 + 6 + 1  # none of the validation clips
    assert {clip.split for clip in found.clips} == {"test"}
    assert found.label == pytest.approx([pseudo_score(clip.snr_db) for clip in found.clips])
    assert found.clean.sum() == 1
    assert found.threshold is not None


def test_the_kept_scores_are_means_over_all_frames(made, tmp_path) -> None:
    predictions = predict(*made, loudness())
    write_predictions(tmp_path / "net.parquet", predictions)
    rows = read_predictions(tmp_path / "net.parquet")
    assert [row["split"] for row in rows] == ["test"] * 6 + ["example"]
    assert [row["score"] for row in rows[:6]] == pytest.approx(predictions.test.score)
    for row in rows:
        assert len(row["frame_score"]) == 61  # of 1 s
        assert row["score"] == pytest.approx(np.mean(row["frame_score"]), abs=1e-5)


def test_without_a_finished_set_it_says_so(made, tmp_path) -> None:
    with pytest.raises(SourceError, match="no finished labelled set"):
        predict(tmp_path, made[1], loudness())
