"""`audiosieve export`: writes a model that maps waveforms to scores and runs without audiosieve."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from model.bundle import DEFAULT, Bundle
from model.local_files import atomic_path
from model.runtime import hold_native_stderr, start_tensorflow
from pipelines.common.arguments import MODEL_HELP, Parser, parse_options
from pipelines.common.errors import UsageError, command
from transforms.errors import OutputError
from transforms.scoring.bundles import find_bundle
from transforms.storage.files import is_local


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Options of `audiosieve export`.

    Attributes:
        model: name or folder of a model.
        format: format of the exported model.
        output: folder of the SavedModel, or path of the ONNX file, on this machine.
        overwrite: whether to replace an existing model.
    """

    model: str
    format: Literal["saved_model", "onnx"]
    output: str
    overwrite: bool


@command("export")
def run(argv: Sequence[str]) -> int:
    """Writes the model atomically and prints its inputs and outputs."""
    options = parse(argv)
    bundle = find_bundle(options.model)
    if options.format == "onnx" and (missing := [name for name in ("tf2onnx", "onnx") if find_spec(name) is None]):
        raise UsageError(f"{', '.join(missing)} is not installed: pip install 'audiosieve[onnx]'")
    if not is_local(options.output):
        raise UsageError(f"--output {options.output}: must be on this machine; copy the model to the bucket afterwards")
    target = Path(options.output).expanduser()
    _check_replaceable(target, options)
    try:
        with atomic_path(target, replace_folder=True) as draft:
            _write(bundle, options.format, draft)
    except OSError as error:
        raise OutputError(f"--output {options.output}: cannot be written ({error})") from error
    print(
        f"{bundle.model_id} is in {options.output}: waveforms [B, n] at 16 kHz and lengths [B] -> score [B], "
        "frame_score [B, T], num_frames [B]"
    )
    return 0


def _write(bundle: Bundle, kind: Literal["saved_model", "onnx"], target: Path) -> None:
    """Writes a model; hides the messages of TensorFlow and the converter unless the export fails."""
    start_tensorflow()
    with hold_native_stderr():
        from model.inference.export import save_onnx, save_saved_model

        {"saved_model": save_saved_model, "onnx": save_onnx}[kind](bundle, target)


def _check_replaceable(target: Path, options: ExportOptions) -> None:
    """Checks that the target does not exist, or is a model that may be replaced."""
    exists = target.is_file() or (target.is_dir() and any(target.iterdir()))
    if exists and not options.overwrite:
        raise OutputError(f"--output {options.output}: already exists; choose another name, or add --overwrite")
    is_model = target.is_file() or (target / "saved_model.pb").is_file()
    if exists and not is_model:
        raise OutputError(f"--output {options.output}: is a folder without a model; choose another name")


def parse(argv: Sequence[str]) -> ExportOptions:
    """Returns the options of the command."""
    return parse_options(build_parser(), argv, ExportOptions)


def build_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser(
        "export",
        "Write a model as a SavedModel, for TensorFlow Serving, or as an ONNX file. The exported model takes decoded "
        "waveforms at 16 kHz; level normalisation and FFT are part of it. It runs without audiosieve.",
    )
    add = parser.add_argument
    add("--model", default=DEFAULT, help=MODEL_HELP)
    add("--format", choices=("saved_model", "onnx"), default="saved_model", help="format of the exported model")
    add(
        "-o",
        "--output",
        required=True,
        help="folder of the SavedModel (for TensorFlow Serving: MODEL/1) or name of the ONNX file, on this machine",
    )
    add("--overwrite", action="store_true", help="replace an existing model")
    return parser
