"""The material and the clips of the experiment that `audiosieve reproduce` repeats.

Speech and noise are sorted into the splits `train`, `val` (some of the training groups, to choose the epoch and the
threshold by) and `test`. Then every utterance is mixed with one noise at five SNRs, and taken clean: six clips of the same
speech, noise and level.

The clips are planned and made by the functions behind `audiosieve synthesize`, called for one utterance at a time: so all
utterances are there exactly once at each SNR, where `synthesize` would draw them with replacement; and one process is
enough, as nothing is labelled with PESQ.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.evaluation.measures import Clip, Scored, choose_threshold
from model.labels import PSEUDO
from transforms.corpus.sources import absolute
from transforms.elements import AudioRef
from transforms.errors import AudioFault
from transforms.evaluation.labelled_clips import read_clips, score_clips
from transforms.output.ledger import Job, Ledger
from transforms.schemas import CLIPS, SYNTHESIS_TABLES
from transforms.scoring.batching import BatchLimits
from transforms.synthesis.clip_plan import ClipOptions, ClipPlan, plan_clip
from transforms.synthesis.clips import make_clip
from transforms.synthesis.materials import NOISE, SPEECH, TRAIN, VAL, Catalog, Material, assign_splits, measure_length

if TYPE_CHECKING:
    from model.inference.scorer import Scorer

TEST = "test"
SNRS_DB = (-10.0, -5.0, 5.0, 10.0, 20.0)
PEAK_DBFS = (-18.0, 0.0)
DEV_SHARE = 0.1
# Where a noise is silent at the place that was drawn, another is drawn, so often at most.
DRAWS = 20


class SplitError(ValueError):
    """Material of which a split gets nothing.

    Attributes:
        kind: of the material, "speech" or "noise".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class UnmixableError(ValueError):
    """An utterance with which no noise can be mixed."""


def train_and_test(refs: Sequence[AudioRef], kind: str, holdout: float | None) -> list[Material]:
    """Recordings of a kind, sorted into groups and the splits "train" and "test".

    Args:
        refs: the recordings.
        kind: "speech" or "noise".
        holdout: share of the groups to put into "test"; None for what the manifest puts into "val" or "test", or for a
            tenth where it has no splits.
    """
    found = assign_splits(refs, kind, holdout)
    return [dataclasses.replace(item, split=TEST if item.split in (VAL, TEST) else item.split) for item in found]


def serving(items: Iterable[Material], min_dynamic_range_db: float) -> tuple[list[Material], Counter[str]]:
    """Measures recordings.

    Args:
        items: the recordings.
        min_dynamic_range_db: speech under this does not serve.

    Returns:
        Those that serve, in order; and how many do not, by reason.
    """
    found, refused = [], Counter[str]()
    for item in items:
        try:
            found.append(measure_length(item, min_dynamic_range_db))
        except AudioFault as fault:
            refused[fault.reason] += 1
    return found, refused


def choose(speech: Iterable[Material], split: str, count: int, seed: int) -> list[Material]:
    """So many utterances of a split, drawn with a seed; all of them where there are fewer.

    Args:
        speech: utterances of all splits; their order does not matter.
        split: of which.
        count: how many.
        seed: what decides which.

    Returns:
        The utterances in the order of their ids.
    """
    there = sorted((item for item in speech if item.split == split), key=lambda item: item.ref.utterance_id)
    drawn = np.random.default_rng(seed).permutation(len(there))[:count]
    return [there[i] for i in sorted(drawn.tolist())]


def with_dev(items: Sequence[Material], seed: int) -> list[Material]:
    """The material with some of the training groups as split "val", so that the test material chooses nothing.

    Groups are drawn as long as they hold a tenth of the training recordings together at most; one at least, the smallest
    where each holds more, but not the only one.

    Args:
        items: speech or noise of the splits "train" and "test".
        seed: what decides which groups.

    Returns:
        The same recordings in the same order.
    """
    sizes = Counter(item.group for item in items if item.split == TRAIN)
    groups = sorted(sizes)
    order = [groups[i] for i in np.random.default_rng([seed, 1]).permutation(len(groups)).tolist()]
    dev: set[str] = set()
    for group in order:
        if sum(sizes[chosen] for chosen in dev) + sizes[group] <= DEV_SHARE * sizes.total():
            dev.add(group)
    if not dev and len(groups) > 1:
        dev = {min(order, key=lambda group: sizes[group])}
    return [
        dataclasses.replace(item, split=VAL) if item.split == TRAIN and item.group in dev else item for item in items
    ]


