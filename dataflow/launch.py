"""Entry point of the Flex Template: runs `audiosieve score` with the template's parameters as its options."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.cli import main


def with_flags(arguments: Sequence[str]) -> list[str]:
    """Converts parameters to options: `--overwrite=true` becomes `--overwrite`, and `--overwrite=false` is dropped.

    Every parameter of a template has a value, but flags of a command line have none.
    """
    parts = [word.partition("=") for word in arguments]
    return [name if value == "true" else name + equals + value for name, equals, value in parts if value != "false"]


if __name__ == "__main__":
    sys.exit(main(["score", *with_flags(sys.argv[1:])]))
