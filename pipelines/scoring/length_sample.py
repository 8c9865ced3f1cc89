"""Estimates the lengths of a corpus from a sample of its recordings, which worker processes open."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence

from pipelines.scoring.process_pool import Death, Pool, Workers
from pipelines.scoring.wave_job import fault_of
from pipelines.scoring.worker_process import is_own
from transforms.elements import AudioRef
from transforms.errors import AudioFault
from transforms.runs.chunking import Lengths, bytes_per_s, sample
from transforms.scoring.decode_watch import DecodeWatch


def sample_lengths(
    refs: Sequence[AudioRef], workers: Workers, watch: DecodeWatch
) -> tuple[Lengths, dict[str, AudioFault]]:
    """Estimates the lengths of utterances.

    Args:
        refs: the utterances.
        workers: processes that open the sample.
        watch: watch over the decoding.

    Returns:
        The estimate, and the faults of recordings that killed or hung a process, by URI.
    """
    faults: dict[str, AudioFault] = {}

    def skip(ref: AudioRef, death: Death) -> None:
        if death.mark is not None and death.is_caused_by_itself:
            faults[ref.uri] = fault_of(death, watch.timeout_s)

    rates = workers.results(sample(refs), functools.partial(_rate, watch), 1, skip)
    return Lengths.of_rates(rates), faults


def sample_lengths_alone(refs: Sequence[AudioRef], timeout_s: float) -> tuple[Lengths, dict[str, AudioFault]]:
    """Estimates the lengths of utterances in a process that ends afterwards; see `sample_lengths`.

    Args:
        refs: the utterances.
        timeout_s: value of `--recording_timeout_s`.
    """
    if not is_own():
        return Lengths.sampled(refs), {}
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as marks, Pool(marks) as pool:
        return sample_lengths(refs, pool, DecodeWatch(timeout_s, marks))


def _rate(watch: DecodeWatch, ref: AudioRef) -> float | None:
    (rate,) = watch.marked([ref], map(bytes_per_s, [ref]), is_vetting=True)
    return rate
