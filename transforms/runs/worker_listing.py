"""A corpus of very many files is listed by the workers: folder by folder, in bounded memory, what is done already left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from transforms.corpus.archives import archive_kind
from transforms.corpus.kaldi import is_data_directory
from transforms.corpus.sources import MANIFEST, relative_ref
from transforms.elements import AudioRef, archives_of, printable, without_channel
from transforms.errors import OutputError
from transforms.output.ledger import Ledger
from transforms.runs.chunking import Lengths, cut_chunks, recordings
from transforms.runs.incremental import another_corpus, version_that_lasts
from transforms.storage.files import Place, has_wildcards, is_directory, places_in, stream
from transforms.telemetry import Work

# Folders that are looked for, level by level, so that as many workers have something to list.
PLACES = 2_000
# Files that are sorted by length together, and so many at most in a chunk.
SORTED_FILES = 20_000
_SKIPPED = "skipped"
# Tables that say what is done.
_WITH_VERSIONS = ("utterances", "rejects")


def is_listable(source: str) -> bool:
    """Whether workers can list a corpus: a folder, and no file, glob, manifest or data directory."""
    if has_wildcards(source) or MANIFEST.search(source) or not is_directory(source):
        return False
    return not is_data_directory(source.rstrip("/") or "/")


class CorpusListing(NamedTuple):
    """What `ListCorpus` gives.

    Attributes:
        chunks: of recordings that are to be scored.
        work: how many were found done.
    """

    chunks: beam.PCollection
    work: beam.PCollection


class ListCorpus(beam.PTransform):
    """Root -> the chunks of a folder's recordings, but for those that earlier runs have done.

    Shuffles folders; and, only where there are earlier runs, what is known of each recording, some 200 bytes.

    Args:
        source: the folder.
        ledger: of the output.
    """

    def __init__(self, source: str, ledger: Ledger) -> None:
        super().__init__()
        self._source = source.rstrip("/") or "/"
        self._ledger = ledger

    def expand(self, root: beam.Pipeline) -> CorpusListing:
        """Lists where the workers are."""
        refs = (
            root
            | "Source" >> beam.Create([self._source])
            | "Places" >> beam.FlatMap(places_in, most=PLACES).with_output_types(Any)
            | "SpreadPlaces" >> beam.Reshuffle()
            | "List" >> beam.FlatMap(list_place, self._source).with_output_types(Any)
        )
        if not any(map(self._ledger.committed, _WITH_VERSIONS)):
            return CorpusListing(
                refs | "Chunks" >> beam.ParDo(CutChunks()), root | "NoneDone" >> beam.Create([Work().sums()])
            )
        rows = (
            root
            | "Tables" >> beam.Create(_WITH_VERSIONS)
            # Where the job runs: the names of ten thousands of files would make the job itself too large for some runners.
            | "Committed" >> beam.FlatMap(self._ledger.committed)
            | "SpreadCommitted" >> beam.Reshuffle()
            | "Rows" >> beam.FlatMap(committed_rows).with_output_types(tuple[str, Any])
        )
        left = (
            {"refs": refs | "KeyRefs" >> beam.Map(_keyed), "rows": rows}
            | "Compare" >> beam.CoGroupByKey()
            | "Undone" >> beam.ParDo(DropScored()).with_outputs(_SKIPPED, main="refs")
        )
        return CorpusListing(left.refs | "Chunks" >> beam.ParDo(CutChunks()), left[_SKIPPED])


def list_place(place: Place, root: str) -> Iterator[AudioRef]:
    """The recordings in a place, ids relative to the corpus."""
    for file in stream(place):
        yield relative_ref(root, file, archive_kind(file))


def key_of(ref: AudioRef) -> str:
    """By what a recording is found among the rows: its id; of an archive, where it is."""
    return f"archive {printable(ref.uri)}" if ref.archive else ref.utterance_id


@beam.typehints.with_output_types(tuple[str, Any])
def _keyed(ref: AudioRef) -> tuple[str, AudioRef]:
    return key_of(ref), ref


def keys_of(utterance_id: str, uri: str) -> set[str]:
    """Keys of all the recordings that a row may be of."""
    return {utterance_id, without_channel(utterance_id), *(f"archive {archive}" for archive in archives_of(uri))}


def committed_rows(path: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Id, place of the recording and version of each row of a table, by each key that the row may have."""
    with FileSystems.open(path) as file:
        table = pq.ParquetFile(file)
        columns = ["utterance_id", "uri", "source_version", "reason"]
        for batch in table.iter_batches(columns=[name for name in columns if name in table.schema_arrow.names]):
            for row in batch.to_pylist():
                version = version_that_lasts(row["source_version"], row.get("reason"))
                for key in keys_of(row["utterance_id"], row["uri"]):
                    yield key, (row["utterance_id"], row["uri"], version)


class DropScored(beam.DoFn):
    """Refs and rows of a key -> the refs that are new or changed; how many are done, as `Work`, on the output "skipped"."""

    def start_bundle(self) -> None:
        """Begins with nothing, also after a bundle that failed."""
        self._skipped = 0

    def process(self, found: tuple[str, dict[str, Iterable[Any]]]) -> Iterable[AudioRef]:
        """Compares by version; rows of other recordings, whose key is the same by chance, say nothing.

        Raises:
            OutputError: an id stood for a recording elsewhere: the output holds another corpus.
        """
        _, groups = found
        rows = list(groups["rows"])
        for ref in groups["refs"]:
            here = printable(ref.uri)
            versions = set()
            for utterance_id, uri, version in rows:
                if uri == here or (ref.archive and uri.startswith(f"{here}#")):
                    versions.add(version)
                elif utterance_id == ref.utterance_id:
                    raise OutputError(another_corpus(utterance_id, here, uri))
            if versions == {ref.source_version}:
                self._skipped += 1
            else:
                yield ref

    def finish_bundle(self) -> Iterable[beam.pvalue.TaggedOutput]:
        """Gives the number."""
        yield beam.pvalue.TaggedOutput(
            _SKIPPED, GlobalWindows.windowed_value_at_end_of_window(Work(skipped=self._skipped).sums())
        )


class CutChunks(beam.DoFn):
    """Refs -> chunks of recordings of like length."""

    def start_bundle(self) -> None:
        """Begins with nothing, also after a bundle that failed."""
        self._held: list[AudioRef] = []

    def process(self, ref: AudioRef) -> Iterable[Any]:
        """Takes a ref; gives chunks when many are there."""
        self._held.append(ref)
        if len(self._held) >= SORTED_FILES:
            yield from self._cut()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        """Gives what is left."""
        for chunk in self._cut():
            yield GlobalWindows.windowed_value_at_end_of_window(chunk)

    def _cut(self) -> Iterator[Any]:
        held = self._held
        self.start_bundle()
        lengths = Lengths({})
        yield from cut_chunks([(lengths.seconds(recording.refs[0]), recording) for recording in recordings(held)])
