"""LibriSpeech (`19-198.trans.txt` beside `19-198-0000.flac`) and its multilingual form (`transcripts.txt` beside `audio`)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.trees.tree import Tree
from transforms.corpus.listing import BadRow, Listing
from transforms.corpus.rows import stripped_lines

_CARRIED = ("text", "speaker")
_BLANKS = re.compile(r"[ \t]+")


@dataclasses.dataclass(frozen=True)
class _Form:
    """A form of transcripts with lines of an id and a text.

    Attributes:
        transcript: pattern of the paths of transcripts.
        audio: pattern of the paths of recordings, by which the corpus is recognised, too.
        path_of: returns the path of the recording of an id, relative to the transcript and without the suffix.
        separator: character between the parts of an id, the first of which is the speaker.
        places: usual paths of transcripts in the corpus.
    """

    transcript: re.Pattern[str]
    audio: re.Pattern[str]
    path_of: Callable[[str], str]
    separator: str
    places: tuple[str, ...] = ()

    def recognises(self, source: Source) -> bool:
        """Returns whether a file is a transcript, or a folder holds transcripts and recordings."""
        if source.is_folder:
            return source.has_file(self.audio) and (source.has_file(self.transcript) or self.is_at_known_place(source))
        if not self.transcript.search(source.uri):
            return False
        return bool(self.path_of(_BLANKS.split(source.first_line.strip())[0])) and Source(source.folder).has_file(
            self.audio
        )

    def is_at_known_place(self, source: Source) -> bool:
        """Returns whether a transcript is where the corpus has it; in a bucket it may come after very many recordings."""
        return any(source.file(*place.split("/")).exists for place in self.places)

    def read(self, source: Source, listing: Listing) -> None:
        """Adds the utterances of the transcripts, with the columns `text` and `speaker`, and all other recordings.

        Args:
            source: a folder, or a transcript.
            listing: listing of the corpus.
        """
        listing.columns.update(_CARRIED)
        listing.wanted(*_CARRIED)
        tree = Tree(source, listing)
        for uri in tree.transcripts(self.transcript):
            self._read_transcript(uri, tree)
        tree.finish()

    def _read_transcript(self, uri: str, tree: Tree) -> None:
        manifest = tree.listing.manifest(uri)
        folder = uri.rpartition("/")[0]
        for row in stripped_lines(uri):
            if isinstance(row, BadRow):
                manifest.reject(row)
                continue
            number, line = row
            name, *texts = _BLANKS.split(line, maxsplit=1)
            path = self.path_of(name)
            if not path:
                manifest.reject(BadRow(number, f"{name[:80]!r} is not an id of this corpus", line))
                continue
            columns = {"text": texts[0] if texts else "", "speaker": name.partition(self.separator)[0]}
            manifest.add(tree.recording(f"{folder}/{path}", ".flac").ref(name, columns), number)


def _mls_path(name: str) -> str:
    parts = name.split("_")
    return f"audio/{parts[0]}/{parts[1]}/{name}" if len(parts) == 3 else ""


_AUDIO = r"\.(?:flac|opus|ogg|wav|mp3|m4a)$"
_LIBRISPEECH = _Form(
    transcript=re.compile(r"\.trans\.txt$"),
    audio=re.compile(rf"-\d+{_AUDIO}"),
    path_of=lambda name: name if "-" in name else "",
    separator="-",
)
_MLS = _Form(
    transcript=re.compile(r"(?:^|/)transcripts\.txt$"),
    audio=re.compile(rf"(?:^|/)audio/[^/]+/[^/]+/[^/_]+_[^/_]+_[^/_]+{_AUDIO}"),
    path_of=_mls_path,
    separator="_",
    places=tuple(f"{folder}transcripts.txt" for folder in ("", "train/", "dev/", "test/")),
)

LIBRISPEECH = Layout(
    name="LibriSpeech", recognises=_LIBRISPEECH.recognises, read=_LIBRISPEECH.read, manifest_format="jsonl"
)
MLS = Layout(name="Multilingual LibriSpeech", recognises=_MLS.recognises, read=_MLS.read, manifest_format="jsonl")
