"""Material to make training clips of: speech, noise and rooms, sorted into groups and splits, measured, and read."""

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
SPEECH, NOISE, RIR = "speech", "noise", "rir"
GROUP_COLUMNS = {SPEECH: ("speaker", "speaker_or_class"), NOISE: ("group",), RIR: ("group",)}
# Decoded material that each process keeps: two hours and twenty minutes of it.
CACHE_BYTES = 512 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Material:
    """One recording of speech or noise, or one impulse response, to draw clips from.

    Attributes:
        ref: where it is.
        kind: "speech", "noise" or "rir".
        group: what must not be in two splits: the speaker, the noise group, or the kind of room.
        split: "train" or "val".
        num_samples: at 16 kHz; 0 before it was measured.
    """

    ref: AudioRef
    kind: str
    group: str
    split: str
    num_samples: int = 0


def materials(refs: Sequence[AudioRef], kind: str, holdout: float | None) -> list[Material]:
    """Sorts recordings into groups and splits.

    The group is the manifest's column (`GROUP_COLUMNS`), else the first folder in which the recordings differ (as the
    speaker in speaker/chapter/1.flac), else, where they lie in no folder, the recording itself. The split is the
    manifest's column `split` where `holdout` is None and there is one; else `held_out` decides by the groups, with a
    tenth for None.

    Args:
        refs: recordings of one kind.
        kind: "speech", "noise" or "rir".
        holdout: share of the groups to put into "val".
    """
    groups = _groups(refs, kind)
    val = held_out(set(groups), 0.1 if holdout is None else holdout)
    found = []
    for ref, group in zip(refs, groups, strict=True):
        named = ref.columns.get("split") if holdout is None else None
        found.append(Material(ref, kind, group, named or (VAL if group in val else TRAIN)))
    return found


def held_out(groups: Set[str], share: float) -> set[str]:
    """The groups whose SHA-1, as a fraction of its range, is under `share`.

    So a group that is added later moves no other. But one group at least is not held out, and of two groups or
    more one at least is, unless `share` is 0.
    """
    position = {group: int.from_bytes(hashlib.sha1(group.encode()).digest()[:4], "big") / 2**32 for group in groups}
    order = sorted(groups, key=lambda group: position[group])
    count = sum(value < share for value in position.values())
    if share > 0:
        count = min(max(count, 1), len(order) - 1)
    return set(order[:count])


def _groups(refs: Sequence[AudioRef], kind: str) -> list[str]:
    """The group of each recording."""
    folders = [ref.utterance_id.split("/")[:-1] for ref in refs]
    levels = list(zip(*folders, strict=False))
    shared = next((depth for depth, names in enumerate(levels) if len(set(names)) > 1), len(levels))
    groups = []
    for ref, folder in zip(refs, folders, strict=True):
        named = (ref.columns.get(column) for column in GROUP_COLUMNS[kind])
        groups.append(next(filter(None, named), None) or "".join(folder[shared : shared + 1]) or ref.utterance_id)
    return groups


def measure(item: Material, min_dynamic_range_db: float) -> Material:
    """Reads a recording once, to learn its length and whether it can serve.

    Raises:
        AudioFault: it cannot be decoded, or it is speech whose dynamic range is under the minimum.
    """
    samples = read_samples(item.ref)
    if item.kind == SPEECH and (found := dynamic_range_db(samples)) < min_dynamic_range_db:
        detail = f"its dynamic range is {found:.1f} dB; a clean reference needs {min_dynamic_range_db:g} dB"
        raise AudioFault(Stage.REFERENCE, Reason.NOT_CLEAN, detail)
    return dataclasses.replace(item, num_samples=len(samples))


class Catalog:
    """The material that serves, by group: every speaker of every split; noise groups and kinds of room of each split."""

    def __init__(self, items: Iterable[Material]) -> None:
        speech: dict[str, list[Material]] = defaultdict(list)
        others: dict[str, dict[str, dict[str, list[Material]]]] = {NOISE: {}, RIR: {}}
        for item in sorted(items, key=lambda item: item.ref.utterance_id):
            if item.kind == SPEECH:
                speech[f"{item.split}/{item.group}"].append(item)
            else:
                others[item.kind].setdefault(item.split, defaultdict(list))[item.group].append(item)
        self.speech = [speech[key] for key in sorted(speech)]
        self.noise, self.rirs = (
            {split: [groups[key] for key in sorted(groups)] for split, groups in others[kind].items()}
            for kind in (NOISE, RIR)
        )


class SampleCache:
    """Decoded recordings, the least recently used forgotten first.

    Args:
        size_bytes: of all that is kept together.
    """

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._held_bytes = 0
        self._held: collections.OrderedDict[tuple[str, str, Span], np.ndarray] = collections.OrderedDict()
        self._lock = threading.Lock()

    def read(self, ref: AudioRef) -> np.ndarray:
        """The samples of a recording: float32 [n], mono, 16 kHz, not to be written to.

        Raises:
            AudioFault: it cannot be read or decoded.
        """
        key = ref.uri, ref.source_version, ref.span
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        samples = read_audio(ref.uri, ref.span).samples
        samples.flags.writeable = False
        with self._lock:
            if key not in self._held:
                self._held[key] = samples
                self._held_bytes += samples.nbytes
            while self._held_bytes > self._size_bytes:
                self._held_bytes -= self._held.popitem(last=False)[1].nbytes
        return samples


# One for each process: clips draw the same material again and again.
_CACHE = SampleCache(CACHE_BYTES)


def read_samples(ref: AudioRef) -> np.ndarray:
    """The samples of material, float32 [n], 16 kHz, read-only; kept for the next clip where there is room.

    Raises:
        AudioFault: it cannot be read or decoded.
    """
    return _CACHE.read(ref)


class MeasureMaterial(beam.DoFn):
    """`Material` -> the same with its length (`measure`), or a `Reject`."""

    def __init__(self, min_dynamic_range_db: float) -> None:
        self.min_dynamic_range_db = min_dynamic_range_db

    def process(self, item: Material) -> Iterable[Any]:
        """Measures one recording."""
        try:
            yield measure(item, self.min_dynamic_range_db)
        except AudioFault as fault:
            yield beam.pvalue.TaggedOutput(REJECTS, Reject.of(item.ref, fault))
