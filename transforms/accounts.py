"""Every utterance that went in must have come out, scored or rejected: counted from what was written, not from memory."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import pyarrow.compute as pc

from transforms.ledger import Ledger, count_rows
from transforms.records import AudioRef, archives_of, printable, without_channel


class LostRowsError(RuntimeError):
    """Rows that should be in the output are not, or stand there twice: a bug, whose output must not be committed."""


@dataclasses.dataclass(frozen=True)
class Account:
    """What came out of a run.

    Attributes:
        scored: utterances with a score.
        rejected: those with a reason instead, by reason.
        audio_s: seconds of audio that were scored.
    """

    scored: int = 0
    rejected: Counter[str] = dataclasses.field(default_factory=Counter)
    audio_s: float = 0.0

    def __add__(self, other: Account) -> Account:
        return Account(self.scored + other.scored, self.rejected + other.rejected, self.audio_s + other.audio_s)


def settle(ledger: Ledger, run_id: str, refs: Sequence[AudioRef]) -> Account:
    """Compares what a run wrote with what went into it.

    Args:
        ledger: where it wrote.
        run_id: of the run.
        refs: what went in.

    Raises:
        LostRowsError: an utterance has no row, a row has no utterance, an id stands twice, or frames are missing.
    """
    files = ledger.written(run_id)
    known = {ref.utterance_id for ref in refs}
    archives = {printable(ref.uri): ref.utterance_id for ref in refs if ref.archive}
    missing = set(known)
    strange: set[str] = set()
    seen: Counter[str] = Counter()
    audio_s, num_frames = 0.0, 0
    rejected: Counter[str] = Counter()
    for table, columns in (("utterances", ["duration_s", "num_frames"]), ("rejects", ["reason"])):
        named = [name for name in files if name.startswith(f"{table}/")]
        for batch in ledger.rows(table, ["utterance_id", "uri", *columns], named):
            for utterance_id, uri in zip(batch["utterance_id"].to_pylist(), batch["uri"].to_pylist(), strict=True):
                seen[utterance_id] += 1
                base: str | None = utterance_id if utterance_id in known else without_channel(utterance_id)
                if base not in known:
                    base = next((archives[archive] for archive in archives_of(uri) if archive in archives), None)
                (strange.add if base is None else missing.discard)(utterance_id if base is None else base)
            if table == "rejects":
                rejected.update(batch["reason"].to_pylist())
            else:
                audio_s += pc.sum(batch["duration_s"]).as_py() or 0.0
                num_frames += pc.sum(batch["num_frames"]).as_py() or 0
    frames = count_rows(ledger, "frames", files)
    twice = [name for name, count in seen.items() if count > 1]
    if missing or strange or twice or frames != num_frames:
        first = next(iter([*missing, *strange, *twice]), "")
        raise LostRowsError(
            f"rows were lost: of {len(refs)} inputs {len(missing)} have no row, {len(strange)} rows have no input, "
            f"{len(twice)} ids stand twice, and {frames} of {num_frames} frames were written ({first!r} first); nothing of "
            "this is committed. Run it again, and report this"
        )
    return Account(seen.total() - rejected.total(), rejected, audio_s)
