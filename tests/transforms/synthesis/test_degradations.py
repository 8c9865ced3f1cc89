"""Every fault keeps length and timing, is the same every time, says where it is, and does what it is named for."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from tests.transforms.synthesis.test_codecs import delay
from transforms.synthesis.codecs import Coding
from transforms.synthesis.degradation_kinds import DEGRADATIONS, DegradationError, draw_degradations, parse_degradations
from transforms.synthesis.degradations import (
    PACKET,
    BandLimit,
    Clipping,
    Codec,
    DcOffset,
    Degradation,
    Dropouts,
    Hum,
    PacketLoss,
    Reverb,
    spans_where,
)
from transforms.synthesis.rooms import FAR_M, Room, bank, simulation_installed

ALL = parse_degradations("all")
if not simulation_installed():
    ALL = tuple((name, values) for name, values in ALL if name != Reverb.KIND)


def draw_room(rng: np.random.Generator, rt60_s: tuple[float, float]) -> Room:
    rooms = bank(0, "train", rt60_s, FAR_M)
    return rooms[rng.integers(len(rooms))]


def drawn(name: str, seed: int) -> Degradation:
    (fault,) = draw_degradations(np.random.default_rng(seed), [(name, dict(ALL)[name])], 1, draw_room)
    return fault


EACH = pytest.mark.parametrize("name", [name for name, _ in ALL])


@pytest.fixture(scope="module")
def speech(make_speech) -> np.ndarray:
    return make_speech(3.0, seed=4)


@EACH
@pytest.mark.parametrize("seed", range(4))
class TestEvery:
    def test_length_is_kept_spans_lie_within_and_all_is_finite(self, name, seed, speech):
        fault = drawn(name, seed)
        for length in (512, 4_001, len(speech)):
            samples = speech[-length:]
            before = samples.copy()
            found = fault.apply(samples)
            assert found.samples.shape == (length,)
            assert found.samples.dtype == np.float32
            assert np.isfinite(found.samples).all()
            assert np.array_equal(samples, before)
            edges = [edge for span in found.spans for edge in span]
            assert edges == sorted(set(edges))
            assert all(0 <= edge <= length for edge in edges)

    def test_it_is_the_same_every_time(self, name, seed, speech):
        fault = drawn(name, seed)
        assert fault == drawn(name, seed)
        first, second = fault.apply(speech), fault.apply(speech)
        assert np.array_equal(first.samples, second.samples)
        assert first.spans == second.spans

    def test_nothing_changes_outside_its_spans(self, name, seed, speech):
        found = drawn(name, seed).apply(speech)
        outside = np.ones(len(speech), bool)
        for start, end in found.spans:
            outside[start:end] = False
        assert np.array_equal(found.samples[outside], speech[outside])
        assert found.spans

    def test_silence_is_survived(self, name, seed):
        assert not drawn(name, seed).apply(np.zeros(5_000, np.float32)).samples.any()

    def test_the_level_changes_nothing_but_the_level(self, name, seed, speech):
        fault = drawn(name, seed)
        soft = fault.apply(speech * np.float32(2**-7)).samples * 2**7
        assert np.abs(soft - fault.apply(speech).samples).max() < 2e-2

    def test_it_says_how_strong_it_is(self, name, seed):
        fault = drawn(name, seed)
        assert fault.detail.isprintable()
        assert name == fault.KIND


# In a room a reflection may match voiced speech better than the direct sound, which test_rooms looks at.
@pytest.mark.parametrize("name", [name for name, _ in ALL if name != Reverb.KIND])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_heard_stays_where_it_was(name, seed, speech):
    assert abs(delay(speech, drawn(name, seed).apply(speech).samples)) <= 1


class TestHum:
    @given(snr_db=st.floats(-10, 50), frequency=st.sampled_from([50.0, 60.0]))
    def test_it_has_its_snr_and_lies_on_the_harmonics(self, snr_db, frequency):
        samples = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        found = Hum(frequency, snr_db, (1.0, 0.2, 0.5), (0.3, 2.0, 4.0)).apply(samples)
        hum = found.samples.astype(np.float64) - samples
        assert 10 * np.log10(np.mean(samples.astype(np.float64) ** 2) / np.mean(hum**2)) == pytest.approx(
            snr_db, abs=0.1
        )
        spectrum = np.abs(np.fft.rfft(hum)) ** 2
        strongest = set(np.argsort(spectrum)[-3:].tolist())
        assert strongest == {int(frequency * n) for n in (1, 2, 3)}


class TestBandLimit:
    @pytest.mark.parametrize(("low_hz", "high_hz"), [(300.0, 3_400.0), (0.0, 4_000.0), (0.0, 5_500.0)])
    def test_the_band_passes_and_the_rest_does_not(self, low_hz, high_hz):
        samples = np.random.default_rng(0).normal(size=4 * SAMPLE_RATE).astype(np.float32)
        found = BandLimit(low_hz, high_hz).apply(samples).samples
        frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        gain = np.abs(np.fft.rfft(found)) / np.abs(np.fft.rfft(samples))
        inside = (frequency > low_hz * 1.5 + 10) & (frequency < high_hz * 0.9)
        assert 20 * np.log10(np.median(gain[inside])) == pytest.approx(0.0, abs=0.3)
        assert 20 * np.log10(np.median(gain[frequency > high_hz * 1.4])) < -40
        if low_hz:
            assert 20 * np.log10(np.median(gain[frequency < low_hz / 3])) < -30


class TestClipping:
    @given(overload_db=st.floats(0.5, 40))
    def test_the_peak_is_so_far_down_and_what_was_under_it_is_untouched(self, overload_db):
        samples = np.random.default_rng(0).normal(0, 0.2, 3_000).astype(np.float32)
        found = Clipping(overload_db).apply(samples).samples
        peak = np.abs(found).max()
        assert 20 * np.log10(np.abs(samples).max() / peak) == pytest.approx(overload_db, abs=0.01)
        under = np.abs(samples) < peak
        assert np.array_equal(found[under], samples[under])
        assert np.abs(found[~under]).min() == pytest.approx(peak, rel=1e-6)

    def test_runs_that_lie_close_are_one_span(self):
        samples = np.zeros(4_000, np.float32)
        samples[[100, 101, 300, 2_000]] = 1.0
        assert Clipping(6.0).apply(samples).spans == ((100, 301), (2_000, 2_001))


@pytest.mark.parametrize("share", [-0.3, 0.02])
def test_a_dc_offset_is_a_share_of_the_peak(share, speech):
    found = DcOffset(share).apply(speech).samples
    assert np.mean(found - speech) == pytest.approx(share * np.abs(speech).max(), rel=1e-3)


class TestPacketLoss:
    noise = np.random.default_rng(0).normal(size=200 * PACKET).astype(np.float32)

    @given(
        rate=st.floats(0.01, 0.4), burst=st.floats(1, 5), seed=st.integers(0, 2**32 - 1), length=st.integers(1, 5_000)
    )
    def test_whole_packets_of_the_grid_are_lost_and_one_at_least(self, rate, burst, seed, length):
        found = PacketLoss(rate, burst, False, seed).apply(self.noise[:length])
        assert found.spans
        for start, end in found.spans:
            assert start % PACKET == 0
            assert end % PACKET == 0 or end == length
            assert not found.samples[start:end].any()

    @pytest.mark.parametrize(("rate", "burst"), [(0.02, 1.0), (0.1, 1.0), (0.1, 4.0), (0.3, 2.0)])
    def test_as_many_are_lost_in_bursts_as_long_as_asked(self, rate, burst):
        spans = [
            np.array(PacketLoss(rate, burst, False, seed).apply(self.noise).spans) // PACKET for seed in range(300)
        ]
        lengths = np.concatenate([np.diff(found, axis=1)[:, 0] for found in spans])
        assert lengths.sum() / (300 * 200) == pytest.approx(rate, rel=0.15)
        # Bursts that happen to follow one another look like one.
        assert lengths.mean() == pytest.approx(burst, rel=0.15 + rate)

    def test_a_lost_packet_is_silent_or_the_one_before_it_fading(self):
        silent, repeated = (PacketLoss(0.2, 2.0, repeats, 5).apply(self.noise) for repeats in (False, True))
        assert silent.spans == repeated.spans
        start = next(start for start, end in silent.spans if start and end - start >= 2 * PACKET)
        before = self.noise[start - PACKET : start]
        np.testing.assert_allclose(repeated.samples[start : start + PACKET], 0.7 * before, rtol=1e-5)
        np.testing.assert_allclose(repeated.samples[start + PACKET : start + 2 * PACKET], 0.49 * before, rtol=1e-5)

    def test_before_the_first_packet_there_is_nothing_to_repeat(self):
        first = next(
            found
            for seed in range(100)
            if (found := PacketLoss(0.4, 1.0, True, seed).apply(self.noise[: 2 * PACKET])).spans[0][0] == 0
        )
        assert not first.samples[:PACKET].any()


class TestDropouts:
    def test_gaps_are_where_and_as_long_as_asked_and_silent_within(self):
        samples = np.ones(SAMPLE_RATE, np.float32)
        found = Dropouts(((0.0, 0.01), (0.5, 0.1), (1.0, 0.05))).apply(samples)
        assert found.spans == ((0, 160), (7_200, 8_800), (15_200, 16_000))
        for start, end in found.spans:
            assert not found.samples[start + 16 : end - 16].any()
            assert np.abs(np.diff(found.samples[start - (start > 0) : end])).max() < 0.1

    def test_gaps_that_meet_are_one_and_one_longer_than_the_recording_is_all_of_it(self):
        samples = np.ones(1_000, np.float32)
        assert Dropouts(((0.4, 0.02), (0.5, 0.02))).apply(samples).spans == ((272, 660),)
        assert Dropouts(((0.5, 2.0),)).apply(samples).spans == ((0, 1_000),)


@pytest.mark.parametrize("gap", [0, 1, 3])
@given(mask=st.lists(st.booleans(), max_size=30))
def test_spans_cover_exactly_what_is_true_and_gaps_no_longer_than_allowed(gap, mask):
    spans = spans_where(np.array(mask, bool), gap)
    covered = np.zeros(len(mask), bool)
    for start, end in spans:
        assert mask[start]
        assert mask[end - 1]
        covered[start:end] = True
    assert covered[np.array(mask, bool)].all()
    assert all(later - end > gap for (_, end), (later, _) in itertools.pairwise(spans))
    if not gap:
        assert covered.tolist() == mask


class TestParse:
    def test_all_are_all_with_their_default_ranges_in_the_order_of_a_recordings_life(self):
        found = parse_degradations("all")
        assert tuple(name for name, _ in found) == tuple(DEGRADATIONS)
        assert dict(found)["clipping"] == (3.0, 20.0)

    def test_the_order_of_the_list_does_not_matter(self):
        expected = (
            ("reverb", (0.2, 1.2)),
            ("clipping", (3.0, 9.0)),
            ("codec", (0.0, 0.0)),
            ("packet_loss", (5.0, 5.0)),
        )
        assert parse_degradations("codec, packet_loss=5,clipping=3:9,reverb") == expected

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("echo", "there is no fault 'echo'; the faults are reverb, hum, band_limit,"),
            ("", "there is no fault ''"),
            ("clipping,clipping=3", "stands twice"),
            ("codec=3", "codec takes no range"),
            ("clipping=loud", "neither a number nor LOW:HIGH"),
            ("clipping=20:3", "must lie within 0.1:60 (dB of overload)"),
            ("packet_loss=0:20", "must lie within 0.1:60"),
            ("reverb=0.2:nan", "must lie within"),
        ],
    )
    def test_mistakes_are_named(self, text, sentence):
        with pytest.raises(DegradationError) as caught:
            parse_degradations(text)
        assert sentence in str(caught.value)


class TestDraw:
    @pytest.mark.parametrize("most", [1, 2, 5, 99])
    def test_one_to_as_many_as_allowed_of_different_kinds_in_their_order(self, most):
        order = list(DEGRADATIONS)
        counts = set()
        for seed in range(200):
            kinds = [fault.KIND for fault in draw_degradations(np.random.default_rng(seed), ALL, most, draw_room)]
            assert kinds == sorted(set(kinds), key=order.index)
            counts.add(len(kinds))
        assert counts == set(range(1, min(most, len(ALL)) + 1))

    def test_only_what_was_chosen_in_its_range(self):
        choice = parse_degradations("clipping=5:6,packet_loss=10:12,dropouts=20:30,dc_offset=3:4,hum=7:8")
        for seed in range(100):
            for fault in draw_degradations(np.random.default_rng(seed), choice, 5, draw_room):
                match fault:
                    case Clipping():
                        assert 5 <= fault.overload_db <= 6
                    case PacketLoss():
                        assert 0.10 <= fault.rate <= 0.12
                    case Dropouts():
                        assert all(0.02 <= length <= 0.03 for _, length in fault.gaps)
                    case DcOffset():
                        assert 0.03 <= abs(fault.share) <= 0.04
                    case Hum():
                        assert 7 <= fault.snr_db <= 8
                    case _:
                        pytest.fail(f"{fault} was not asked for")

    def test_a_plan_is_a_value_that_can_be_looked_at(self):
        fault = Codec(Coding("gsm", 8_000))
        assert dataclasses.asdict(fault) == {"coding": {"codec": "gsm", "sample_rate": 8_000, "setting": None}}
        assert fault == Codec(Coding("gsm", 8_000))
