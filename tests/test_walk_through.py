"""The walk-through of the docs: its commands run on a folder and on a bucket, and print what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.samples import walk_through
from tests.samples.walk_through import Step, comparable, page_steps
from tests.support.storage.gcs_emulator import Bucket


def run_page(folder: Path, bucket: Bucket | None) -> None:
    """Runs all commands of the page in a folder, and checks what they print.

    Args:
        folder: current directory of the commands.
        bucket: bucket for the corpus and the scores; None for folders.
    """
    walk_through.prepare(folder)

    def place(word: str) -> str:
        is_remote = bucket is not None and word.partition("/")[0] in ("speech", "scores")
        return f"{bucket}/{word}" if is_remote else word

    for number, step in enumerate(page_steps()):
        # The script makes the corpus on this machine.
        printed = step.run(folder, str if number == 0 else place)
        if bucket is not None:
            printed = printed.replace(f"{bucket}/", "")
            if number == 0:
                bucket.upload(folder / "speech", "speech")
                (folder / "speech").rename(folder / "not here")
        assert comparable(printed) == comparable(step.output), f"$ {step.lines}\n{printed}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_is_what_a_folder_gives(tmp_path: Path) -> None:
    run_page(tmp_path, None)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_is_what_a_bucket_gives(tmp_path: Path, bucket: Bucket) -> None:
    run_page(tmp_path, bucket)


def test_the_page_begins_with_the_corpus_and_ends_with_the_loader() -> None:
    programs = [step.lines.split()[0] for step in page_steps()]
    assert (programs[0], programs[-1], {*programs[1:-1]}) == ("python", "python", {"audiosieve"})
    jobs = [step.lines.split()[1] for step in page_steps()[1:-1]]
    assert list(dict.fromkeys(jobs)) == ["score", "query", "report", "plot", "filter"]


def test_a_page_with_another_output_is_found_and_rewritten(tmp_path: Path) -> None:
    step = Step("python -c 'print(4 + 3)'", "8\n")
    assert step.run(tmp_path) == "7\n"
    page = f"Text.\n\n```console\n$ {step.lines}\n{step.output}$ python - <<'END'\nprint('a')\nEND\n```\n\nMore.\n"
    assert walk_through.rewritten(page, tmp_path) == page.replace("8\n", "7\n").replace("END\n```", "END\na\n```")


def test_only_times_and_sizes_are_left_out() -> None:
    printed = "8 scored; 9.9 s of audio in 4.0 s, 8 x real time; decoding 0.1 s, FFT 0.0 s, network 0.1 s; 2 batches\n"
    times = "8 scored; 9.9 s of audio in T s, N x real time; decoding T s, FFT T s, network T s; 2 batches\n"
    assert comparable(printed) == times
    assert comparable("8 in 17.2 MB, 4 examples, in 31.0 s: x\n") == "8 in N MB, 4 examples, in T s: x\n"
