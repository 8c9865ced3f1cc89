"""The documentation agrees with the code: tables, commands, examples and links."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from model.bundle import DEFAULT, open_bundle
from model.diagnosis import HEARD_CAUSES
from pipelines.cli import JOBS, main
from tests.samples import show
from tests.support.command import Output
from tests.support.outputs import GOOD
from tests.support.paths import ROOT
from transforms import schemas
from transforms.curation.presets.presets import PRESETS
from transforms.curation.rules import SEGMENT_REASONS, SUGGESTED, TRIM, read_rules
from transforms.errors import Reason
from transforms.marks import NO_SPEECH
from transforms.schemas import SCORE_TABLES
from transforms.scoring import verdicts

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [
    README,
    *DOCS,
    *sorted((ROOT / "dataflow").rglob("*.md")),
    *sorted((ROOT / "model" / "bundles").rglob("*.md")),
    ROOT / "tests" / "benchmarks" / "README.md",
]
MAX_README_LINES = 200
MAX_IMAGE_BYTES = 300_000
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?)\s*$", re.MULTILINE)


class CommandParsed(BaseException):
    """A command line was read; `unknown` are the words that the job's own parser does not know."""

    def __init__(self, unknown: list[str]) -> None:
        super().__init__()
        self.unknown = unknown


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in FENCE.findall(text_of(page)) if language in languages]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


