"""`audiosieve report`: the real command, and its page in a real browser with the network off."""

from __future__ import annotations

import dataclasses
import io
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from tests.support.command import Output, audiosieve
from tests.support.outputs import rejected, scored, write_output
from tests.support.web.boxes import misplaced
from tests.support.web.browser import chromium
from transforms.output.results import open_results

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 utterances of 40 speakers in two folders, some with hostile names; their audio is gone."""
    random = np.random.default_rng(0)
    utterances = [
        scored(
            f"{'train' if n % 3 else 'dev'}/{n}{HOSTILE if n % 50 == 0 else ''}",
            float(random.uniform(1, 4.6)),
            duration_s=float(random.uniform(1, 9)) + (n % 40 == 0) * 20,
            columns={"speaker": f"speaker {n % 40}" + (HOSTILE if n % 40 == 0 else "")},
            clipped_ratio=float(n % 7 == 0) / 10,
            noise_floor_snr_db=None if n % 11 == 0 else float(random.uniform(0, 60)),
        )
        for n in range(400)
    ]
    rejects = [dataclasses.replace(rejected(f"lost {n}"), detail=HOSTILE) for n in range(9)]
    return write_output(tmp_path_factory.mktemp("large") / "out", utterances, rejects, carry=["speaker"])


@pytest.fixture(scope="module")
def page_of_samples(sample_run: Output, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "samples.html"
    audiosieve("report", sample_run.root, "--output", path, "--clip_s", 2, "--title", "Samples & more")
    return path


@pytest.fixture(scope="module")
def page_of_large(large: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "large.html"
    audiosieve("report", large, "-o", path, "--examples", 2, "--threshold", 3)
    return path


def test_the_command_says_what_it_made_and_what_has_no_sound(large, tmp_path):
    done = audiosieve("report", large, "-o", tmp_path / "page.html", "--examples", 1)
    assert "400 utterances and 9 rejects in " in done.stdout
    assert "4 examples (4 without sound)" in done.stdout, "one with clipping, at the threshold, the worst and the best"
    assert done.stderr.count("No such file") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_page_is_overwritten_only_if_asked(large, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("mine")
    assert "already exists" in audiosieve("report", large, "-o", page, status=2).stderr
    assert page.read_text() == "mine"
    audiosieve("report", large, "-o", page, "--overwrite", "--examples", 0)
    assert "The report was made without examples" in page.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--examples", -1], "--examples is -1; must be at least 0"),
        (["--clip_s", 0], "--clip_s is 0; must be over 0"),
        (["--clip_s", "nan"], "--clip_s is nan; must be a finite number"),
        (["--max_mb", -1], "--max_mb is -1; must be at least 0"),
        (["--threshold", 7], "scores of pesq-wb go from 1 to 4.64"),
    ],
)
def test_impossible_options_are_refused(large, tmp_path, options, message):
    assert message in audiosieve("report", large, "-o", tmp_path / "page.html", *options, status=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_output_is_refused(tmp_path):
    assert "contains no completed run" in audiosieve("report", tmp_path, "-o", tmp_path / "page.html", status=2).stderr


def test_an_output_of_rejects_alone_has_a_page(tmp_path, browser_page):
    root = write_output(tmp_path / "out", [], [rejected("a"), rejected("cover.jpg")])
    done = audiosieve("report", root, "-o", tmp_path / "page.html")
    assert "0 utterances and 1 reject (and 1 other file) in " in done.stdout
    tab = browser_page(tmp_path / "page.html")
    assert tab.inner_text("#kept-count") == "0"


def test_tensorflow_is_not_loaded(large, tmp_path):
    code = (
        "import sys; from pipelines.cli import main; "
        f"main(['report', {str(large)!r}, '-o', {str(tmp_path / 'page.html')!r}, '--examples', '1']); "
        "assert 'pipelines.report' in sys.modules; sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# --- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def browser_page(browser: Any) -> Iterator[Any]:
    """Opens a page with the network off; at the end nothing may have failed in it, or have been asked of the network."""
    complaints: list[str] = []
    contexts = []

    def opened(path: Path, **how: Any) -> Any:
        context = browser.new_context(offline=True, **how)
        context.set_default_timeout(120_000)  # a busy machine is no fault of the page
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith(("http", "ws")) else None)
        tab.goto(path.as_uri())
        tab.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def kept_by_sql(root: Path, threshold: str, where: str = "true") -> tuple[int, float, float]:
    """Utterances and seconds that a threshold keeps, and seconds of all."""
    return (
        open_results(str(root))
        .connect()
        .execute(
            f"SELECT count(*) FILTER (score >= {threshold}), coalesce(sum(duration_s) FILTER (score >= {threshold}), 0), "
            f"sum(duration_s) FROM utterances WHERE {where}"
        )
        .fetchone()
    )


def seconds_of(text: str) -> float:
    """The seconds of a length on the page, such as 33.4 min."""
    number, unit = text.split()
    return float(number) * {"s": 1, "min": 60, "h": 3600}[unit]


def check_kept(tab: Any, root: Path, threshold: str) -> None:
    """The page says of a threshold what SQL says."""
    count, seconds, of = kept_by_sql(root, threshold)
    assert float(tab.input_value("#threshold")) == float(threshold)
    assert float(tab.input_value("#threshold-number")) == float(threshold)
    assert tab.inner_text("#kept-count") == f"{count:,}"
    assert float(tab.get_attribute("#kept-length", "value")) == pytest.approx(seconds)
    assert seconds_of(tab.inner_text("#kept-length")) == pytest.approx(seconds, abs=3)
    assert shlex.split(tab.inner_text("#command"))[-1] == f"score >= {threshold}"
    assert tab.inner_text("#kept-share") == f"{100 * seconds / of:.1f} %"
    marked = tab.evaluate(
        "['histogram', 'kept', 'groups-chart'].map((id) => document.getElementById(id).layout.shapes[0].x0)"
    )
    assert marked == pytest.approx([float(threshold)] * 3)


def settle(tab: Any) -> None:
    """Waits until the charts have followed the slider."""
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_the_slider_reads_off_what_sql_gives(browser_page, page_of_large, large):
    tab = browser_page(page_of_large)
    check_kept(tab, large, "3.00")
    for threshold in ("1.00", "1.37", "2.50", "3.93", "4.64"):
        tab.fill("#threshold", threshold)
        settle(tab)
        check_kept(tab, large, threshold)
    tab.fill("#threshold-number", "2.22")
    settle(tab)
    check_kept(tab, large, "2.22")


def test_the_slider_is_moved_by_keys(browser_page, page_of_large, large):
    tab = browser_page(page_of_large)
    tab.focus("#threshold")
    for _ in range(3):
        tab.keyboard.press("ArrowRight")
    settle(tab)
    check_kept(tab, large, "3.03")
    tab.keyboard.press("Home")
    settle(tab)
    check_kept(tab, large, "1.00")


def medians(root: Path, sql: str) -> list[str]:
    """The groups of an SQL expression, the lowest median score first."""
    query = f"SELECT {sql} FROM utterances GROUP BY 1 ORDER BY median(score)"
    return [name for (name,) in open_results(str(root)).connect().execute(query).fetchall()]


def test_the_bar_stays_in_view_and_its_command_can_be_copied(browser_page, page_of_large, large):
    tab = browser_page(
        page_of_large, viewport={"width": 1000, "height": 700}, reduced_motion="reduce", permissions=["clipboard-read"]
    )
    tab.click("a[href='#rejects']")
    bar = tab.locator(".threshold")
    settle(tab)
    title = tab.locator("#rejects-title").bounding_box()["y"]
    assert title < 700
    assert bar.bounding_box()["y"] == pytest.approx(0, abs=1)
    assert title >= bar.bounding_box()["height"], "the bar does not cover the section"
    tab.fill("#threshold-number", "3.21")
    tab.click("#copy")
    tab.locator("#copy", has_text="Copied").wait_for()
    command = shlex.split(tab.evaluate("navigator.clipboard.readText()"))
    assert command == ["audiosieve", "filter", str(large), "--output", "kept", "--where", "score >= 3.21"]


def test_the_command_of_the_page_keeps_what_the_page_says(browser_page, page_of_large, tmp_path):
    tab = browser_page(page_of_large)
    tab.fill("#threshold", "3.50")
    settle(tab)
    _, *arguments = shlex.split(tab.inner_text("#command"))
    audiosieve(*[str(tmp_path / "kept") if name == "kept" else name for name in arguments])
    assert len(pq.read_table(tmp_path / "kept" / "kept.parquet")) == int(tab.inner_text("#kept-count"))


def test_the_hours_of_the_causes_follow_the_threshold(browser_page, page_of_large, large):
    tab = browser_page(page_of_large)
    tab.fill("#threshold", "2.00")
    settle(tab)
    rows = tab.locator("#cause-table tbody tr")
    cells = {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows.all()}
    assert set(cells) == {"clipping", "(no cause)"}
    bars = tab.evaluate("document.getElementById('causes-chart').data.map((trace) => [...trace.x])")
    for name, where in (("(no cause)", "len(causes) = 0"), ("clipping", "list_contains(causes, 'clipping')")):
        _, seconds, of = kept_by_sql(large, "2.00", where)
        assert seconds_of(cells[name][-2]) == pytest.approx(seconds, abs=3)
        assert cells[name][-1] == f"{100 * seconds / of:.1f} %"
        row = list(cells).index(name)
        assert [bars[0][row], bars[1][row]] == pytest.approx([seconds / 60, (of - seconds) / 60])


def test_a_group_is_chosen_and_follows_the_threshold(browser_page, page_of_large, large):
    tab = browser_page(page_of_large)
    titles = tab.locator("#column option").all_inner_texts()
    assert titles == ["first folder", "format", "sample rate", "speaker"]
    assert tab.locator("#group-table-0 tbody th").all_inner_texts() == medians(
        large, "split_part(utterance_id, '/', 1)"
    )
    tab.select_option("#column", label="speaker")
    assert tab.locator("#group-table-0").is_hidden()
    names = tab.locator("#group-table-3 tbody th").all_inner_texts()
    assert len(names) == 31
    assert names[-1] == "all others (10 values)"
    tab.fill("#threshold", "4.00")
    settle(tab)
    row = tab.locator("#group-table-3 tbody tr").nth(1)
    cells = row.locator("td").all_inner_texts()
    speaker = row.locator("th").inner_text().replace("'", "''")
    _, seconds, of = kept_by_sql(large, "4.00", f"speaker = '{speaker}'")
    assert seconds_of(cells[-2]) == pytest.approx(seconds, abs=3)
    assert cells[-1] == f"{100 * seconds / of:.1f} %"
    boxes = tab.evaluate("document.getElementById('groups-chart').data[0].median.length")
    assert boxes == 31


def test_a_fact_is_chosen(browser_page, page_of_large):
    tab = browser_page(page_of_large)
    for title in tab.locator("#fact option").all_inner_texts():
        tab.select_option("#fact", label=title)
        assert title.lower() in tab.inner_text("#density-title").lower()
        counted = tab.evaluate("document.getElementById('fact-chart').data[0].y.reduce((a, b) => a + b, 0)")
        assert counted == (400 - 37 if title == "Signal-to-noise ratio from the noise floor" else 400)


def test_hostile_names_run_nothing(browser_page, page_of_large):
    tab = browser_page(page_of_large)
    tab.select_option("#column", label="speaker")
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("img[src=x]").count() == 0
    assert HOSTILE in " ".join(tab.locator("#group-table-3 tbody th").all_inner_texts())


def test_an_example_plays(browser_page, page_of_samples):
    tab = browser_page(page_of_samples)
    assert tab.title() == "Samples & more"
    assert tab.locator("details.example").count() == 8
    assert tab.locator("audio").count() == 8
    assert not tab.locator("audio").first.is_visible(), "the list is compact until a line is opened"
    tab.click("details.example summary")
    assert tab.locator("audio").first.is_visible()
    for place in range(8):
        state = tab.evaluate(
            """async (place) => {
                const player = document.querySelectorAll("audio")[place];
                await player.play();
                const begun = performance.now();
                while (player.currentTime < 0.2 && performance.now() - begun < 10000)
                    await new Promise((done) => setTimeout(done, 20));
                player.pause();
                return [player.currentTime, player.duration, player.error];
            }""",
            place,
        )
        assert state[0] >= 0.2
        assert state[1] == pytest.approx(2.0, abs=0.01)
        assert state[2] is None


def test_pictures_are_there_and_the_burst_is_the_bad_stretch(browser_page, page_of_samples, samples):
    tab = browser_page(page_of_samples)
    sizes = tab.evaluate("Promise.all([...document.images].map(async (i) => (await i.decode(), i.naturalWidth)))")
    lengths = [soundfile.info(samples / name).duration for name in tab.locator(".example code").all_inner_texts()]
    assert sizes == [(round(seconds * 16_000) - 512) // 256 + 1 for seconds in lengths], "one picture, a column a frame"
    assert tab.locator("details.example code").first.inner_text() == "burst.flac"
    assert tab.locator("#rejects tbody th").all_inner_texts() == ["corrupt"]


def shades(png: bytes) -> tuple[float, int]:
    """Mean brightness of a picture, 0 to 255, and how many colours are in it."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return float(np.asarray(image).mean()), len(image.getcolors(1 << 24) or [])


