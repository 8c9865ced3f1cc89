"""Worker process of a local run: Beam's own, with a log of errors only."""

from __future__ import annotations

import logging
import shlex
import sys

WORKER_COMMAND = f"{shlex.quote(sys.executable)} -m pipelines.common.beam_worker"


def main() -> None:
    """Works for the runner that started this process until the runner stops it."""
    logging.disable(logging.WARNING)
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
