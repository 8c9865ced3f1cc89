"""Rooms have the requested reverberation, and keep the level and the position of the direct sound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from transforms.elements import AudioRef
from transforms.errors import AudioFault
from transforms.synthesis.rooms import (
    BANK_ROOMS,
    CLOSE_M,
    FAR_M,
    MAX_RT60_S,
    MIN_RT60_S,
    RecordedRoom,
    bank,
    clarity_db,
    direct_sound,
    draw_room,
    impulse_response,
    reverberate,
    simulate,
    simulation_installed,
)

needs_simulation = pytest.mark.skipif(not simulation_installed(), reason="needs the extra `train`")


def decay_s(response: np.ndarray) -> float:
    """Measures RT60 by a line through -5 to -25 dB of the remaining energy (Schroeder's integral)."""
    rest = np.cumsum(np.square(response[::-1].astype(np.float64)))[::-1]
    level = 10 * np.log10(rest / rest[0])
    part = np.flatnonzero((level <= -5) & (level >= -25))
    return -60 / np.polyfit(part / SAMPLE_RATE, level[part], 1)[0]


@given(
    seed=st.integers(0, 10_000),
    rt60_s=st.floats(MIN_RT60_S, MAX_RT60_S),
    distance_m=st.sampled_from([CLOSE_M, FAR_M]),
)
def test_source_and_microphone_are_apart_in_a_possible_room(seed, rt60_s, distance_m):
    room = draw_room(np.random.default_rng(seed), rt60_s, distance_m)
    for position in (room.source_m, room.microphone_m):
        assert all(0.05 * size < at < 0.95 * size for at, size in zip(position, room.size_m, strict=True))
    assert 0.1 < math.dist(room.source_m, room.microphone_m) <= distance_m[1] + 1e-9
    length, width, height = room.size_m
    area = 2 * (length * width + length * height + width * height)
    absorption = 24 * math.log(10) / 343 * length * width * height / (area * rt60_s)
    assert 0 < absorption < 1


class TestBank:
    def test_the_rooms_cover_the_range_evenly(self):
        times = [room.rt60_s for room in bank(1, "train", (0.2, 1.2), FAR_M)]
        assert len(times) == BANK_ROOMS
        assert times == sorted(times)
        assert np.histogram(times, bins=10, range=(0.2, 1.2))[0].tolist() == [BANK_ROOMS // 10] * 10

    def test_seed_split_and_range_decide_the_rooms(self):
        rooms = bank(1, "train", (0.2, 1.2), FAR_M)
        bank.cache_clear()
        assert bank(1, "train", (0.2, 1.2), FAR_M) == rooms
        for other in (bank(2, "train", (0.2, 1.2), FAR_M), bank(1, "val", (0.2, 1.2), FAR_M)):
            assert not set(rooms) & set(other)

    def test_the_range_may_be_a_single_rt60(self):
        assert {room.rt60_s for room in bank(1, "train", (0.5, 0.5), FAR_M)} == {0.5}


@needs_simulation
class TestSimulation:
    @pytest.mark.parametrize("rt60_s", [0.15, 0.4, 0.8, 1.2])
    def test_a_room_has_the_requested_rt60(self, rt60_s):
        times = [decay_s(impulse_response(draw_room(np.random.default_rng(seed), rt60_s, FAR_M))) for seed in range(5)]
        assert np.median(times) == pytest.approx(rt60_s, rel=0.25)

    def test_the_direct_sound_arrives_after_its_travel_time(self):
        for room in bank(3, "train", (0.1, 1.2), FAR_M)[::10]:
            # The filters of fractional delays add 40 samples.
            expected = math.dist(room.source_m, room.microphone_m) / 343 * SAMPLE_RATE + 40
            assert direct_sound(impulse_response(room)) == pytest.approx(expected, abs=1.0)

    def test_the_level_is_continuous_at_the_start_of_the_noise(self):
        excess_db = []
        for room in bank(3, "val", (0.4, 1.2), FAR_M)[::40]:
            response = impulse_response(room)
            seam = direct_sound(response) + round(0.07 * SAMPLE_RATE)
            before, after = (
                np.mean(np.square(response[s])) for s in (slice(seam - 400, seam), slice(seam, seam + 400))
            )
            decay_db = 60 * 400 / SAMPLE_RATE / room.rt60_s
            excess_db.append(10 * np.log10(before / after) - decay_db)
        # Parts of 25 ms vary by some dB from room to room.
        assert np.mean(excess_db) == pytest.approx(0.0, abs=2.0)
        assert np.abs(excess_db).max() < 6.0

    def test_the_response_is_reproducible(self):
        room = bank(1, "train", (0.2, 1.2), FAR_M)[50]
        first = impulse_response(room).copy()
        simulate.cache_clear()
        assert np.array_equal(impulse_response(room), first)
        assert np.isfinite(first).all()

    def test_a_room_close_to_the_microphone_is_mostly_direct_sound(self):
        for room in bank(3, "train", (0.08, 0.25), CLOSE_M)[::10]:
            response = impulse_response(room).astype(np.float64)
            direct = direct_sound(response) + 40
            assert np.sum(response[:direct] ** 2) > 2 * np.sum(response[direct:] ** 2)


class TestRecorded:
    def test_the_response_is_read_from_the_file(self, tmp_path):
        samples = np.zeros(1_000)
        samples[30] = 0.5
        soundfile.write(tmp_path / "hall.wav", samples, SAMPLE_RATE)
        room = RecordedRoom(AudioRef("hall.wav", str(tmp_path / "hall.wav"), 1, "1"))
        assert str(room) == "hall.wav"
        assert direct_sound(impulse_response(room)) == 30

    def test_a_missing_file_is_a_fault(self, tmp_path):
        with pytest.raises(AudioFault, match="unreadable"):
            impulse_response(RecordedRoom(AudioRef("missing.wav", str(tmp_path / "missing.wav"), 1, "1")))


class TestReverberate:
    @given(seed=st.integers(0, 99), direct=st.integers(0, 300), length=st.integers(600, 4_000))
    def test_length_level_and_timing_are_kept(self, seed, direct, length):
        rng = np.random.default_rng(seed)
        samples = rng.normal(size=length).astype(np.float32)
        response = np.zeros(1_500)
        response[direct:] = 0.02 * rng.normal(size=1_500 - direct)
        response[direct] = 0.7
        reverberant = reverberate(samples, response)
        assert reverberant.shape == samples.shape
        assert np.mean(reverberant**2) == pytest.approx(np.mean(samples**2), rel=1e-3)
        assert np.argmax(np.correlate(reverberant, samples, "full")) == length - 1

    def test_the_direct_sound_alone_leaves_the_signal_unchanged(self):
        samples = np.random.default_rng(0).normal(size=2_000).astype(np.float32)
        response = np.zeros(700)
        response[123] = -0.3
        np.testing.assert_allclose(reverberate(samples, -response), samples, atol=1e-4)

    def test_silence_stays_silent(self):
        assert not reverberate(np.zeros(1_000, np.float32), np.ones(10)).any()

    def test_the_direct_sound_is_the_first_strong_arrival(self):
        response = np.zeros(2_000)
        response[[100, 104, 900]] = 0.6, 0.8, 1.0
        assert direct_sound(response) == 104


@pytest.mark.parametrize(("late", "c50_db"), [(1.0, 0.0), (0.1, 20.0), (0.0, 60.0)])
def test_clarity_is_the_ratio_of_early_to_late_energy(late, c50_db):
    response = np.zeros(4_000)
    response[[100, 100 + 799]] = 0.8, 0.6
    response[100 + 800 + 50] = late
    assert clarity_db(response) == pytest.approx(c50_db, abs=1e-6)
