"""Worker process of a local run: Beam's own worker, but its log shows only errors."""

from __future__ import annotations

import logging
import shlex
import sys

WORKER_COMMAND = f"{shlex.quote(sys.executable)} -m pipelines.common.beam_worker"


def main() -> None:
    """Serves the runner that started this process until the runner ends it."""
    logging.disable(logging.WARNING)
    from apache_beam.runners.worker import sdk_worker_main

    from transforms.storage.gcs.client import patch_beam

    patch_beam()
    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
