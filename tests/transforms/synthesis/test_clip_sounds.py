"""Clips with music, second voices or rooms, and clips without speech, have the truth that their sounds give."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from model.diagnosis import HEARD_CAUSES
from model.features import SAMPLE_RATE
from model.labels import PESQ_WB, PSEUDO
from tests.support.training.clip_options import RICH_OPTIONS, options, samples_of
from transforms.elements import AudioRef
from transforms.schemas import CLIPS
from transforms.synthesis.added_sounds import SoundPlan, SoundSegment
from transforms.synthesis.clip_plan import plan_clip
from transforms.synthesis.clips import make_clip
from transforms.synthesis.degradations.kinds import DEGRADATIONS
from transforms.synthesis.degradations.recording import Reverb
from transforms.synthesis.materials import Catalog
from transforms.synthesis.rooms import RecordedRoom
from transforms.synthesis.speech_variation import SmallRoom


def test_any_plan_can_be_made_and_records_its_distortions(recordings):
    pytest.importorskip("pyroomacoustics")
    catalog = Catalog(recordings[name] for name in ("speech", "other", "noise", "music"))
    kinds = Counter()
    everything = dataclasses.replace(RICH_OPTIONS, degradation_ratio=1.0, max_degradations=5)
    for number in range(80):
        plan = plan_clip(number, catalog, everything)
        row = make_clip(plan, everything)
        assert len(samples_of(row)) == plan.length
        assert number > 20 or make_clip(plan, everything) == row
        for distortion in row["distortions"]:
            assert 0 <= distortion["start_s"] < distortion["end_s"] <= row["duration_s"]
            assert distortion["cause"] in (*HEARD_CAUSES, None)
        ends = [end for span in row["speech"] for end in (span["start_s"], span["end_s"])]
        assert ends == sorted(ends)
        assert not ends or 0 <= ends[0] < ends[-1] <= row["duration_s"]
        assert bool(ends) == plan.has_speech
        kinds.update({distortion["kind"] for distortion in row["distortions"]})
        pa.Table.from_pylist([row], CLIPS).validate(full=True)
    assert {*DEGRADATIONS, "noise", "music", "second_voice", "tones", "noise_floor"} == set(kinds)


def test_a_clip_without_speech_has_no_label_and_no_speaker(recordings):
    pytest.importorskip("pesq")
    everything = options(PESQ_WB, PSEUDO, no_speech_ratio=1.0, keep_reference=True)
    catalog = Catalog([recordings["speech"], recordings["noise"], recordings["music"]])
    for number in range(12):
        row = make_clip(plan_clip(number, catalog, everything), everything)
        unknown = {
            "pesq_wb",
            "pseudo",
            "snr_db",
            "disturbance",
            "asymmetric_disturbance",
            "speech_snr_db",
            "c50_db",
        }
        assert not any(row.get(name) is not None for name in {*unknown, "reference", "corpus"})
        assert (row["speech"], row["speech_id"], row["speaker"], row["split"]) == ([], "", "", "train")
        table = pa.Table.from_pylist([row], CLIPS)
        assert not any(table[field.name].null_count for field in CLIPS if not field.nullable)
        peak_dbfs = 20 * np.log10(np.abs(samples_of(row)).max())
        assert peak_dbfs == pytest.approx(row["peak_dbfs"], abs=0.1 if row["peak_dbfs"] > -50 else 3.0)


def test_music_or_a_second_voice_lowers_pesq_and_leaves_no_pseudo_score(plans, recordings):
    pytest.importorskip("pesq")
    for name in ("music", "other"):
        sound = SoundPlan((SoundSegment(recordings[name], 0, 0.0, None),), 0, plans[1].length, 0.0)
        changes = {"music" if name == "music" else "second_voice": sound}
        row = make_clip(dataclasses.replace(plans[1], **changes), options(PESQ_WB, PSEUDO, max_disagreement=5.0))
        assert row["pesq_wb"] < 4.0
        assert row["pseudo"] is None
        assert row["snr_db"] is None
        assert row["speech_snr_db"] is not None


def test_the_clarity_is_that_of_all_rooms(plans, tmp_path):
    response = np.zeros(4_000)
    response[[10, 3_000]] = 1.0, 0.1
    soundfile.write(tmp_path / "echo.wav", response, SAMPLE_RATE, subtype="FLOAT")
    room = RecordedRoom(AudioRef("echo.wav", str(tmp_path / "echo.wav"), 1, "1"))
    plan = plans[1]
    assert make_clip(plan, options())["c50_db"] is None
    once = dataclasses.replace(plan, degradations=(Reverb(room),))
    assert make_clip(once, options())["c50_db"] == pytest.approx(20.0, abs=0.01)
    twice = dataclasses.replace(once, variations=(SmallRoom(room),))
    # Two echoes of 0.1 coincide, and that of the echo is 0.01.
    assert make_clip(twice, options())["c50_db"] == pytest.approx(-10 * np.log10(0.2**2 + 0.01**2), abs=0.01)