def test_light_dark_and_paper_look_so(browser_page, page_of_large):
    found = {}
    for scheme, media in (("light", "screen"), ("dark", "screen"), ("dark", "print")):
        tab = browser_page(page_of_large, color_scheme=scheme)
        tab.emulate_media(media=media, color_scheme=scheme)
        settle(tab)
        ink = tab.evaluate("document.getElementById('histogram').layout.font.color")
        found[scheme, media] = (*shades(tab.screenshot()), ink)
    light, dark, paper = found.values()
    assert min(light[0], paper[0]) > 200
    assert dark[0] < 70
    assert min(colours for _, colours, _ in found.values()) > 50
    assert light[2] == paper[2] != dark[2]
    assert len(tab.pdf()) > 50_000


def test_nothing_is_cut_off_in_a_narrow_window(browser_page, page_of_samples):
    tab = browser_page(page_of_samples, viewport={"width": 400, "height": 800})
    tab.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    rows = tab.locator("#fact-table tbody tr").all()
    assert all(row.bounding_box()["width"] <= 400 for row in rows), "cells are stacked"
    titles = tab.locator("#fact-table tbody tr:first-child td").evaluate_all(
        "(all) => all.map((td) => td.dataset.title)"
    )
    assert ",".join(titles) == "lowest,5 %,25 %,median,75 %,95 %,highest,missing"
    tab.select_option("#fact", label="Signal-to-noise ratio from the noise floor")
    boxes = [tab.locator(f"#{name} .xtitle").bounding_box() for name in ("fact-chart", "density-chart")]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 400 for box in boxes), "long titles have two lines"
    assert tab.locator(".recording").count() == 8
    assert misplaced(tab, ".recording :is(.lane, .times, .legend)", 400) == []


