"""Degradations keep length and timing, are reproducible, and report the spans that they change."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.features import SAMPLE_RATE
from tests.support.training.alignment import delay
from transforms.synthesis.degradations.base import Degradation, spans_where
from transforms.synthesis.degradations.codecs import Coding
from transforms.synthesis.degradations.concealment import PACKET, Concealment
from transforms.synthesis.degradations.dynamics import Gate
from transforms.synthesis.degradations.kinds import (
    DEGRADATIONS,
    DegradationError,
    draw_degradations,
    parse_degradations,
)
from transforms.synthesis.degradations.recording import BandLimit, Clipping, DcOffset, Hum, Reverb
from transforms.synthesis.degradations.transmission import Codec, Dropouts, Mnru, PacketLoss
from transforms.synthesis.mix import power
from transforms.synthesis.rooms import FAR_M, Room, bank, simulation_installed

ALL = parse_degradations("all")
if not simulation_installed():
    ALL = tuple((name, values) for name, values in ALL if name != Reverb.KIND)


def draw_room(rng: np.random.Generator, rt60_s: tuple[float, float]) -> Room:
    rooms = bank(0, "train", rt60_s, FAR_M)
    return rooms[rng.integers(len(rooms))]


def draw_one(name: str, seed: int) -> Degradation:
    (degradation,) = draw_degradations(np.random.default_rng(seed), [(name, dict(ALL)[name])], 1, draw_room)
    return degradation


EACH = pytest.mark.parametrize("name", [name for name, _ in ALL])


@pytest.fixture(scope="module")
def speech(make_speech) -> np.ndarray:
    return make_speech(3.0, seed=4)


@EACH
@pytest.mark.parametrize("seed", range(4))
class TestEvery:
    def test_length_is_kept_spans_lie_within_and_samples_are_finite(self, name, seed, speech):
        degradation = draw_one(name, seed)
        for length in (512, 4_001, len(speech)):
            samples = speech[-length:]
            before = samples.copy()
            degraded = degradation.apply(samples)
            assert degraded.samples.shape == (length,)
            assert degraded.samples.dtype == np.float32
            assert np.isfinite(degraded.samples).all()
            assert np.array_equal(samples, before)
            edges = [edge for span in degraded.spans for edge in span]
            assert edges == sorted(set(edges))
            assert all(0 <= edge <= length for edge in edges)

    def test_the_result_is_reproducible(self, name, seed, speech):
        degradation = draw_one(name, seed)
        assert degradation == draw_one(name, seed)
        first, second = degradation.apply(speech), degradation.apply(speech)
        assert np.array_equal(first.samples, second.samples)
        assert first.spans == second.spans

    def test_nothing_changes_outside_its_spans(self, name, seed, speech):
        degraded = draw_one(name, seed).apply(speech)
        outside = np.ones(len(speech), bool)
        for start, end in degraded.spans:
            outside[start:end] = False
        if name == Gate.KIND:  # It also closes in pauses, where it damages nothing.
            assert (np.abs(degraded.samples) <= np.abs(speech)).all()
            assert power(degraded.samples[outside]) > 0.99 * power(speech[outside])
        else:
            assert np.array_equal(degraded.samples[outside], speech[outside])
            assert degraded.spans

    def test_silence_stays_silent(self, name, seed):
        assert not draw_one(name, seed).apply(np.zeros(5_000, np.float32)).samples.any()

    def test_the_result_scales_with_the_level(self, name, seed, speech):
        degradation = draw_one(name, seed)
        soft = degradation.apply(speech * np.float32(2**-7)).samples * 2**7
        assert np.abs(soft - degradation.apply(speech).samples).max() < 2e-2

    def test_the_detail_is_printable(self, name, seed):
        degradation = draw_one(name, seed)
        assert degradation.detail.isprintable()
        assert name == degradation.KIND


# A reflection may match voiced speech better than the direct sound; test_rooms checks rooms.
@pytest.mark.parametrize("name", [name for name, _ in ALL if name != Reverb.KIND])
@pytest.mark.parametrize("seed", range(4))
def test_the_timing_is_kept(name, seed, speech):
    assert abs(delay(speech, draw_one(name, seed).apply(speech).samples)) <= 1


class TestHum:
    @given(snr_db=st.floats(-10, 50), frequency=st.sampled_from([50.0, 60.0]))
    def test_hum_has_its_snr_and_lies_on_the_harmonics(self, snr_db, frequency):
        samples = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
        degraded = Hum(frequency, snr_db, (1.0, 0.2, 0.5), (0.3, 2.0, 4.0)).apply(samples)
        hum = degraded.samples.astype(np.float64) - samples
        assert 10 * np.log10(np.mean(samples.astype(np.float64) ** 2) / np.mean(hum**2)) == pytest.approx(
            snr_db, abs=0.1
        )
        spectrum = np.abs(np.fft.rfft(hum)) ** 2
        strongest = set(np.argsort(spectrum)[-3:].tolist())
        assert strongest == {int(frequency * n) for n in (1, 2, 3)}


class TestBandLimit:
    @pytest.mark.parametrize(("low_hz", "high_hz"), [(300.0, 3_400.0), (0.0, 4_000.0), (0.0, 5_500.0)])
    def test_only_the_band_passes(self, low_hz, high_hz):
        samples = np.random.default_rng(0).normal(size=4 * SAMPLE_RATE).astype(np.float32)
        degraded = BandLimit(low_hz, high_hz).apply(samples).samples
        frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        gain = np.abs(np.fft.rfft(degraded)) / np.abs(np.fft.rfft(samples))
        inside = (frequency > low_hz * 1.5 + 10) & (frequency < high_hz * 0.9)
        assert 20 * np.log10(np.median(gain[inside])) == pytest.approx(0.0, abs=0.3)
        assert 20 * np.log10(np.median(gain[frequency > high_hz * 1.4])) < -40
        if low_hz:
            assert 20 * np.log10(np.median(gain[frequency < low_hz / 3])) < -30


class TestClipping:
    @given(overload_db=st.floats(0.5, 40))
    def test_the_peak_is_lowered_and_samples_below_it_are_unchanged(self, overload_db):
        samples = np.random.default_rng(0).normal(0, 0.2, 3_000).astype(np.float32)
        degraded = Clipping(overload_db).apply(samples).samples
        peak = np.abs(degraded).max()
        assert 20 * np.log10(np.abs(samples).max() / peak) == pytest.approx(overload_db, abs=0.01)
        under = np.abs(samples) < peak
        assert np.array_equal(degraded[under], samples[under])
        assert np.abs(degraded[~under]).min() == pytest.approx(peak, rel=1e-6)

    def test_close_runs_are_one_span(self):
        samples = np.zeros(4_000, np.float32)
        samples[[100, 101, 300, 2_000]] = 1.0
        assert Clipping(6.0).apply(samples).spans == ((100, 301), (2_000, 2_001))


@pytest.mark.parametrize("share", [-0.3, 0.02])
def test_a_dc_offset_is_a_share_of_the_peak(share, speech):
    degraded = DcOffset(share).apply(speech).samples
    assert np.mean(degraded - speech) == pytest.approx(share * np.abs(speech).max(), rel=1e-3)


class TestPacketLoss:
    noise = np.random.default_rng(0).normal(size=200 * PACKET).astype(np.float32)

    @given(
        rate=st.floats(0.01, 0.4), burst=st.floats(1, 5), seed=st.integers(0, 2**32 - 1), length=st.integers(1, 5_000)
    )
    def test_whole_packets_of_the_grid_are_lost_and_at_least_one(self, rate, burst, seed, length):
        degraded = PacketLoss(rate, burst, Concealment.SILENT, seed).apply(self.noise[:length])
        assert degraded.spans
        for start, end in degraded.spans:
            assert start % PACKET == 0
            assert end % PACKET == 0 or end == length
            assert not degraded.samples[start:end].any()

    @pytest.mark.parametrize(("rate", "burst"), [(0.02, 1.0), (0.1, 1.0), (0.1, 4.0), (0.3, 2.0)])
    def test_the_share_of_lost_packets_and_the_length_of_bursts_follow_the_parameters(self, rate, burst):
        spans = [
            np.array(PacketLoss(rate, burst, Concealment.SILENT, seed).apply(self.noise).spans) // PACKET
            for seed in range(300)
        ]
        lengths = np.concatenate([np.diff(runs, axis=1)[:, 0] for runs in spans])
        assert lengths.sum() / (300 * 200) == pytest.approx(rate, rel=0.15)
        # Consecutive bursts count as one.
        assert lengths.mean() == pytest.approx(burst, rel=0.15 + rate)

    @pytest.mark.parametrize("concealment", Concealment)
    def test_the_same_packets_are_lost_however_they_are_concealed(self, concealment):
        lost = PacketLoss(0.1, 2.0, Concealment.SILENT, 5).apply(self.noise).spans
        spans = PacketLoss(0.1, 2.0, concealment, 5).apply(self.noise).spans
        overlap = 64 if concealment is Concealment.PITCH else 0
        assert spans == tuple((start, min(end + overlap, len(self.noise))) for start, end in lost)


class TestMnru:
    @given(q_db=st.floats(0, 50))
    def test_the_noise_has_its_ratio_where_it_is_loud_and_where_it_is_soft(self, q_db):
        samples = np.full(20_000, 0.5, np.float32)
        samples[10_000:] = 0.001
        noise = (Mnru(q_db, 1).apply(samples).samples - samples.astype(np.float64)).reshape(2, -1)
        ratios = 10 * np.log10(np.mean(samples.reshape(2, -1) ** 2, axis=1) / np.mean(noise**2, axis=1))
        np.testing.assert_allclose(ratios, q_db, atol=0.3)


class TestDropouts:
    def test_gaps_have_their_position_and_length_and_are_silent(self):
        samples = np.ones(SAMPLE_RATE, np.float32)
        degraded = Dropouts(((0.0, 0.01), (0.5, 0.1), (1.0, 0.05))).apply(samples)
        assert degraded.spans == ((0, 160), (7_200, 8_800), (15_200, 16_000))
        for start, end in degraded.spans:
            assert not degraded.samples[start + 16 : end - 16].any()
            assert np.abs(np.diff(degraded.samples[start - (start > 0) : end])).max() < 0.1

    def test_overlapping_gaps_are_one_and_a_long_gap_is_cut_to_the_recording(self):
        samples = np.ones(1_000, np.float32)
        assert Dropouts(((0.4, 0.02), (0.5, 0.02))).apply(samples).spans == ((272, 660),)
        assert Dropouts(((0.5, 2.0),)).apply(samples).spans == ((0, 1_000),)


@pytest.mark.parametrize("gap", [0, 1, 3])
@given(mask=st.lists(st.booleans(), max_size=30))
def test_spans_cover_the_true_values_and_join_short_gaps(gap, mask):
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
    def test_all_selects_every_kind_with_its_default_range(self):
        parsed = parse_degradations("all")
        assert tuple(name for name, _ in parsed) == tuple(DEGRADATIONS)
        assert dict(parsed)["clipping"] == (3.0, 20.0)

    def test_the_order_of_the_list_does_not_matter(self):
        expected = (
            ("reverb", (0.2, 1.2)),
            ("clipping", (3.0, 9.0)),
            ("codec", (0.0, 0.0)),
            ("packet_loss", (5.0, 5.0)),
        )
        assert parse_degradations("codec, packet_loss=5,clipping=3:9,reverb") == expected

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("echo", "unknown kind 'echo'; choose from reverb, hum,"),
            ("", "unknown kind ''"),
            ("clipping,clipping=3", "occurs twice"),
            ("codec=3", "codec takes no range"),
            ("clipping=loud", "neither a number nor LOW:HIGH"),
            ("clipping=20:3", "must lie within 0.1:60 (dB of overload)"),
            ("packet_loss=0:20", "must lie within 0.1:60"),
            ("reverb=0.2:nan", "must lie within"),
        ],
    )
    def test_invalid_choices_are_explained(self, text, message):
        with pytest.raises(DegradationError) as caught:
            parse_degradations(text)
        assert message in str(caught.value)


class TestDraw:
    @pytest.mark.parametrize("max_count", [1, 2, 5, 99])
    def test_one_to_the_maximum_of_different_kinds_are_drawn_in_order(self, max_count):
        order = list(DEGRADATIONS)
        counts = set()
        for seed in range(200):
            kinds = [
                degradation.KIND
                for degradation in draw_degradations(np.random.default_rng(seed), ALL, max_count, draw_room)
            ]
            assert kinds == sorted(set(kinds), key=order.index)
            counts.add(len(kinds))
        assert counts == set(range(1, min(max_count, len(ALL)) + 1))

    def test_only_chosen_kinds_are_drawn_within_their_ranges(self):
        choice = parse_degradations("clipping=5:6,packet_loss=10:12,dropouts=20:30,dc_offset=3:4,hum=7:8")
        for seed in range(100):
            for degradation in draw_degradations(np.random.default_rng(seed), choice, 5, draw_room):
                match degradation:
                    case Clipping():
                        assert 5 <= degradation.overload_db <= 6
                    case PacketLoss():
                        assert 0.10 <= degradation.rate <= 0.12
                    case Dropouts():
                        assert all(0.02 <= length <= 0.03 for _, length in degradation.gaps)
                    case DcOffset():
                        assert 0.03 <= abs(degradation.share) <= 0.04
                    case Hum():
                        assert 7 <= degradation.snr_db <= 8
                    case _:
                        pytest.fail(f"{degradation} was not chosen")

    def test_a_degradation_is_a_plain_value(self):
        codec = Codec(Coding("gsm", 8_000))
        assert dataclasses.asdict(codec) == {"coding": {"codec": "gsm", "sample_rate": 8_000, "setting": None}}
        assert codec == Codec(Coding("gsm", 8_000))
