"""Options of `audiosieve filter` for the export of audio."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, get_args

from pipelines.common.argument_types import number, positive_int, whole_number
from pipelines.common.arguments import Parser
from pipelines.common.errors import UsageError
from transforms.curation.exporting.plan import SHARDS, ExportFormat
from transforms.decoders.sound import MAX_RATE, MIN_RATE

# The absolute gate of BS.1770: nothing quieter has a loudness.
LEAST_LUFS = -70.0
SHARD_SIZE = 1_000


def add_export_arguments(parser: Parser) -> None:
    """Adds the options for the export."""
    add, further = parser.add_argument, parser.further.add_argument
    add("--export", metavar="DIR", help="folder, local or in a bucket, for the audio of the kept utterances")
    add(
        "--export_format",
        choices=get_args(ExportFormat),
        help="original, the default: whole recordings are copied unchanged, and spans and changed audio are written as FLAC; "
        "flac or wav: all audio in this format; webdataset: tar files with audio and metadata; shar: Lhotse Shar; parquet: "
        "Hugging Face, with the audio. With a manifest in Kaldi's format, the default is wav",
    )
    further(
        "--shard_size",
        type=positive_int,
        help=f"utterances in a file of --export_format webdataset, shar or parquet; {SHARD_SIZE:,} by default",
    )
    further(
        "--sample_rate",
        type=whole_number(MIN_RATE, MAX_RATE),
        metavar="HZ",
        help="sampling rate of the exported audio; by default that of each recording",
    )
    further("--mono", action="store_true", help="export one channel: the scored one, or the mean of all")
    further(
        "--loudness",
        type=number(at_least=LEAST_LUFS, at_most=0),
        metavar="LUFS",
        help="loudness of the exported audio (BS.1770), such as -23; true peaks stay below -1 dBTP",
    )


def check_export_options(folder: str | None, audio: Mapping[str, Any]) -> None:
    """Checks the options for exported audio.

    Args:
        folder: value of --export.
        audio: other options of the export by name; None if not given.

    Raises:
        UsageError: there is no export, or a package is not installed.
    """
    for name, value in audio.items():
        if not folder and value is not None:
            raise UsageError(f"--{name} is for exported audio; add --export DIR")
    if audio["shard_size"] is not None and audio["export_format"] not in (*SHARDS, "parquet"):
        raise UsageError(f"--shard_size has no effect without --export_format {', '.join(SHARDS)} or parquet")
    if audio["loudness"] is not None and not find_spec("pyloudnorm"):
        raise UsageError("--loudness: pyloudnorm is not installed: pip install 'audiosieve[loudness]'")
