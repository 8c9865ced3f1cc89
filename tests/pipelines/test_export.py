"""`audiosieve export`: its model runs without our code, and scores all frames of a recording as our scorer does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.bundle import DEFAULT, open_bundle
from model.features import spectrogram
from tests.model.inference.test_waveform_model import run_exported
from tests.support.command import Output, audiosieve
from transforms.audio.decode import read_audio
from transforms.scoring.inference import load_scorer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "audiosieve" / "1"
    done = audiosieve("export", "--output", path)
    assert f"{open_bundle(DEFAULT).model_id} is in {path}" in done.stdout
    assert [found.name for found in path.parent.iterdir()] == ["1"], "no draft is left"
    return path


def heard(samples: Path, names: list[str]) -> tuple[np.ndarray, list[int]]:
    """Recordings side by side, as whoever calls the model would decode them."""
    waveforms = [read_audio(str(samples / name)).samples for name in names]
    lengths = [len(waveform) for waveform in waveforms]
    found = np.zeros((len(names), max(lengths)), np.float32)
    for row, waveform in zip(found, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return found, lengths


def test_all_samples_in_one_call_have_the_scores_of_all_their_frames(exported, samples, sample_run: Output, tmp_path):
    names = sorted(sample_run.scores)
    waveforms, lengths = heard(samples, names)
    found = run_exported(exported, tmp_path, waveforms, lengths)
    scorer = load_scorer(DEFAULT)
    for place, length in enumerate(lengths):
        # The pipeline scores the active part only, so the scores of its output are others.
        (estimates,) = scorer.score([spectrogram(waveforms[place, :length], scorer.bundle.features)])
        expected = estimates.score
        assert found["num_frames"][place] == len(expected)
        np.testing.assert_allclose(found["frame_score"][place, : len(expected)], expected, atol=1e-3)
        assert found["score"][place] == pytest.approx(scorer.pool(expected), abs=1e-3)
    # Only the order of clearly different scores is the same.
    in_pipeline = np.array([sample_run.scores[name] for name in names])
    lower = in_pipeline[:, None] < in_pipeline - 0.1
    assert (found["score"][:, None] < found["score"])[lower].all()


def test_the_card_is_beside_it(exported):
    card = json.loads((exported / "assets.extra" / "bundle.json").read_text())
    assert card["hash"] == open_bundle(DEFAULT).hash


def test_the_signature_is_what_was_promised(exported):
    import tensorflow as tf

    signature = tf.saved_model.load(str(exported)).signatures["serving_default"]
    taken = {name: (spec.dtype, spec.shape.rank) for name, spec in signature.structured_input_signature[1].items()}
    given = {name: (spec.dtype, spec.shape.rank) for name, spec in signature.structured_outputs.items()}
    assert taken == {"waveforms": (tf.float32, 2), "lengths": (tf.int32, 1)}
    scores = {"score": (tf.float32, 1), "frame_score": (tf.float32, 2), "num_frames": (tf.int32, 1)}
    assert given == {**scores, "diagnosis": (tf.float32, 3)}


def test_a_model_is_replaced_only_if_asked_and_nothing_else_is(tmp_path):
    target = tmp_path / "model"
    audiosieve("export", "--output", target, "--model", "quality_net_v1")
    before = (target / "assets.extra" / "bundle.json").read_text()
    assert "already exists" in audiosieve("export", "--output", target, status=2).stderr
    assert (target / "assets.extra" / "bundle.json").read_text() == before
    audiosieve("export", "--output", target, "--overwrite")
    assert (target / "assets.extra" / "bundle.json").read_text() != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = audiosieve("export", "--output", tmp_path / "mine", "--overwrite", status=2)
    assert "is a folder without a model" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model"]


def test_what_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    done = audiosieve("export", "--output", "gs://bucket/model", status=2)
    assert "must be on this machine" in done.stderr
    assert "cannot be written" in audiosieve("export", "--output", tmp_path / "file" / "model", status=2).stderr
    assert (
        "no model 'nothing'" in audiosieve("export", "--output", tmp_path / "a", "--model", "nothing", status=2).stderr
    )


@pytest.mark.timeout(900)  # the converter takes its time
def test_an_onnx_file_says_whose_it_is(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "audiosieve.onnx"
    audiosieve("export", "--format", "onnx", "--output", path, "--model", "quality_net_v1")
    told = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map
    )
    assert told["model_id"] == open_bundle("quality_net_v1").model_id
    assert (told["label_scale"], told["low"], told["high"]) == ("pesq-wb", "1.0", "4.64")
    assert [found.name for found in tmp_path.iterdir()] == ["audiosieve.onnx"]
