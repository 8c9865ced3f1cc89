"""Batches by length: complete, within the limits, with little padding."""

from __future__ import annotations

import itertools
from collections import Counter

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st

from transforms.elements import FeaturizedUtterance
from transforms.scoring.batching import STEP_COST, BatchByLength, BatchLimits, cut_batches

lengths_of_utterances = st.lists(st.integers(1, 500), max_size=60)
limits_of_batches = st.builds(BatchLimits, batch_size=st.integers(1, 10), batch_frames=st.integers(1, 2_000))


class TestCutBatches:
    @given(lengths=lengths_of_utterances, limits=limits_of_batches)
    def test_each_utterance_is_in_one_batch(self, lengths, limits):
        batches = cut_batches(lengths, limits)
        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        assert all(batches)

    @given(lengths=lengths_of_utterances, limits=limits_of_batches)
    def test_no_batch_is_too_large_and_an_over_long_utterance_is_alone(self, lengths, limits):
        for batch in cut_batches(lengths, limits):
            assert len(batch) <= limits.batch_size
            padded = len(batch) * max(lengths[index] for index in batch)
            assert padded <= limits.batch_frames or len(batch) == 1

    @given(lengths=lengths_of_utterances, limits=limits_of_batches)
    def test_padding_is_bounded_by_the_longest_utterance_and_the_batch_size(self, lengths, limits):
        batches = cut_batches(lengths, limits)
        padding = sum(max(lengths[i] for i in batch) - lengths[index] for batch in batches for index in batch)
        assert padding <= (limits.batch_size - 1) * max(lengths, default=0)

    @given(lengths=lengths_of_utterances, limits=limits_of_batches)
    def test_batches_go_from_long_to_short_without_overlap(self, lengths, limits):
        flat = [lengths[index] for batch in cut_batches(lengths, limits) for index in batch]
        assert flat == sorted(lengths, reverse=True)

    @given(lengths=lengths_of_utterances, limits=limits_of_batches)
    def test_no_other_cuts_cost_less(self, lengths, limits):
        def cost(batches):
            return sum(batch[0] * (len(batch) + STEP_COST) for batch in batches)

        def fits(batch):
            return len(batch) == 1 or (len(batch) <= limits.batch_size and len(batch) * batch[0] <= limits.batch_frames)

        ordered = sorted(lengths[:8], reverse=True)
        possible = []
        for is_cut in itertools.product((False, True), repeat=max(len(ordered) - 1, 0)):
            edges = [0, *(at for at, cut in enumerate(is_cut, 1) if cut), len(ordered)]
            possible.append([ordered[start:end] for start, end in itertools.pairwise(edges)])
        cut = [[lengths[index] for index in batch] for batch in cut_batches(lengths[:8], limits)]
        assert (
            cost(cut) == min(cost(batches) for batches in possible if all(map(fits, batches))) if ordered else not cut
        )

    def test_an_example(self):
        limits = BatchLimits(batch_size=3, batch_frames=100)
        assert cut_batches([10, 50, 40, 200, 12, 11, 9], limits) == [[3], [1, 2], [4, 5, 0], [6]]

    def test_nothing_gives_no_batch(self):
        assert cut_batches([], BatchLimits()) == []


def cut_directly(utterances, limits):
    """Runs one bundle without Beam: the batches from `process`, and those from `finish_bundle`."""
    dofn = BatchByLength(limits)
    dofn.start_bundle()
    early = [batch for utterance in utterances for batch in dofn.process(utterance)]
    return early, [windowed.value for windowed in dofn.finish_bundle()]


def names(batches) -> Counter:
    return Counter(item.utterance.ref.utterance_id for batch in batches for item in batch)


class TestBatchByLength:
    def test_the_rest_of_the_pool_is_cut_at_the_end_of_the_bundle(self, make_featurized):
        early, late = cut_directly([make_featurized(str(i), 10) for i in range(5)], BatchLimits())
        assert early == []
        assert names(late) == Counter("01234")

    def test_a_full_pool_is_cut_at_once(self, make_featurized):
        utterances = [make_featurized(str(i), 40) for i in range(6)]
        early, late = cut_directly(utterances, BatchLimits(pool_frames=100))
        assert names(early) == Counter("012345")
        assert late == []

    @pytest.mark.parametrize("pool_frames", [1, 50, 100, 10_000])
    def test_any_pool_size_keeps_every_utterance(self, make_featurized, pool_frames):
        utterances = [make_featurized(str(i), 1 + 7 * i % 60) for i in range(30)]
        early, late = cut_directly(utterances, BatchLimits(batch_size=4, pool_frames=pool_frames))
        assert names(early + late) == Counter(str(i) for i in range(30))

    def test_the_pool_never_holds_more_than_its_frames_and_one_utterance(self, make_featurized):
        dofn = BatchByLength(BatchLimits(pool_frames=100))
        dofn.start_bundle()
        held = 0
        for i in range(20):
            held += 1
            held -= sum(len(batch) for batch in dofn.process(make_featurized(str(i), 30)))
            assert held * 30 < 100

    def test_a_bundle_that_failed_leaves_nothing_to_the_next(self, make_featurized):
        dofn = BatchByLength(BatchLimits())
        dofn.start_bundle()
        assert list(dofn.process(make_featurized("lost with its bundle", 10))) == []
        dofn.start_bundle()
        assert list(dofn.finish_bundle()) == []

    def test_batches_hold_the_same_objects(self, make_featurized):
        before = [make_featurized(str(i), 5 + i, seed=i) for i in range(4)]
        _, (batch,) = cut_directly(before, BatchLimits())
        assert {id(item) for item in batch} == {id(item) for item in before}

    def test_the_order_of_utterances_does_not_change_the_batch_sizes(self, make_featurized):
        utterances = [make_featurized(str(i), 1 + 11 * i % 90) for i in range(30)]
        limits = BatchLimits(batch_size=5, batch_frames=200)
        shapes = [
            sorted(sorted(len(item.spectrogram) for item in batch) for batch in cut_directly(some_order, limits)[1])
            for some_order in (utterances, utterances[::-1])
        ]
        assert shapes[0] == shapes[1]

    def test_a_pipeline_keeps_every_utterance(self, make_featurized):
        utterances = [make_featurized(str(i), 1 + 11 * i % 90) for i in range(24)]
        limits = BatchLimits(batch_size=5, batch_frames=200, pool_frames=300)

        def check(batches):
            assert Counter(name for batch in batches for name, _ in batch) == Counter(str(i) for i in range(24))
            for batch in batches:
                assert len(batch) <= 5
                assert len(batch) * max(length for _, length in batch) <= 200

        def lengths(batch):  # spectrograms must not leave their process
            return [(item.utterance.ref.utterance_id, len(item.spectrogram)) for item in batch]

        with beam.Pipeline(runner=FnApiRunner()) as root:
            batches = (
                root
                | beam.Create(range(len(utterances)))
                | beam.Map(utterances.__getitem__).with_output_types(FeaturizedUtterance)
                | beam.ParDo(BatchByLength(limits))
                | beam.Map(lengths)
            )
            assert_that(batches, check)
