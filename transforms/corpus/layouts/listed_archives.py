"""Archives whose recordings a manifest lists: tarred manifests of NeMo, and Shar of Lhotse."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict

from transforms.corpus.listing import ManifestListing, digest
from transforms.elements import LISTED_MARK, SPANS_MARK, WHOLE, ArchiveKind, ListedMember
from transforms.storage.files import File

_TAR = re.compile(r"(?i)\.(?:tar|tar\.gz|tgz)$")


def is_tar(name: str) -> bool:
    """Returns whether a name is that of a tar."""
    return _TAR.search(name) is not None


class ListedArchives:
    """Collects the utterances of tars.

    Args:
        manifest: listing of the manifest.
        root: folder that ids of tars are relative to; the id of a tar elsewhere is its name.
    """

    def __init__(self, manifest: ManifestListing, root: str) -> None:
        self._manifest = manifest
        self._root = root.rstrip("/") + "/"
        self._files: dict[str, File] = {}
        self._members: dict[str, dict[str, list[ListedMember]]] = defaultdict(lambda: defaultdict(list))
        self._numbers: dict[str, int] = {}

    def add(self, file: File, key: str, member: ListedMember, number: int) -> None:
        """Adds an utterance.

        Args:
            file: the tar.
            key: name of the member, with or without its suffix.
            member: the utterance.
            number: number of its row.
        """
        self._manifest.is_empty = False
        self._files[file.uri] = file
        self._numbers.setdefault(file.uri, number)
        self._members[file.uri][key].append(member)

    def finish(self) -> None:
        """Adds the tars to the listing. Their versions contain the utterances, so that a corrected manifest is scored again."""
        for uri, members in self._members.items():
            listed = {key: tuple(of_key) for key, of_key in members.items()}
            utterances = [(key, member.name, member.span) for key, of_key in listed.items() for member in of_key]
            mark = SPANS_MARK if any(span != WHOLE for *_, span in utterances) else LISTED_MARK
            name = uri.removeprefix(self._root) if uri.startswith(self._root) else uri.rpartition("/")[2]
            ref = self._files[uri].ref(name, archive=ArchiveKind.TAR)
            version = f"{ref.source_version}{mark}{digest(repr(utterances))}"
            self._manifest.add(dataclasses.replace(ref, source_version=version, listed=listed), self._numbers[uri])
