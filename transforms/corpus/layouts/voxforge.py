"""VoxForge: folders of a speaker's session with `etc/PROMPTS` and recordings in `wav` or `flac`."""

from __future__ import annotations

from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts.unlisted import add_unlisted
from transforms.corpus.listing import BadRow, Listing
from transforms.corpus.rows import stripped_lines
from transforms.storage.files import Finder

_PROMPTS = ("etc/PROMPTS", "etc/prompts-original")
_FOLDERS = ("wav", "flac")
_CARRIED = ("text", "speaker")
# Folders that are looked at to recognise a folder of sessions.
_TRIED = 20


def recognises(source: Source) -> bool:
    """Returns whether a folder is a session, or a local folder of sessions."""
    if not source.is_folder:
        return False
    return _prompts(source) is not None or any(_prompts(folder) for folder in source.folders[:_TRIED])


def _prompts(session: Source) -> Source | None:
    return next((file for name in _PROMPTS if (file := session.file(*name.split("/"))).exists), None)


def read(source: Source, listing: Listing) -> None:
    """Adds the recordings of the sessions, with the columns `text` and `speaker` (the name of the session up to its date).

    Args:
        source: a session, or a folder of sessions. Ids are the session and the name of the recording.
        listing: listing of the corpus.
    """
    listing.columns.update(_CARRIED)
    listing.wanted(*_CARRIED)
    sessions = [source] if _prompts(source) else source.folders
    for session in sessions:
        prompts = _prompts(session)
        if prompts is not None:
            _read_session(session, prompts, listing)
    add_unlisted(source, listing)


def _read_session(session: Source, prompts: Source, listing: Listing) -> None:
    manifest = listing.manifest(prompts.uri)
    finder = Finder(*(f"{session.uri}/{name}" for name in _FOLDERS))
    speaker = session.name.partition("-")[0]
    for row in stripped_lines(prompts.uri):
        if isinstance(row, BadRow):
            manifest.reject(row)
            continue
        number, line = row
        path, _, text = line.partition(" ")
        name = path.rpartition("/")[2]
        candidates = [finder.find(f"{name}.{suffix}") for suffix in _FOLDERS]
        file = next((file for file in candidates if file.is_there), candidates[0])
        manifest.add(file.ref(f"{session.name}/{name}", {"text": text.strip(), "speaker": speaker}), number)


LAYOUT = Layout(name="VoxForge", recognises=recognises, read=read, manifest_format="jsonl")