def check_splits(speech: Iterable[Material], noise: Iterable[Material]) -> None:
    """Sees to it that there is speech and noise in each split.

    Args:
        speech: of all splits.
        noise: of all splits.

    Raises:
        SplitError: a split has none.
    """
    for kind, items, groups in ((SPEECH, speech, "speakers"), (NOISE, noise, "groups")):
        missing = {TRAIN, VAL, TEST} - {item.split for item in items}
        if missing:
            raise SplitError(
                kind,
                f"training, the choice of the epoch and the test need {groups} of their own, three at least; the {groups} "
                f"at hand leave none for {sorted(missing)[0]!r}",
            )


def divide(
    speech: Sequence[Material], noise: Sequence[Material], utterances: Mapping[str, int], seed: int
) -> tuple[list[Material], list[Material]]:
    """Chooses the utterances, and puts training groups of both kinds into the split "val".

    Args:
        speech: measured, of the splits "train" and "test".
        noise: likewise.
        utterances: by split, how many there are to be where there are enough.
        seed: what decides which.

    Returns:
        The speech, split by split, and all of the noise.

    Raises:
        SplitError: a split has no speech or no noise.
    """
    chosen = [item for split, count in utterances.items() for item in choose(speech, split, count, seed)]
    divided = with_dev(chosen, seed), with_dev(noise, seed)
    check_splits(*divided)
    return divided