class TestReadme:
    def test_it_is_short(self) -> None:
        assert len(text_of(README).splitlines()) < MAX_README_LINES

    def test_it_names_the_default_model(self) -> None:
        assert open_bundle(DEFAULT).model_id in text_of(README)

    def test_the_output_of_the_demo_is_real(self, sample_run: Output, capsys: pytest.CaptureFixture[str]) -> None:
        show.main(str(sample_run.root))
        table = "\n".join(line.rstrip() for line in capsys.readouterr().out.strip().splitlines())
        (demo,) = (block for block in blocks(README, "console") if block.startswith("$ make demo\n"))
        assert demo.rstrip().endswith(table)

    @pytest.mark.slow
    def test_the_python_example_works(
        self, sample_run: Output, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (example,) = (block for block in blocks(README, "python") if "import audiosieve" in block)
        (tmp_path / "scores").symlink_to(sample_run.root)
        (tmp_path / "take1.flac").symlink_to(samples / "burst.flac")
        monkeypatch.chdir(tmp_path)
        names: dict = {}
        exec(compile(example, "README.md", "exec"), names)
        assert names["result"].score == pytest.approx(sample_run.scores["burst.flac"], abs=1e-3)
        assert len(names["utterances"]) == 8
        assert names["kept"]["utterance_id"].to_pylist() == ["clean.flac", "compressed.mp3"]


class TestTables:
    OUTPUT_TABLES = ROOT / "docs" / "output-tables.md"

    @staticmethod
    def as_markdown(schema: pa.Schema) -> str:
        lines = ["| column | type | description |", "|---|---|---|"]
        for field in schema:
            kind = re.sub(r"list<item: (\w+)>", r"list of \1", str(field.type)) + ("?" if field.nullable else "")
            kind = re.sub(r"dictionary<values=(\w+), [^>]*>", r"dictionary of \1", kind)
            lines.append(f"| {field.name} | {kind} | {field.metadata[b'description'].decode()} |")
        return "\n".join(lines)

    @staticmethod
    def first_column(section: str) -> list[str]:
        return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    def section(self, title: str) -> str:
        return text_of(self.OUTPUT_TABLES).partition(f"## {title}\n")[2].partition("\n## ")[0]

    @pytest.mark.parametrize("name", SCORE_TABLES)
    def test_every_column_is_described(self, name: str) -> None:
        assert self.as_markdown(SCORE_TABLES[name]) in self.section(f"`{name}`")

    def test_the_column_of_kept_rows_is_described(self) -> None:
        own = pa.schema([field for field in schemas.KEPT if field.name not in schemas.UTTERANCES.names])
        assert self.as_markdown(own) in self.section("`kept.parquet`")

    def test_every_reason_for_a_reject_is_explained(self) -> None:
        assert Counter(self.first_column(self.section("Reasons for a reject"))) == Counter(Reason)

    def test_every_flag_is_explained(self, sample_run: Output) -> None:
        faulty = dataclasses.replace(GOOD, rms_dbfs=-90.0, silence_ratio=1.0, clipped_ratio=1.0, bandwidth_hz=1_000.0)
        marks = (NO_SPEECH, *verdicts.RECORDING_FLAGS)
        explained = self.first_column(self.section("Flags"))
        assert explained == verdicts.flags(faulty, marks, duration_s=0.5, format="FLAC/PCM_16")
        found = {flag for row in sample_run.utterances for flag in row["flags"]}
        assert found == {"clipped", "upsampled"}

    def test_every_cause_is_explained(self) -> None:
        listed = schemas.UTTERANCES.field("causes").metadata[b"description"].decode().partition(": ")[2]
        assert self.first_column(self.section("Causes")) == listed.split(", ")
        assert set(HEARD_CAUSES) < set(listed.split(", "))

    def test_the_presets_are_listed(self) -> None:
        section = text_of(ROOT / "docs" / "curation.md").partition("## Presets\n")[2].partition("\n## ")[0]
        assert self.first_column(section) == list(PRESETS)

    def test_the_suggested_rules_are_listed(self) -> None:
        rules = read_rules(SUGGESTED).rules
        lines = "\n".join(f"| `{rule.name}` | `{rule.condition}` |" for rule in rules)
        assert f"| rule | drops |\n|---|---|\n{lines}\n\n" in text_of(ROOT / "docs" / "curation.md")

    def test_every_reason_of_segments_is_explained(self) -> None:
        section = text_of(ROOT / "docs" / "curation.md").partition("\n## Segments\n")[2].partition("\n## ")[0]
        assert self.first_column(section) == [TRIM, *SEGMENT_REASONS]


class TestLinks:
    @staticmethod
    def anchors(page: Path) -> set[str]:
        """Anchors that GitHub makes of the headings of a page."""
        found: Counter[str] = Counter()
        anchors = set()
        for heading in HEADING.findall(FENCE.sub("", text_of(page))):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
            slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
            anchors.add(f"{slug}-{found[slug]}" if found[slug] else slug)
            found[slug] += 1
        return anchors

    @pages
    def test_every_relative_link_leads_somewhere(self, page: Path) -> None:
        for link in LINK.findall(FENCE.sub("", text_of(page))):
            if re.match(r"\w+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert target.is_relative_to(ROOT), link
            if anchor:
                assert anchor in self.anchors(target), link

    @pages
    def test_every_module_and_folder_named_exists(self, page: Path) -> None:
        """A path is relative to the checkout. A bare name of a module stands for any module of that name."""
        folders = ("dataflow", "model", "pipelines", "tests", "transforms")
        modules = {path.name for folder in folders for path in (ROOT / folder).rglob("*.py")}
        names = re.compile(rf"`((?:{'|'.join(folders)})/[\w./-]*|[\w./-]+\.py)`")
        for name in names.findall(FENCE.sub("", text_of(page))):
            assert name in modules or (ROOT / name).exists(), name

    def test_every_page_is_in_the_index(self) -> None:
        index = ROOT / "docs" / "README.md"
        listed = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(text_of(index))}
        assert listed >= set(PAGES) - {index}

    def test_images_are_small(self) -> None:
        images = list((ROOT / "docs" / "images").iterdir())
        assert images
        assert all(image.stat().st_size < MAX_IMAGE_BYTES for image in images)


class TestCommands:
    @staticmethod
    def commands(page: Path) -> Iterator[list[str]]:
        """Yields the words of each `audiosieve` command on a page, without the command's own name."""
        lines = "\n".join(blocks(page, "sh")) + "\n"
        for block in blocks(page, "console"):
            lines += "".join(re.findall(r"^\$ (.*(?<!\\)\n|(?:.*\\\n)+.*\n)", block, re.MULTILINE))
        for line in lines.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while "audiosieve" in words:
                words = words[words.index("audiosieve") + 1 :]
                ends = [place for place, word in enumerate(words) if word in ("&&", "|", ";", "&", ">")]
                yield words[: min(ends, default=len(words))]

    @pytest.fixture(autouse=True)
    def stop_after_parsing(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Ends a job when its parser has read the command line, before anything runs."""
        # The parser of `submit` checks that its files exist, and no shell expands the pattern here.
        (tmp_path / "*.flac").touch()
        monkeypatch.chdir(tmp_path)
        parse = argparse.ArgumentParser.parse_known_args

        def parse_and_stop(parser: argparse.ArgumentParser, *arguments: Any) -> Any:
            parsed = parse(parser, *arguments)
            if parser.prog.startswith("audiosieve "):
                raise CommandParsed(parsed[1])
            return parsed

        monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse_and_stop)

    @staticmethod
    def check(words: list[str]) -> None:
        with pytest.raises(CommandParsed) as parsed:
            main([word for word in words if word != "..."])
        of_beam = {f"--{name}" for name in PipelineOptions([]).get_all_options()}
        assert {word.partition("=")[0] for word in parsed.value.unknown} <= of_beam

    @pages
    def test_every_command_is_understood(self, page: Path) -> None:
        for words in self.commands(page):
            if words and words[0] not in ("--help", "--version", "JOB"):
                self.check(words)

    @pytest.mark.parametrize(
        "command",
        [
            "listen x",
            "score --input x --chanels 1",
            "score --input x --wave_hours many",
            "query scores --format pickle",
            "plot take1.flac take2.flac -o take1.svg",
            "report scores",
        ],
    )
    def test_a_wrong_command_is_found(self, command: str) -> None:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            self.check(command.split())

    def test_every_job_is_documented(self) -> None:
        shown = {words[0] for page in [README, *DOCS] for words in self.commands(page) if words}
        assert shown >= set(JOBS)


@pages
def test_python_blocks_compile(page: Path) -> None:
    for code in blocks(page, "python"):
        compile(code, name_of(page), "exec")
