"""Listing of a very large corpus by the workers: folder by folder, in bounded memory, without scored recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from transforms.corpus.archives.reading import archive_kind
from transforms.corpus.layout import MANIFEST, Source
from transforms.corpus.layouts.registry import find_layout
from transforms.corpus.sources import relative_ref
from transforms.elements import AudioRef, archives_of, printable, without_channel
from transforms.errors import OutputError
from transforms.output.ledger import Ledger
from transforms.runs.chunking import Chunk, Lengths, cut_chunks, recordings
from transforms.runs.corpus_chunks import CorpusChunks
from transforms.runs.incremental import lasting_version, other_corpus
from transforms.runs.plan import WritePlan
from transforms.storage.files import Place, has_wildcards, is_directory, places_in, stream
from transforms.storage.source_versions import is_same_version
from transforms.telemetry import Work

# Number of places into which the corpus is divided; up to so many workers can list it at the same time.
PLACES = 2_000
# Number of files that are sorted by length together; also the largest number of files in a chunk.
SORTED_FILES = 20_000
_SKIPPED = "skipped"
# Tables whose rows show which recordings are done.
_TABLES_WITH_VERSIONS = ("utterances", "rejects")


def is_listable(source: str) -> bool:
    """Returns whether workers can list a corpus: it is a folder of files without a known layout."""
    if has_wildcards(source) or MANIFEST.search(source) or not is_directory(source):
        return False
    return find_layout(Source(source.rstrip("/") or "/")) is None


class ListCorpus(beam.PTransform):
    """Root -> chunks of the recordings in a folder, without those that earlier runs scored; and their plan.

    Shuffles the folders, the chunks and, if there are earlier runs, some 200 bytes per recording.

    Args:
        source: the folder.
        ledger: ledger of the output.
        run_id: id of the run.
    """

    def __init__(self, source: str, ledger: Ledger, run_id: str) -> None:
        super().__init__()
        self._source = source.rstrip("/") or "/"
        self._ledger = ledger
        self._run_id = run_id

    def expand(self, root: beam.Pipeline) -> CorpusChunks:
        """Lists on the workers; the receipts are the paths of the plan and the number of skipped recordings."""
        refs = (
            root
            | "Source" >> beam.Create([self._source])
            | "Places" >> beam.FlatMap(places_in, most=PLACES).with_output_types(Any)
            | "SpreadPlaces" >> beam.Reshuffle()
            | "List" >> beam.FlatMap(list_place, self._source).with_output_types(Any)
        )
        if any(map(self._ledger.committed, _TABLES_WITH_VERSIONS)):
            refs, skipped = self._drop_scored(root, refs)
        else:
            skipped = root | "NoneSkipped" >> beam.Create([Work().sums()])
        chunks = refs | "Chunks" >> beam.ParDo(CutChunks()) | "Spread" >> beam.Reshuffle()
        return CorpusChunks(chunks, (chunks | "WritePlan" >> WritePlan(self._ledger, self._run_id), skipped))

    def _drop_scored(self, root: beam.Pipeline, refs: beam.PCollection) -> tuple[beam.PCollection, beam.PCollection]:
        """Returns the refs that are new or changed, and the number of the others as `Work`."""
        rows = (
            root
            | "Tables" >> beam.Create(_TABLES_WITH_VERSIONS)
            # On a worker: the names of tens of thousands of files would make the job too large for some runners.
            | "Committed" >> beam.FlatMap(self._ledger.committed)
            | "SpreadCommitted" >> beam.Reshuffle()
            | "Rows" >> beam.FlatMap(committed_rows).with_output_types(tuple[str, Any])
        )
        outputs = (
            {"refs": refs | "KeyRefs" >> beam.Map(_keyed), "rows": rows}
            | "Compare" >> beam.CoGroupByKey()
            | "DropScored" >> beam.ParDo(DropScored()).with_outputs(_SKIPPED, main="refs")
        )
        return outputs.refs, outputs[_SKIPPED]


def list_place(place: Place, root: str) -> Iterator[AudioRef]:
    """Yields the recordings in a place, with ids relative to the root of the corpus."""
    for file in stream(place):
        yield relative_ref(root, file, archive_kind(file))


def key_of(ref: AudioRef) -> str:
    """Returns the key that joins a recording with its rows: its id, or the URI of an archive."""
    return f"archive {printable(ref.uri)}" if ref.archive else ref.utterance_id


@beam.typehints.with_output_types(tuple[str, Any])
def _keyed(ref: AudioRef) -> tuple[str, AudioRef]:
    return key_of(ref), ref


def keys_of(utterance_id: str, uri: str) -> set[str]:
    """Returns the keys of all recordings that a row may belong to."""
    return {utterance_id, without_channel(utterance_id), *(f"archive {archive}" for archive in archives_of(uri))}


def committed_rows(path: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yields, for each row of a file and each key of the row, the key with the id, the URI and the `lasting_version`."""
    with FileSystems.open(path) as file:
        table = pq.ParquetFile(file)
        columns = ["utterance_id", "uri", "source_version", "reason"]
        for batch in table.iter_batches(columns=[name for name in columns if name in table.schema_arrow.names]):
            for row in batch.to_pylist():
                version = lasting_version(row["source_version"], row.get("reason"))
                for key in keys_of(row["utterance_id"], row["uri"]):
                    yield key, (row["utterance_id"], row["uri"], version)


class DropScored(beam.DoFn):
    """Refs and rows of a key -> refs that are new or changed; the number of the others as `Work` on output "skipped"."""

    def start_bundle(self) -> None:
        """Resets the state, also after a failed bundle."""
        self._skipped = 0

    def process(self, group: tuple[str, dict[str, Iterable[Any]]]) -> Iterable[AudioRef]:
        """Compares versions. Ignores rows of other recordings that have the same key by chance.

        Raises:
            OutputError: an id belonged to another recording, so the output is of another corpus.
        """
        _, members = group
        rows = list(members["rows"])
        for ref in members["refs"]:
            ref_uri = printable(ref.uri)
            versions = set()
            for utterance_id, uri, version in rows:
                if uri == ref_uri or (ref.archive and uri.startswith(f"{ref_uri}#")):
                    versions.add(version)
                elif utterance_id == ref.utterance_id:
                    raise OutputError(other_corpus(utterance_id, ref_uri, uri))
            if versions and all(is_same_version(version, ref.source_version) for version in versions):
                self._skipped += 1
            else:
                yield ref

    def finish_bundle(self) -> Iterable[beam.pvalue.TaggedOutput]:
        """Outputs the number of skipped recordings."""
        yield beam.pvalue.TaggedOutput(
            _SKIPPED, GlobalWindows.windowed_value_at_end_of_window(Work(skipped=self._skipped).sums())
        )


class CutChunks(beam.DoFn):
    """Refs -> chunks of recordings of similar length."""

    def start_bundle(self) -> None:
        """Resets the state, also after a failed bundle."""
        self._refs: list[AudioRef] = []

    def process(self, ref: AudioRef) -> Iterable[Any]:
        """Takes a ref, and outputs chunks when there are enough refs."""
        self._refs.append(ref)
        if len(self._refs) >= SORTED_FILES:
            yield from self._cut()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        """Outputs chunks of the remaining refs."""
        for chunk in self._cut():
            yield GlobalWindows.windowed_value_at_end_of_window(chunk)

    def _cut(self) -> Iterator[Chunk]:
        refs = self._refs
        self.start_bundle()
        # No headers are read here: the lengths are estimated by suffix.
        yield from cut_chunks(recordings(refs), Lengths({}))
