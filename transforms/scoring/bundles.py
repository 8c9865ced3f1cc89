"""Finds bundles in any filesystem that Beam knows, and makes them available to workers on other machines."""

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
# Lets one thread at a time download a bundle. Otherwise threads that start together would each download it, and the folders
# that the cache does not keep would be deleted while in use.
_DOWNLOAD = threading.Lock()


def find_bundle(model: str | Path) -> Bundle:
    """Reads and checks a bundle, local or remote.

    Args:
        model: name of a bundled model, or folder of a bundle, local or in any filesystem that Beam knows. A remote folder is
            downloaded once per process and deleted when the process ends.

    Raises:
        BundleError: the bundle does not exist, is incomplete or damaged, or has a format that this version cannot use.
    """
    if is_local(str(model)):
        return open_bundle(model)
    with _DOWNLOAD:
        return _download(str(model).rstrip("/"))[1]


@functools.cache
def _download(uri: str) -> tuple[tempfile.TemporaryDirectory[str], Bundle]:
    folder = tempfile.TemporaryDirectory(prefix="audiosieve-model-")  # the cache keeps it until the process ends
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


def bundle_reference(bundle: Bundle, model: str) -> str:
    """Returns the name or path by which other processes of this machine find a bundle.

    Other machines can use it too, unless it is a local folder.

    Args:
        bundle: result of `find_bundle`.
        model: argument of that call.
    """
    if bundle.path.parent == BUNDLED:
        return bundle.path.name  # each machine has a copy, wherever audiosieve is installed
    return absolute(model)


def share_bundle(bundle: Bundle, model: str, output: str) -> str:
    """Returns the name or path by which workers on other machines find a bundle; copies a local one to OUT/_models/HASH.

    Args:
        bundle: result of `find_bundle`.
        model: argument of that call.
        output: output folder of the run, which the workers can reach.

    Raises:
        OutputError: the copy cannot be written.
    """
    reference = bundle_reference(bundle, model)
    if reference == bundle.path.name or not is_local(reference):
        return reference
    copy = FileSystems.join(output, MODELS, bundle.hash)
    try:
        if find_bundle(copy).hash == bundle.hash:
            return copy
    except BundleError:
        pass  # the copy is missing or incomplete, and is written below
    _download.cache_clear()
    if is_local(copy):
        Path(copy).mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CARD):
        with new_file(f"{copy}/{name}", overwrite=True) as file:
            file.write((bundle.path / name).read_bytes())
    return copy
