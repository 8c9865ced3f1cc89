"""Each degradation says as which causes it is heard, and whether its strength is audible."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from model.diagnosis import HEARD_CAUSES
from model.features import SAMPLE_RATE
from transforms.elements import AudioRef
from transforms.synthesis.degradations.base import Degraded, HeardCause, heard_spans
from transforms.synthesis.degradations.codecs import Coding
from transforms.synthesis.degradations.concealment import Concealment
from transforms.synthesis.degradations.disturbances import Handling, Plosives, Wind
from transforms.synthesis.degradations.dynamics import GainControl, Gate
from transforms.synthesis.degradations.echo import AcousticEcho
from transforms.synthesis.degradations.kinds import DEGRADATIONS
from transforms.synthesis.degradations.recording import BandLimit, Clipping, DcOffset, Hum, Reverb
from transforms.synthesis.degradations.suppression import Suppression
from transforms.synthesis.degradations.transmission import Codec, Dropouts, Mnru, PacketLoss
from transforms.synthesis.degradations.upsampling import Interpolation, Upsampled
from transforms.synthesis.rooms import RecordedRoom

WIDE, NARROW = 16_000, 8_000
HEARD = [
    (Hum(50.0, 10.0, (1.0,), (0.0,)), [("hum", True)]),
    (Hum(50.0, 30.0, (1.0,), (0.0,)), [("hum", None)]),
    (Hum(50.0, 40.0, (1.0,), (0.0,)), [("hum", False)]),
    (BandLimit(300.0, 3_400.0), [("band_limit", True)]),
    (BandLimit(0.0, 5_500.0), [("band_limit", True)]),
    (BandLimit(0.0, 6_500.0), [("band_limit", None)]),
    (Clipping(10.0), [("clipping", True)]),
    (Clipping(2.0), [("clipping", None)]),
    (DcOffset(0.3), [(None, False)]),
    (Wind(-5.0, 200.0, 0.0, 0), [("noise", True)]),
    (Wind(30.0, 200.0, 6.0, 0), [("noise", None), ("clipping", None)]),
    (Handling(40.0, 3, 0), [("noise", False)]),
    (Plosives(0.0, 0.5, 0), [("noise", True)]),
    (AcousticEcho(-10.0, 0.06, False, 300.0, 4_000.0, 0.3, 0), [("reverberation", True)]),
    (AcousticEcho(-10.0, 0.06, True, 300.0, 4_000.0, 0.3, 0), [("second_voice", True)]),
    (AcousticEcho(-10.0, 0.3, False, 300.0, 4_000.0, 0.3, 0), [("second_voice", True)]),
    (AcousticEcho(-10.0, 0.12, False, 300.0, 4_000.0, 0.3, 0), [("second_voice", None)]),
    (AcousticEcho(-40.0, 0.12, False, 300.0, 4_000.0, 0.3, 0), [("second_voice", False)]),
    (Suppression("wiener", 10.0, -30.0), [("codec", True)]),
    (Suppression("wiener", 10.0, -12.0), [("codec", None)]),
    (GainControl(20.0, -5.0, 0.02, 0.3), [("noise", None)]),
    (GainControl(6.0, -5.0, 0.02, 0.3), [("noise", False)]),
    (Gate(-20.0, 0.01, -50.0), [("dropouts", True)]),
    (Gate(-20.0, 0.01, -12.0), [("dropouts", None)]),
    (Codec(Coding("opus", WIDE, 12)), [("codec", True)]),
    (Codec(Coding("opus", WIDE, 64)), [("codec", False)]),
    (Codec(Coding("vorbis", WIDE, -0.1)), [("codec", True)]),
    (Codec(Coding("gsm", NARROW)), [("codec", True), ("band_limit", True)]),
    (Codec(Coding("mu-law", NARROW)), [("codec", None), ("band_limit", True)]),
    (Codec(Coding("g.722", WIDE, 64)), [("codec", None)]),
    (Codec(Coding("mp3", WIDE, 16)), [("codec", True), ("band_limit", True)]),
    (Mnru(10.0, 0), [("noise", True)]),
    (Mnru(34.0, 0), [("noise", None)]),
    (Mnru(45.0, 0), [("noise", False)]),
    (Upsampled(8_000, Interpolation.HOLD, False), [("band_limit", True)]),
    (PacketLoss(0.1, 1.0, Concealment.SILENT, 0), [("dropouts", True)]),
    *((PacketLoss(0.1, 1.0, concealed, 0), [("codec", True)]) for concealed in list(Concealment)[1:]),
    (Dropouts(((0.5, 0.1), (0.7, 0.005))), [("dropouts", True)]),
    (Dropouts(((0.5, 0.005),)), [("dropouts", None)]),
]


@pytest.mark.parametrize(("degradation", "expected"), HEARD, ids=lambda value: getattr(value, "KIND", ""))
def test_causes_and_audibility(degradation, expected):
    assert degradation.heard == tuple(HeardCause(cause, audible) for cause, audible in expected)
    assert {cause for cause, _ in expected} <= {*HEARD_CAUSES, None}


@pytest.mark.parametrize(("late_db", "audible"), [(0.0, True), (-25.0, None), (-40.0, False)])
def test_a_room_is_heard_by_its_clarity(late_db, audible, tmp_path):
    response = np.zeros(2_000)
    response[[10, 1_500]] = 0.5, 0.5 * 10 ** (late_db / 20)
    soundfile.write(tmp_path / "room.wav", response, SAMPLE_RATE, subtype="FLOAT")
    room = RecordedRoom(AudioRef("room.wav", str(tmp_path / "room.wav"), 1, "1"))
    assert Reverb(room).heard == (HeardCause("reverberation", audible),)


@pytest.mark.parametrize(("gap_db", "expected"), [(-10.0, True), (-50.0, None), (-70.0, False)])
def test_a_gap_is_heard_in_speech_and_not_in_a_silent_pause(gap_db, expected):
    before = np.random.default_rng(0).normal(0, 0.1, 8_000)
    before[3_000:4_000] *= 10 ** (gap_db / 20)
    after = before.copy()
    after[3_000:4_000] = 0.0
    heard = (HeardCause("dropouts"), HeardCause("codec", False))
    found = list(heard_spans(heard, before, Degraded(after, ((3_000, 4_000),))))
    assert [item for _, item in found] == [HeardCause("dropouts", expected), HeardCause("codec", False)]
    assert {span for span, _ in found} == {(3_000, 4_000)}


def test_the_table_has_all_kinds():
    assert {degradation.KIND for degradation, _ in HEARD} | {Reverb.KIND} == set(DEGRADATIONS)
