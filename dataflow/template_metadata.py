"""Writes dataflow/template_metadata.json, from the options of `audiosieve score`: python dataflow/template_metadata.py.

The Flex Template takes the parameters that stand there and no others. Their texts, and whether they must be given, are the
command's own.
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
# Options of the command and of Beam that make sense in a template, with what people see above the field and what fits into it.
SCORE = {
    "input": ("Corpus", GS),
    "output": ("Folder for the tables", GS),
    "model": ("Model", r"^([\w.-]+|gs://[^\n\r]+)$"),
    "channels": ("Channels that are heard", "^(mix|first|each|[0-9]+)$"),
    "carry": ("Columns to carry over", r"^[^\n\r]*$"),
    "overwrite": ("Start anew", FLAG),
    "batch_size": ("Utterances in a batch", COUNT),
    "batch_frames": ("Padded frames in a batch", COUNT),
    "listing": ("Who lists the corpus", "^(launcher|workers)$"),
    "forget": ("Run that is gone", r"^\d{8}T\d{6}Z-[0-9a-f]{6}$"),
    "threads": ("Threads of TensorFlow", COUNT),
}
BEAM = {
    "sdk_container_image": ("Image of the workers", r"^[\w.-]+(/[\w.-]+)+(:[\w.-]+|@sha256:[0-9a-f]{64})?$"),
    "sdk_location": ("Where the workers have Beam from", "^container$"),
    "disk_size_gb": ("Disk of a worker in GB", COUNT),
    "autoscaling_algorithm": ("How the number of workers follows the work", "^(NONE|THROUGHPUT_BASED)$"),
    "number_of_worker_harness_threads": ("Threads of each SDK process", COUNT),
    "dataflow_service_options": ("Options of the service, as for GPUs", r"^[^\n\r]+$"),
}
# What the command has and a template does not: nothing is started, or it is only for local runs.
LEFT_OUT = {"help", "dry_run", "wave_hours", "log_level"}
# A template without an output has nowhere to put scores, though `--dry_run` does without.
REQUIRED = {"input", "output"}


def metadata() -> dict[str, Any]:
    """The content of the file, as Dataflow's TemplateMetadata."""
    parameters = [
        _parameter(actions[name], label, regex)
        for actions, listed in ((_actions(build_parser()), SCORE), (_actions(new_beam_parser()), BEAM))
        for name, (label, regex) in listed.items()
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
