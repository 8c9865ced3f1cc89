"""Writes dataflow/template_metadata.json from the options of `audiosieve score`.

    python dataflow/template_metadata.py

The Flex Template accepts only the parameters in that file. Their help texts come from the command's own options.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pipelines.common.arguments import new_beam_parser
from pipelines.score import build_parser

TARGET = Path(__file__).with_name("template_metadata.json")
GS = r"^gs://[^\n\r]+$"
COUNT = r"^[1-9][0-9]*$"
FLAG = "^(true|false)$"
# Options of the command and of Beam that the template accepts: label of the field and pattern of its values.
SCORE = {
    "input": ("Corpus", GS),
    "output": ("Folder for the tables", GS),
    "model": ("Model", r"^([\w.-]+|gs://[^\n\r]+)$"),
    "channels": ("Channels to score", "^(auto|mix|first|each|[0-9]+)$"),
    "carry": ("Columns to copy from the corpus", r"^[^\n\r]*$"),
    "audio_root": ("Folder of the recordings of a manifest", GS),
    "columns": ("Columns of a manifest by role", r"^[^\n\r]*$"),
    "strict": ("Do not start if a row of a manifest is faulty", FLAG),
    "overwrite": ("Discard earlier scores and start over", FLAG),
    "prune": ("Remove the rows of recordings that are gone", FLAG),
    "batch_size": ("Utterances per batch", COUNT),
    "batch_frames": ("Padded frames per batch", COUNT),
    "listing": ("Process that lists the corpus", "^(launcher|workers)$"),
    "forget": ("Pending run to abandon", r"^\d{8}T\d{6}Z-[0-9a-f]{6}$"),
    "threads": ("TensorFlow threads per process", COUNT),
}
BEAM = {
    "sdk_container_image": ("Container image of the workers", r"^[\w.-]+(/[\w.-]+)+(:[\w.-]+|@sha256:[0-9a-f]{64})?$"),
    "sdk_location": ("Location of the Beam SDK", "^container$"),
    "disk_size_gb": ("Disk per worker in GB", COUNT),
    "autoscaling_algorithm": ("Autoscaling of the workers", "^(NONE|THROUGHPUT_BASED)$"),
    "number_of_worker_harness_threads": ("Threads per SDK process", COUNT),
    "dataflow_service_options": ("Dataflow service options, for example for GPUs", r"^[^\n\r]+$"),
}
# Options of the command that the template does not accept: they start no job, or they apply to local runs only.
LEFT_OUT = {"help", "dry_run", "wave_hours", "recording_timeout_s", "log_level"}
# `--output` is optional on the command line only because of `--dry_run`, which a template does not have.
REQUIRED = {"input", "output"}


def metadata() -> dict[str, Any]:
    """Returns the content of the file, a TemplateMetadata of Dataflow."""
    parameters = [
        _parameter(actions[name], label, regex)
        for actions, selected in ((_actions(build_parser()), SCORE), (_actions(new_beam_parser()), BEAM))
        for name, (label, regex) in selected.items()
    ]
    return {
        "name": "audiosieve",
        "description": "Scores a speech corpus without a reference: per-utterance and per-frame quality in Parquet.",
        "parameters": parameters,
    }


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {word.removeprefix("--"): action for action in parser._actions for word in action.option_strings}


def _parameter(action: argparse.Action, label: str, regex: str) -> dict[str, Any]:
    name = action.option_strings[-1].removeprefix("--")
    text = (action.help or "").strip()
    if action.default not in (None, "", False):
        text += f" (default: {action.default})"
    return {
        "name": name,
        "label": label,
        "helpText": text,
        "isOptional": name not in REQUIRED,
        "regexes": [regex],
    }


if __name__ == "__main__":
    TARGET.write_text(json.dumps(metadata(), indent=2) + "\n", encoding="utf-8")
