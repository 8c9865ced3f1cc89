"""A clip that is a part of a recording as it is holds its samples unchanged, and claims nothing about its flaws."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from model.features import SAMPLE_RATE
from tests.support.speech_like import in_16_bits
from tests.support.training.clip_options import OPTIONS
from transforms.elements import AudioRef
from transforms.errors import AudioFault, Reason
from transforms.schemas import CLIPS
from transforms.synthesis.as_is import is_as_is, make_excerpt, plan_excerpt
from transforms.synthesis.clip_plan import plan_clip
from transforms.synthesis.clips import MakeClip
from transforms.synthesis.labels.teachers import missing_packages
from transforms.synthesis.materials import NOISE, RECORDING, SPEECH, Catalog, Material, measure_length


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Writes samples as a file, and returns its material, not measured."""
    root = tmp_path_factory.mktemp("recordings")

    def write(name: str, samples: np.ndarray, kind: str = RECORDING, split: str = "train") -> Material:
        soundfile.write(root / f"{name}.flac", samples, SAMPLE_RATE)
        ref = AudioRef(f"{name}.flac", str(root / f"{name}.flac"), 1, "1-1", columns={"corpus": "street"})
        return Material(ref, kind, f"{name}-group", split)

    return write


@pytest.fixture(scope="module")
def sounds(make_speech) -> dict[str, np.ndarray]:
    """Two recordings: noisy speech with an offset, which is no reference, and 2.3 s of speech."""
    noise = np.random.default_rng(1).normal(0, 0.02, 5 * SAMPLE_RATE)
    return {"noisy": in_16_bits(0.2 * make_speech(5.0) + noise + 0.1), "short": in_16_bits(make_speech(2.3))}


@pytest.fixture(scope="module")
def catalog(write, sounds) -> Catalog:
    recordings = [write(name, samples, split="val") for name, samples in sounds.items()]
    others = [
        write("reference", sounds["short"], SPEECH),
        write("noise", np.random.default_rng(2).normal(0, 0.1, 20_000), NOISE),
    ]
    return Catalog(measure_length(item, min_dynamic_range_db=38.0) for item in (*recordings, *others))


def test_a_part_is_an_unchanged_piece_of_its_recording(catalog, sounds):
    offsets = set()
    for number in range(20):
        excerpt = plan_excerpt(number, catalog, OPTIONS)
        row = make_excerpt(excerpt)
        audio = soundfile.read(io.BytesIO(row["audio"]), dtype="float32")[0]
        recording = sounds[row["speech_id"].removesuffix(".flac")]
        assert np.array_equal(audio, recording[excerpt.offset : excerpt.offset + excerpt.length])
        assert row["duration_s"] == len(audio) / SAMPLE_RATE <= OPTIONS.duration_s[1]
        assert row["peak_dbfs"] == pytest.approx(20 * np.log10(np.abs(audio).max()))
        assert (row["split"], row["corpus"]) == ("val", "street")
        assert plan_excerpt(number, catalog, OPTIONS) == excerpt
        offsets.add(excerpt.offset)
    assert len(offsets) > 5


def test_its_flaws_and_labels_are_unknown(catalog):
    row = make_excerpt(plan_excerpt(3, catalog, OPTIONS))
    (stored,) = pa.Table.from_pylist([row], CLIPS).to_pylist()
    for column in ("distortions", "speech", "pesq_wb", "disturbance", "snr_db", "speech_snr_db", "c50_db", "reference"):
        assert stored[column] is None


def test_a_share_of_the_clips_is_as_it_is_and_the_others_do_not_change(catalog):
    options = dataclasses.replace(OPTIONS, as_is_ratio=0.4)
    taken = [number for number in range(1_000) if is_as_is(number, options)]
    assert len(taken) == pytest.approx(400, abs=60)
    assert not any(is_as_is(number, OPTIONS) for number in range(20))
    assert plan_clip(1, catalog, options) == plan_clip(1, catalog, OPTIONS)


def test_all_of_them_are_rated_and_a_share_of_the_others(catalog):
    if missing := missing_packages(["dnsmos"]):
        pytest.skip(f"DNSMOS is not installed: {', '.join(missing)}")
    # Clips of this length fill one window of DNSMOS when they are doubled, which keeps the test short.
    ratios = {"as_is_ratio": 0.5, "teacher_ratio": 0.0}
    options = dataclasses.replace(OPTIONS, duration_s=(2.3, 2.4), teachers=("dnsmos",), **ratios)
    make = MakeClip(options)
    rows = [row for number in range(6) for row in make.process(number, catalog)]
    rated = [row for row in rows if row.get("mos_ovrl") is not None]
    assert 0 < len(rated) < len(rows)
    assert [row["clip_id"] for row in rated] == [row["clip_id"] for row in rows if row["distortions"] is None]
    assert all(1.0 < row[column] < 5.0 for row in rated for column in ("mos_sig", "mos_bak", "mos_ovrl"))


def test_a_recording_that_is_too_short_is_rejected_before_it_is_drawn(write):
    with pytest.raises(AudioFault) as caught:
        measure_length(write("blip", np.random.default_rng(3).normal(0, 0.1, 3_999)), min_dynamic_range_db=38.0)
    assert caught.value.reason == Reason.TOO_SHORT


def test_a_part_of_digital_silence_is_rejected(write):
    silence = np.zeros(16_000)
    silence[-1] = 0.5  # a recording without any sound is rejected when it is decoded
    recording = measure_length(write("silence", silence), min_dynamic_range_db=38.0)
    excerpt = dataclasses.replace(plan_excerpt(0, Catalog([recording]), OPTIONS), offset=0, length=8_000)
    with pytest.raises(AudioFault) as caught:
        make_excerpt(excerpt)
    assert caught.value.reason == Reason.SILENT


def test_without_recordings_there_is_a_reject():
    with pytest.raises(AudioFault) as caught:
        plan_excerpt(0, Catalog([]), OPTIONS)
    assert caught.value.reason == Reason.NO_MATERIAL
