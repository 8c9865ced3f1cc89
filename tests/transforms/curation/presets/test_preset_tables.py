"""The tables of what presets keep of labelled sets."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from model.evaluation.scored_clips import Clip
from tests.benchmarks import presets
from tests.support.curated import utterance
from tests.support.outputs import write_output
from tests.support.training.diagnosed_clips import distortion, speech
from tests.support.training.labelled_set import make_clip, write_set
from transforms.curation.presets.presets import PRESETS
from transforms.output.results import Results, open_results


def clips() -> dict[str, Clip]:
    """Clips of which each group of the tables has some."""
    as_is = {"known": False, "speech": None, "ratings": {"mos_ovrl": 3.4}}
    return {
        "clean": speech(0, c50_db=None),
        "noise": speech(1, "noise", speech_snr_db=12.0),
        "music": speech(2, "music", speech_snr_db=5.0),
        "both": speech(3, "noise", "codec", speech_snr_db=12.0),
        "faint": speech(4, distortions=(distortion("noise", audible=False),), speech_snr_db=45.0),
        "room": speech(5, "reverberation", c50_db=-2.0),
        "none": speech(6, speech=(), ratings={"mos_ovrl": 1.5}),
        "real": speech(7, **as_is),
        "lost": speech(8),
    }


@pytest.fixture
def results(tmp_path: Path) -> Results:
    heard = {
        "noise": {"snr_db": 12.0, "mos_ovrl": 2.0},
        "music": {"spans": {"music": [(0, 240)]}},
        "both": {"snr_db": 12.0},
        "room": {"c50_db": -2.0},
        "none": {"speech": 0.0, "mos_ovrl": 1.5},
        "real": {"mos_ovrl": 2.8},
    }
    items = [utterance(name, heard=heard.get(name)) for name in clips() if name != "lost"]
    return open_results(str(write_output(tmp_path / "out", items)))


def row(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_each_group_has_its_clips_and_the_share_that_is_kept(results: Results) -> None:
    text = presets.report(clips(), results)
    assert text.startswith("8 of 9 clips have a score by some_net@0123456789ab.")
    assert row(text, "speech in noise, by SNR") == ["clips", *(f"`{preset}`" for preset in PRESETS)]
    assert row(text, "no noise, no fault") == ["1", *["100%"] * 5]
    assert row(text, "from 30 dB")[0] == "1"
    assert row(text, "10 to 20 dB") == ["1", "0%", "100%", "0%", "100%", "0%"]
    assert row(text, "music") == ["1", "0%", "0%", "0%", "0%", "100%"]
    assert row(text, "under 0 dB") == ["1", "0%", "0%", "0%", "0%", "100%"]
    assert row(text, "no speech") == ["1", "0%", "0%", "0%", "0%", "0%"]
    assert row(text, "real recordings") == ["1", "0%", "100%", "0%", "100%", "0%"]
    assert "codec" not in text
    assert (
        "all clips: 50.0% of 2 decisions are the same; of those kept, DNSMOS keeps none; of those that DNSMOS" in text
    )
    assert "real recordings: 0.0% of 1 decisions are the same" in text


def test_a_preset_that_cannot_be_used_has_no_shares(tmp_path: Path) -> None:
    items = [utterance("clean", diagnosed=False)]
    text = presets.report(clips(), open_results(str(write_output(tmp_path / "out", items))))
    assert row(text, "no noise, no fault") == ["1", *["100%"] * 4, "-"]
    assert "emilia: the preset emilia needs mos_ovrl" in text
    assert "tts: not applied, for lack of data: rating (mos_ovrl), noise (snr_db)" in text


def test_the_bands_cover_every_value_once() -> None:
    for lowest in (presets.SNR_BANDS, presets.C50_BANDS):
        found = presets.bands(lowest)
        for value in (-100.0, -0.1, 0.0, 9.9, 10.0, 20.0, 29.9, 30.0, 100.0):
            assert sum(low <= value < high for _, low, high in found) == 1


@pytest.mark.slow
def test_a_set_is_scored_and_measured(samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, _ = soundfile.read(samples / "clean.flac")
    rows = [make_clip(clean, number, snr, None) for number, snr in enumerate([None, None, 0.0, 5.0, 20.0])]
    for made in rows:
        noise = [{**item, "cause": "noise", "audible": True} for item in made["distortions"]]
        end_s = made["duration_s"]
        made |= {"distortions": noise, "speech": [{"start_s": 0.0, "end_s": end_s}], "speech_snr_db": made["snr_db"]}
    root = write_set(tmp_path / "set", rows)
    for _ in range(2):
        presets.main([str(root), "--output", str(tmp_path / "work")])
    text = capsys.readouterr().out
    assert "5 scored, 0 rejected" in text
    assert "5 skipped as already done" in text
    last = text[text.rindex("5 of 5 clips have a score") :]
    assert row(last, "no noise, no fault")[:3] == ["2", "100%", "100%"]
    assert row(last, "0 to 10 dB")[:2] == ["2", "0%"]
