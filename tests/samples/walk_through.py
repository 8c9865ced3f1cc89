"""Runs the commands of `docs/walk-through.md` in order, and compares their output with the page.

python -m tests.samples.walk_through            # runs the commands and shows where the page differs, apart from times
python -m tests.samples.walk_through --write    # writes the new output into the page
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipelines.cli import main as run_command
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "walk-through.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Times, speeds and sizes differ from run to run; all else in the output is compared.
VARYING = (
    (r"in [\d,.]+ (?:s|min|h), [\d,.]+ x real time", "in T s, N x real time"),
    (r"decoding [\d,.]+ s, FFT [\d,.]+ s, network [\d,.]+ s", "decoding T s, FFT T s, network T s"),
    (r"in [\d,.]+ MB, (.*), in [\d,.]+ s: ", r"in N MB, \1, in T s: "),
)


class Step(NamedTuple):
    """A command of the page with its output.

    Attributes:
        lines: the command as on the page, without the prompt; a command may have several lines.
        output: what it prints.
    """

    lines: str
    output: str

    def run(self, folder: Path, place: Callable[[str], str] = str) -> str:
        """Runs the command and returns what it prints, with paths relative to the folder.

        Args:
            folder: current directory of the command.
            place: returns the word of the command line to use for a word of the page.
        """
        command, _, rest = self.lines.partition("\n") if "<<" in self.lines else (self.lines, "", "")
        program, *words = shlex.split(command.replace("\\\n", " "))
        words = [place(word) for word in words]
        if program == "audiosieve":
            with contextlib.chdir(folder):
                return _on_page(_printed(words), folder)
        assert program == "python", f"the page runs {program}, which is neither audiosieve nor python"
        code, words = rest.rpartition("END")[0], [word for word in words if not word.startswith("<<")]
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, input=code, stdout=subprocess.PIPE, text=True, check=True
        )
        return _on_page(done.stdout, folder)


def _printed(words: list[str]) -> str:
    """Runs a command of audiosieve in this process; returns what it prints on a terminal."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        status = run_command(words)
    assert status == 0, f"exit status {status}: audiosieve {shlex.join(words)}\n{text.getvalue()}"
    return text.getvalue()


def _on_page(output: str, folder: Path) -> str:
    """Returns an output without the path of the folder, spaces at the ends of lines, and the progress of a slow machine."""
    lines = output.replace(f"{folder}/", "").splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines if not line.startswith('{"scored": '))


def steps(block: str) -> Iterator[Step]:
    """Yields the commands of a block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        end = "END\n" if "<<" in part.partition("\n")[0] else ""
        command = re.match(
            rf"(?:.*?^{end})" if end else r"(?:.*\\\n)*.*\n", part, re.MULTILINE | re.DOTALL if end else 0
        )
        assert command is not None, f"the command has no end: {part}"
        yield Step(command[0].rstrip("\n"), part[command.end() :])


def page_steps() -> list[Step]:
    """Returns all commands of the page, in order."""
    return [step for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")) for step in steps(block)]


def comparable(output: str) -> str:
    """Returns an output without what differs from run to run."""
    for pattern, text in VARYING:
        output = re.sub(pattern, text, output)
    return output


def prepare(folder: Path) -> None:
    """Makes the checkout's scripts reachable from the folder in which the commands run."""
    (folder / "tests").symlink_to(ROOT / "tests")


def rewritten(page: str, folder: Path) -> str:
    """Returns the text of the page with the output of its commands, run now in a folder."""

    def run_block(block: re.Match[str]) -> str:
        done = []
        for step in steps(block[1]):
            print(f"$ {step.lines}", flush=True)
            output = step.run(folder)
            print(output, flush=True)
            done.append(f"$ {step.lines}\n{output}")
        return "```console\n" + "".join(done) + "```"

    return BLOCK.sub(run_block, page)


def main() -> int:
    """Runs the commands, and shows or writes the differences; the status is 1 if the page is wrong and stays so."""
    parser = argparse.ArgumentParser(description=f"Runs the commands of {PAGE.relative_to(ROOT)}.")
    parser.add_argument("--write", action="store_true", help="write the new output into the page")
    arguments = parser.parse_args()
    before = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="audiosieve-") as folder:
        prepare(Path(folder))
        after = rewritten(before, Path(folder))
    if arguments.write:
        PAGE.write_text(after, encoding="utf-8")
        return 0
    page, now = (comparable(text).splitlines(keepends=True) for text in (before, after))
    sys.stdout.writelines(difflib.unified_diff(page, now, "page", "now"))
    return int(page != now)


if __name__ == "__main__":
    sys.exit(main())
