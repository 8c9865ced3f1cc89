"""`audiosieve export`: a model as a file that runs without audiosieve, from waveforms to scores."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from model.bundle import DEFAULT, Bundle, bundled_names
from model.runtime import hold_native_stderr, start_tensorflow
from pipelines.common.arguments import Parser, UsageError, command
from transforms.errors import OutputError
from transforms.scoring.bundles import find_bundle
from transforms.storage.files import is_local


@command("export")
def run(argv: Sequence[str]) -> int:
    """Parses the command line and writes the model; it appears as a whole or not at all."""
    options = _parser().parse_args(argv)
    bundle = find_bundle(options.model)
    if options.format == "onnx" and (missing := [name for name in ("tf2onnx", "onnx") if find_spec(name) is None]):
        raise UsageError(f"{', '.join(missing)} is not installed: pip install 'audiosieve[onnx]'")
    if not is_local(options.output):
        raise UsageError(f"--output {options.output}: must be a place on this machine; copy the model from there")
    target = Path(options.output).expanduser()
    _check_new(target, options)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".draft", dir=target.parent) as drafts:
            draft = Path(drafts) / target.name
            _write(bundle, options.format, draft)
            if target.is_dir():
                target.rename(Path(drafts) / "replaced")
            draft.rename(target)
    except OSError as error:
        raise OutputError(f"--output {options.output}: cannot be written ({error})") from error
    print(
        f"{bundle.model_id} is in {options.output}: waveforms [B, n] at 16 kHz and lengths [B] -> score [B], "
        "frame_score [B, T], num_frames [B]"
    )
    return 0


def _write(bundle: Bundle, kind: str, target: Path) -> None:
    """Holds back what TensorFlow and the converter have to say, as long as all goes well."""
    start_tensorflow()
    with hold_native_stderr():
        from model.inference.export import save_onnx, save_saved_model

        {"saved_model": save_saved_model, "onnx": save_onnx}[kind](bundle, target)


def _check_new(target: Path, options: argparse.Namespace) -> None:
    there = target.is_file() or (target.is_dir() and any(target.iterdir()))
    if there and not options.overwrite:
        raise OutputError(f"--output {options.output}: it is there already; choose another name, or --overwrite it")
    is_model = target.is_file() or (target / "saved_model.pb").is_file()
    if there and not is_model:
        raise OutputError(f"--output {options.output}: it is a folder, and no model; name another")


def _parser() -> Parser:
    parser = Parser(
        "export",
        "Write a model as a SavedModel, which TensorFlow Serving serves, or as an ONNX file. It takes waveforms, has levels "
        "and FFT in it, and needs no audiosieve. Recordings are decoded and resampled to 16 kHz by whoever calls it.",
    )
    add = parser.add_argument
    add(
        "--model",
        default=DEFAULT,
        help=f"a bundled model ({', '.join(bundled_names())}) or a bundle's folder, also in a bucket",
    )
    add("--format", choices=("saved_model", "onnx"), default="saved_model", help="what is written")
    add("--output", required=True, help="folder of the SavedModel (for TensorFlow Serving MODEL/1), or the ONNX file")
    add("--overwrite", action="store_true", help="replace a model that is there")
    return parser