def material_facts(speech: Sequence[Material], noise: Sequence[Material]) -> dict[str, Any]:
    """Counts, and a hash over which recordings are in which split: a run is gone on with only on the same.

    Args:
        speech: of all splits.
        noise: of all splits.

    Returns:
        By split the numbers of "utterances", "speakers", "noises" and "noise_groups"; and the "sha256", in which neither
        the order nor the place of the recordings matters.
    """
    lines = sorted(f"{m.kind}\t{m.split}\t{m.group}\t{m.ref.utterance_id}\t{m.num_samples}" for m in (*speech, *noise))

    def by_split(items: Sequence[Material], value: Callable[[Material], str]) -> dict[str, int]:
        pairs = {(item.split, value(item)) for item in items}
        return {split: sum(pair[0] == split for pair in pairs) for split in (TRAIN, VAL, TEST)}

    return {
        "utterances": by_split(speech, lambda item: item.ref.utterance_id),
        "speakers": by_split(speech, lambda item: item.group),
        "noises": by_split(noise, lambda item: item.ref.utterance_id),
        "noise_groups": by_split(noise, lambda item: item.group),
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def clip_conditions(seed: int, longest_s: float) -> dict[float | None, ClipOptions]:
    """What the clips of an utterance are made of: the same draws for every SNR, one whole noise, and nothing else.

    Args:
        seed: of the repeat.
        longest_s: of longer utterances only so much is taken, in s.

    Returns:
        By SNR in dB; None for the clean clip, which comes first.
    """
    return {
        snr_db: ClipOptions(
            seed=seed,
            snr_db=((snr_db or 0.0, snr_db or 0.0),),
            clean_ratio=1.0 if snr_db is None else 0.0,
            duration_s=(longest_s, longest_s),
            peak_dbfs=PEAK_DBFS,
            labels=(PSEUDO,),
        )
        for snr_db in (None, *SNRS_DB)
    }


def plan_utterance(
    number: int, draw: int, catalog: Catalog, conditions: Mapping[float | None, ClipOptions]
) -> list[ClipPlan]:
    """Plans the clips of an utterance.

    Args:
        number: of the utterance: with the condition, the id of a clip.
        draw: what decides, with the seed, the noise, the level and the places in both recordings.
        catalog: the utterance and the noise of its split.
        conditions: what `clip_conditions` returns.

    Returns:
        One plan for each condition, in their order.

    Raises:
        AudioFault: there is no noise in the utterance's split.
    """
    plans = []
    for snr_db, options in conditions.items():
        plan = plan_clip(draw, catalog, options)
        condition = "clean" if snr_db is None else f"{snr_db:g}dB"
        # The clips of one utterance are told apart by their ids.
        plans.append(dataclasses.replace(plan, clip_id=f"{plan.seed}-{number:08d}-{condition}"))
    return plans


def make_clips(
    speech: Sequence[Material], noise: Iterable[Material], seed: int, longest_s: float
) -> Iterator[dict[str, Any]]:
    """Makes the clips of a repeat: every utterance clean and at each SNR.

    Args:
        speech: measured, of all splits.
        noise: measured, of all splits.
        seed: of the repeat.
        longest_s: of longer utterances only so much is taken, in s.

    Yields:
        Rows of the set (`schemas.CLIPS`), those of an utterance together.

    Raises:
        UnmixableError: of all the noises that were drawn for an utterance none can be mixed with it.
    """
    conditions = clip_conditions(seed, longest_s)
    of_split: dict[str, list[Material]] = defaultdict(list)
    for item in noise:
        of_split[item.split].append(item)
    for number, utterance in enumerate(speech):
        catalog = Catalog([utterance, *of_split[utterance.split]])
        for attempt in range(DRAWS):
            try:
                plans = plan_utterance(number, number + attempt * len(speech), catalog, conditions)
                rows = [make_clip(plan, options) for plan, options in zip(plans, conditions.values(), strict=True)]
            except AudioFault as fault:
                problem = fault
                continue
            yield from rows
            break
        else:
            raise UnmixableError(f"{utterance.ref.uri}: no noise can be mixed with it; of the last one: {problem}")


def set_ledger(folder: Path) -> Ledger:
    """What the set in a folder holds."""
    return Ledger(absolute(str(folder)), tuple(SYNTHESIS_TABLES))


def write_set(folder: Path, clips: Iterable[dict[str, Any]], clips_per_row_group: int) -> dict[str, Any]:
    """Writes a set as `audiosieve synthesize` does; it is there when all clips are written, and not before.

    Args:
        folder: where to.
        clips: its rows, which are never held all at once.
        clips_per_row_group: how many are held, and can later be read, at a time.

    Returns:
        The numbers of "clips", by split, and of the "noises" in them.

    Raises:
        OutputError: the folder cannot be written.
    """
    ledger = set_ledger(folder)
    ledger.check_writable()
    (folder / "clips").mkdir(exist_ok=True)
    run_id = Ledger.new_run_id()
    counts: Counter[str] = Counter()
    noises: set[str] = set()
    left = iter(clips)
    path = f"{ledger.prefix('clips', run_id)}-all.parquet"
    with pq.ParquetWriter(path, CLIPS, compression="zstd") as out:
        while rows := list(islice(left, clips_per_row_group)):
            out.write_table(pa.Table.from_pylist(rows, CLIPS))
            counts.update(row["split"] for row in rows)
            noises |= {noise for row in rows for noise in row["noise_ids"]}
    ledger.commit(run_id, {"job": Job.REPRODUCE, "counts": {"clips": counts.total()}}, [ledger.name_of(path)])
    return {"clips": dict(counts), "noises": len(noises)}


def score_test_clips(folder: Path, scorer: Scorer) -> Scored:
    """Scores the test clips of a set.

    Args:
        folder: of the set.
        scorer: a network that learned its training clips.

    Returns:
        The test clips as the network scored them, with a threshold from the clips that its epoch was chosen by.

    Raises:
        SourceError: no finished set is there.
    """
    known = read_clips(str(folder))

    def score(clips: Sequence[Clip]) -> np.ndarray:
        frame_scores, _ = score_clips(clips, [scorer], BatchLimits())
        return np.array([scorer.pool(scores) for scores in frame_scores[0]])

    dev = [clip for clip in known if clip.split == VAL]
    threshold = choose_threshold(np.array([clip.clean for clip in dev]), score(dev))
    clips = [clip for clip in known if clip.split == TEST]
    return Scored(
        clips=clips,
        score=score(clips),
        localised=[],
        label=np.array([clip.labels[PSEUDO.column] for clip in clips], float),
        label_scale=PSEUDO,
        scale=scorer.bundle.label_scale,
        threshold=threshold,
    )
