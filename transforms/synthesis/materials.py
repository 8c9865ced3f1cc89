"""Material for training clips: recordings of speech, noise, music and rooms, assigned to groups and splits, and cached."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from typing import Any

import apache_beam as beam
import numpy as np

from transforms.audio.decode import read_audio
from transforms.audio.signal_facts import dynamic_range_db
from transforms.elements import REJECTS, AudioRef, Reject, Span
from transforms.errors import AudioFault, Reason, Stage

TRAIN, VAL = "train", "val"
SPEECH, NOISE, MUSIC, RIR = "speech", "noise", "music", "rir"
# Speech with all its flaws; the manifest calls it speech, too.
RECORDING = "recording"
# Shortest usable recording in samples at 16 kHz: 0.25 s.
MIN_RECORDING = 4_000
GROUP_COLUMNS = {SPEECH: ("speaker", "speaker_or_class"), NOISE: ("group",), MUSIC: ("group",), RIR: ("group",)}
# Size of the decoded material that each process keeps in memory: two hours and twenty minutes of audio.
CACHE_BYTES = 512 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Material:
    """A recording of speech, noise or music, or an impulse response, to draw clips from.

    Attributes:
        ref: reference to the recording.
        kind: "speech", "noise", "music", "rir" or "recording".
        group: speaker, group of noise or music, or kind of room; no group is in two splits.
        split: "train", "val", or another split of the manifest.
        num_samples: length in samples at 16 kHz; 0 before it is measured.
    """

    ref: AudioRef
    kind: str
    group: str
    split: str
    num_samples: int = 0


def assign_splits(refs: Sequence[AudioRef], kind: str, holdout: float | None) -> list[Material]:
    """Assigns recordings to groups and splits.

    The group is the value of a manifest column (`GROUP_COLUMNS`). If it is missing, the group is the first folder in which the
    recordings differ (such as the speaker in speaker/chapter/1.flac), or the recording itself if it is in no folder. If
    `holdout` is None, the split is the value of the manifest column `split`. If that is missing, `held_out` selects the groups
    of "val".

    Args:
        refs: recordings of one kind.
        kind: "speech", "noise", "music" or "rir".
        holdout: share of the groups in "val", 0 to 1, which overrides the column `split`; None for that column, and a tenth of
            the groups of recordings without it.
    """
    groups = _groups(refs, kind)
    val = held_out(set(groups), 0.1 if holdout is None else holdout)
    items = []
    for ref, group in zip(refs, groups, strict=True):
        named = ref.columns.get("split") if holdout is None else None
        items.append(Material(ref, kind, group, named or (VAL if group in val else TRAIN)))
    return items


def held_out(groups: Set[str], share: float) -> set[str]:
    """Returns the groups whose SHA-1, as a fraction of its range, is below `share`.

    Groups that are added later do not change the split of the others. At least one group is not held out. If there are two or
    more groups and `share` is over 0, at least one is held out.
    """
    position = {group: int.from_bytes(hashlib.sha1(group.encode()).digest()[:4], "big") / 2**32 for group in groups}
    order = sorted(groups, key=lambda group: position[group])
    count = sum(value < share for value in position.values())
    if share > 0:
        count = min(max(count, 1), len(order) - 1)
    return set(order[:count])


def _groups(refs: Sequence[AudioRef], kind: str) -> list[str]:
    """Returns the group of each recording."""
    folders = [ref.utterance_id.split("/")[:-1] for ref in refs]
    levels = list(zip(*folders, strict=False))
    shared = next((depth for depth, names in enumerate(levels) if len(set(names)) > 1), len(levels))
    groups = []
    for ref, folder in zip(refs, folders, strict=True):
        named = (ref.columns.get(column) for column in GROUP_COLUMNS[kind])
        groups.append(next(filter(None, named), None) or "".join(folder[shared : shared + 1]) or ref.utterance_id)
    return groups


def measure_length(item: Material, min_dynamic_range_db: float) -> Material:
    """Reads a recording, and returns the material with its length.

    Raises:
        AudioFault: the recording cannot be decoded, is speech whose dynamic range is below the minimum, or is a recording with
            all its flaws that is too short.
    """
    samples = read_samples(item.ref)
    if item.kind == RECORDING and len(samples) < MIN_RECORDING:
        detail = f"it has {len(samples)} samples at 16 kHz; a clip needs {MIN_RECORDING}"
        raise AudioFault(Stage.MIX, Reason.TOO_SHORT, detail)
    if item.kind == SPEECH and (range_db := dynamic_range_db(samples)) < min_dynamic_range_db:
        detail = f"its dynamic range is {range_db:.1f} dB; a clean reference needs {min_dynamic_range_db:g} dB"
        raise AudioFault(Stage.REFERENCE, Reason.NOT_CLEAN, detail)
    return dataclasses.replace(item, num_samples=len(samples))


class Catalog:
    """The material by group.

    Attributes:
        speech: recordings of each speaker, in all splits.
        recordings: recordings with all their flaws of each speaker, in all splits.
        noise: recordings of each noise group, by split.
        music: recordings of each group of music, by split.
        rirs: impulse responses of each kind of room, by split.
    """

    def __init__(self, items: Iterable[Material]) -> None:
        spoken: dict[str, dict[str, list[Material]]] = {SPEECH: defaultdict(list), RECORDING: defaultdict(list)}
        others: dict[str, dict[str, dict[str, list[Material]]]] = {NOISE: {}, MUSIC: {}, RIR: {}}
        for item in sorted(items, key=lambda item: item.ref.utterance_id):
            if item.kind in spoken:
                spoken[item.kind][f"{item.split}/{item.group}"].append(item)
            else:
                others[item.kind].setdefault(item.split, defaultdict(list))[item.group].append(item)
        self.speech, self.recordings = (
            [spoken[kind][key] for key in sorted(spoken[kind])] for kind in (SPEECH, RECORDING)
        )
        self.noise, self.music, self.rirs = (
            {split: [groups[key] for key in sorted(groups)] for split, groups in others[kind].items()}
            for kind in (NOISE, MUSIC, RIR)
        )


class SampleCache:
    """A cache of decoded recordings that drops the least recently used ones.

    Args:
        size_bytes: largest size of all recordings together.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._total_bytes = 0
        self._cached: collections.OrderedDict[tuple[str, str, Span], np.ndarray] = collections.OrderedDict()
        self._lock = threading.Lock()

    @property
    def cached_bytes(self) -> int:
        """Size of the recordings in the cache."""
        return sum(samples.nbytes for samples in self._cached.values())

    def read(self, ref: AudioRef) -> np.ndarray:
        """Returns the samples of a recording: float32 [n], mono, 16 kHz, read-only.

        Raises:
            AudioFault: the recording cannot be read or decoded.
        """
        key = ref.uri, ref.source_version, ref.span
        with self._lock:
            if key in self._cached:
                self._cached.move_to_end(key)
                return self._cached[key]
        samples = read_audio(ref.uri, ref.span, keep_dc=True).samples
        samples.flags.writeable = False
        with self._lock:
            if key not in self._cached:
                self._cached[key] = samples
                self._total_bytes += samples.nbytes
            while self._total_bytes > self._size_bytes:
                self._total_bytes -= self._cached.popitem(last=False)[1].nbytes
        return samples


# One cache per process, because clips draw the same material repeatedly.
_CACHE = SampleCache(CACHE_BYTES)


def read_samples(ref: AudioRef) -> np.ndarray:
    """Returns the samples of a recording from the cache of this process: float32 [n], 16 kHz, read-only.

    Raises:
        AudioFault: the recording cannot be read or decoded.
    """
    return _CACHE.read(ref)


class MeasureMaterial(beam.DoFn):
    """Turns a `Material` into one with its length, or into a `Reject`."""

    def __init__(self, min_dynamic_range_db: float) -> None:
        self.min_dynamic_range_db = min_dynamic_range_db

    def process(self, item: Material) -> Iterable[Any]:
        """Measures one recording."""
        try:
            yield measure_length(item, self.min_dynamic_range_db)
        except AudioFault as fault:
            yield beam.pvalue.TaggedOutput(REJECTS, Reject.of(item.ref, fault))
