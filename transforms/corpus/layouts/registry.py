"""The known layouts. To add one, write a module with a `LAYOUT` and list it here."""

from __future__ import annotations

from transforms.corpus.layout import Layout, Source
from transforms.corpus.layouts import (
    audio_folder,
    common_voice,
    kaldi,
    large_json,
    lhotse,
    ljspeech,
    nemo_tarred,
    save_to_disk,
    shar,
    voxforge,
)
from transforms.corpus.layouts.trees import annotated, librispeech, text_files

# The first one that recognises a folder or a manifest reads it.
LAYOUTS: tuple[Layout, ...] = (
    # Before the layouts that read whole lines, which may have gigabytes.
    large_json.LAYOUT,
    kaldi.LAYOUT,
    shar.LAYOUT,
    lhotse.LAYOUT,
    common_voice.LAYOUT,
    ljspeech.LAYOUT,
    audio_folder.LAYOUT,
    voxforge.LAYOUT,
    save_to_disk.LAYOUT,
    nemo_tarred.LAYOUT,
    librispeech.LIBRISPEECH,
    librispeech.MLS,
    text_files.LIBRITTS,
    text_files.VCTK,
    text_files.TIMIT,
    annotated.LAYOUT,
)


def find_layout(source: Source) -> Layout | None:
    """Returns the layout of a folder or a file; None for a folder of files and for manifests without a known layout."""
    return next((layout for layout in LAYOUTS if layout.recognises(source)), None)
