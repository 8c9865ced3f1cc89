"""Manifests that `audiosieve filter` writes for corpora of rows, without audio."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.outputs import scored, write_output
from transforms.corpus.listing import ListingOptions
from transforms.corpus.sources import scan_corpus
from transforms.corpus.word_times import WORDS
from transforms.curation.manifest_formats import FORMATS
from transforms.curation.row_writers.writers import WRITERS
from transforms.curation.rules import Rule
from transforms.curation.selection import Selection
from transforms.elements import AudioRef, ScoredUtterance
from transforms.output.results import open_results

# Length of a recording, in seconds.
RECORDING_S = 10.0


def utterance_of(ref: AudioRef, frame_score: Any = 3.5, **changes: Any) -> ScoredUtterance:
    """Returns a scored utterance of a corpus. Its recording, which does not exist, is taken for 10 s long."""
    end_s = RECORDING_S if ref.span.end_s is None else ref.span.end_s
    made = scored(ref.utterance_id, frame_score, duration_s=end_s - ref.span.start_s, columns=ref.columns)
    return ScoredUtterance(dataclasses.replace(made.utterance, ref=ref, **changes), made.frame_score)


def write_output_of_rows(source: Path, root: Path, carry: Sequence[str] = (), **options: Any) -> Path:
    """Writes an output of a corpus whose recordings do not exist. Faulty rows are left out."""
    refs = scan_corpus(str(source), ListingOptions(word_times=WORDS in carry, is_strict=False)).refs
    items = [utterance_of(ref) for ref in refs if ref.fault is None]
    return write_output(root, items, carry=carry, source=str(source), **options)


def written_back(source: Path, keep: Callable[[Path], Any], rules: Sequence[Rule] = ()) -> Any:
    """Scores a corpus, writes the rows of the kept utterances, and returns what `keep` reads from the manifest."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        results = open_results(str(write_output_of_rows(source, folder / "out")))
        with Selection(results, folder) as selection:
            selection.apply_rules(rules)
            kind = selection.source_kind()
            kept = selection.list_kept(kind.has_spans)
            rows = selection.match_rows(kept)
            assert rows is not None
            assert not rows.lacking
            path = folder / FORMATS[kind.format].file
            WRITERS[kind.format](rows, path)
            return keep(path)
