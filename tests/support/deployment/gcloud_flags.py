"""Writes gcloud_flags.json, the flags of gcloud's commands, from the table of an installed gcloud.

    python -m tests.support.deployment.gcloud_flags

gcloud ships the table for shell completion (data/cli/gcloud_completions.py in its folder). It is generated for each version
from the declarations behind the reference pages (docs.cloud.google.com/sdk/gcloud/reference/...).
"""

from __future__ import annotations

import datetime
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_suffix(".json")
# Commands that dataflow/cloud.sh uses.
COMMANDS = [
    "artifacts repositories create",
    "artifacts repositories describe",
    "beta dataflow metrics list",
    "builds get-default-service-account",
    "builds submit",
    "dataflow flex-template build",
    "dataflow flex-template run",
    "dataflow jobs cancel",
    "dataflow jobs describe",
    "dataflow jobs list",
    "logging read",
    "projects add-iam-policy-binding",
    "projects describe",
    "services enable",
    "storage buckets add-iam-policy-binding",
    "storage buckets create",
    "storage buckets describe",
    "storage rm",
]


def table() -> tuple[str, dict[str, list[str]]]:
    """Returns the version of the installed gcloud, and the flags of each command, global flags included."""
    program = shutil.which("gcloud")
    if program is None:
        raise FileNotFoundError("gcloud is not installed")
    sdk = Path(program).resolve().parent.parent
    spec = importlib.util.spec_from_file_location("gcloud_completions", sdk / "data" / "cli" / "gcloud_completions.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tree: dict[str, Any] = module.STATIC_COMPLETION_CLI_TREE
    found = {}
    for command in COMMANDS:
        node, flags = tree, set(tree["flags"])
        for word in command.split():
            node = node["commands"][word]
            flags |= set(node["flags"])
        found[command] = sorted(flags)
    told = subprocess.run([program, "version", "--format=json"], capture_output=True, check=True)
    return json.loads(told.stdout)["Google Cloud SDK"], found


def main() -> None:
    """Writes the file."""
    version, found = table()
    content = {
        "source": f"Google Cloud SDK {version}, data/cli/gcloud_completions.py",
        "day": datetime.date.today().isoformat(),
        "flags": found,
    }
    TARGET.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