def test_notes_of_presets_are_readable_in_a_narrow_window(browser_page, page_of_samples):
    tab = browser_page(page_of_samples, viewport={"width": 400, "height": 800})
    notes = tab.locator("#presets td.text").evaluate_all(
        "(cells) => cells.map((td) => [td.textContent.length, getComputedStyle(td, '::before').width])"
    )
    assert max(length for length, _ in notes) > 80 > min(length for length, _ in notes)
    assert len({width for length, width in notes if length}) == 1, "no title is broken"
    filled = [number for number, (length, _) in enumerate(notes) if length]
    emptied = filled.pop(1)
    tab.evaluate(f"document.querySelectorAll('#presets td.text')[{emptied}].replaceChildren()")
    heights = tab.locator("#presets td.text").evaluate_all("(all) => all.map((td) => td.offsetHeight)")
    assert [number for number, height in enumerate(heights) if height > 0] == filled, "no title alone"


def test_the_numbers_are_there_without_scripts(browser, page_of_large, large):
    context = browser.new_context(offline=True, java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page_of_large.as_uri())
    count, seconds, _ = kept_by_sql(large, "3.00")
    assert tab.inner_text("#kept-count") == str(count)
    assert float(tab.get_attribute("#kept-length", "value")) == pytest.approx(seconds)
    assert "score >= 3.00" in tab.inner_text("#command")
    assert tab.locator("#copy").is_hidden()
    context.close()
