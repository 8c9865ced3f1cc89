"""Bundles in any filesystem that Beam knows, and how workers on other machines find one."""

from __future__ import annotations

import functools
import tempfile
import threading
from pathlib import Path

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from model.bundle import BUNDLED, CARD, WEIGHTS, Bundle, BundleError, open_bundle
from transforms.storage.atomic_files import new_file
from transforms.storage.files import absolute, is_local
from transforms.storage.storage_errors import reason

# Folder of an output for the bundles of its runs.
MODELS = "_models"
# The cache alone lets threads that come at once fetch for themselves, and forgets the folders of all but one.
_FETCHING = threading.Lock()


def find_bundle(model: str | Path) -> Bundle:
    """Reads and checks a bundle, wherever it is.

    Args:
        model: a bundled model's name, or the folder of a bundle, local or in any filesystem that Beam knows. A folder
            elsewhere is copied to this machine first, once in each process, and the copy goes when the process ends.

    Raises:
        BundleError: there is no such bundle, a file of it is missing or broken, or this version cannot use it.
    """
    if is_local(str(model)):
        return open_bundle(model)
    with _FETCHING:
        return _fetched(str(model).rstrip("/"))[1]


@functools.cache
def _fetched(uri: str) -> tuple[tempfile.TemporaryDirectory[str], Bundle]:
    folder = tempfile.TemporaryDirectory(prefix="audiosieve-model-")  # held for as long as the cache holds it
    for name in (CARD, WEIGHTS):
        try:
            with FileSystems.open(f"{uri}/{name}", compression_type=CompressionTypes.UNCOMPRESSED) as file:
                Path(folder.name, name).write_bytes(file.read())
        except (OSError, ValueError) as error:
            raise BundleError(f"no model {uri!r}: {name} cannot be read ({reason(error)})") from error
    try:
        return folder, open_bundle(folder.name)
    except BundleError as error:
        raise BundleError(str(error).replace(folder.name, uri)) from error


def reference(bundle: Bundle, model: str) -> str:
    """How this machine's processes, and where it is no local folder other machines', find a bundle again.

    Args:
        bundle: as `find_bundle` gave it.
        model: what that was asked for.
    """
    if bundle.path.parent == BUNDLED:
        return bundle.path.name  # each machine has its own, wherever it is installed
    return absolute(model)


def shared(bundle: Bundle, model: str, output: str) -> str:
    """`reference`, for workers that have none of this machine's folders: a local bundle is copied to OUT/_models/HASH.

    Args:
        bundle: as `find_bundle` gave it.
        model: what that was asked for.
        output: of the run, which the workers reach.

    Raises:
        OutputError: it cannot be written there.
    """
    found = reference(bundle, model)
    if found == bundle.path.name or not is_local(found):
        return found
    place = FileSystems.join(output, MODELS, bundle.hash)
    try:
        if find_bundle(place).hash == bundle.hash:
            return place
    except BundleError:
        pass  # not there, or not whole
    _fetched.cache_clear()
    if is_local(place):
        Path(place).mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CARD):
        with new_file(f"{place}/{name}", overwrite=True) as file:
            file.write((bundle.path / name).read_bytes())
    return place
