"""The page of the service, in a real browser with a real service."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from model.bundle import WEIGHTS
from tests.support.command import Output
from tests.support.training.random_bundles import complete_bundle, random_network
from tests.support.web.browser import chromium
from tests.support.web.service import Server, serving

pytestmark = pytest.mark.slow
KEY = "a-key-of-some-length"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """Opens the page of a service; fails on a request to another site and on an unexpected error."""
    errors: list[str] = []
    contexts = []

    def open_page(server: Server, expected: tuple[int, ...] = (), **how: Any) -> Any:
        context = browser.new_context(**how)
        context.set_default_timeout(120_000)
        contexts.append(context)
        tab = context.new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on(
            "console",
            lambda said: errors.append(said.text) if not any(str(n) in said.text for n in expected) else None,
        )
        own = (server.url, "blob:", "data:")
        tab.on("request", lambda asked: errors.append(asked.url) if not asked.url.startswith(own) else None)
        tab.goto(server.url)
        tab.wait_for_selector("html[data-ready=yes]")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def send(tab: Any, *paths: Path) -> Any:
    """Chooses files and waits for their scores; returns their cards, the last file first."""
    tab.set_input_files("#files", [str(path) for path in paths])
    cards = tab.locator("article[data-done]")
    cards.nth(len(paths) - 1).wait_for()
    return cards


def curve_bottom(card: Any) -> int:
    """Returns the lower edge of the frame scores in the picture of a card. Below it are the lane of causes and the times."""
    lane = 12 if card.locator(".legend li").count() else 0
    return round(card.locator("canvas").bounding_box()["height"]) - 24 - lane


def test_the_score_of_a_recording_is_shown(opened, server, samples: Path, sample_run: Output):
    tab = opened(server)
    (row,) = [row for row in sample_run.utterances if row["utterance_id"] == "burst.flac"]
    card = send(tab, samples / "burst.flac").first
    assert card.locator("h2").inner_text() == "burst.flac"
    assert card.locator(".score b").inner_text() == f"{row['score']:.2f}"
    assert "of 1 to 4.64" in card.locator(".score").inner_text()
    (anomaly,), (stretch,) = sample_run.anomalies_of("burst.flac"), sample_run.bad_stretches("burst.flac")
    assert card.locator(".anomalies button").all_inner_texts() == [f"{stretch}, {anomaly['mean_score']:.2f}"]
    known = dict(zip(card.locator("dt").all_text_contents(), card.locator("dd").all_text_contents(), strict=True))
    assert known["model_id"] == row["model_id"]
    assert float(known["num_frames"]) == row["num_frames"]
    assert row["model_id"] in tab.inner_text("#model")


def test_the_causes_of_the_frames_are_a_lane_with_a_legend(opened, samples, tmp_path):
    random_network("diagnostic_net").save_weights(tmp_path / WEIGHTS)
    complete_bundle(tmp_path, network="diagnostic_net")
    with serving("--model", tmp_path) as diagnosing:
        causes = diagnosing.score(samples / "burst.flac", frames=True).json()["frame_cause"]
        tab = opened(diagnosing)
        card = send(tab, samples / "burst.flac").first
        legend = card.locator(".legend li").all_inner_texts()
        assert sorted(legend) == sorted({cause.replace("_", " ") for cause in causes if cause})
        canvas = card.locator("canvas")
        picture = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"))
        box = canvas.bounding_box()
        lane = picture[round(box["height"]) - 24 - 4]
        shown = {tuple(colour) for colour in lane[60:-10].tolist()}
        colours = card.locator(".legend i").evaluate_all("(marks) => marks.map((mark) => mark.style.background)")
        assert shown & {tuple(map(int, re.findall(r"\d+", colour))) for colour in colours}


def test_a_click_plays_from_that_point_and_a_button_plays_an_anomaly(opened, server, samples, sample_run: Output):
    (anomaly,) = sample_run.anomalies_of("burst.flac")
    tab = opened(server)
    card = send(tab, samples / "burst.flac").first
    player = card.locator("audio")
    box = card.locator("canvas").bounding_box()
    card.locator("canvas").click(position={"x": box["width"] / 2, "y": 50})
    tab.wait_for_timeout(300)
    state = "(player) => [player.currentTime, player.paused, player.duration, player.error]"
    time, paused, duration, error = player.evaluate(state)
    assert error is None
    assert not paused
    assert duration == pytest.approx(4.225, abs=0.01)
    assert 1.9 < time < 3.5
    assert card.locator(".head").is_visible()
    card.locator(".anomalies button").click()
    for _ in range(100):
        tab.wait_for_timeout(100)
        time, paused, _, _ = player.evaluate(state)
        if paused:
            break
    assert anomaly["end_s"] <= time < anomaly["end_s"] + 0.4, "it ends where the bad stretch does"


def test_the_spectrogram_and_the_score_under_the_pointer_are_those_of_the_recording(opened, server, tmp_path):
    rate = 16_000
    time = np.arange(2 * rate) / rate
    low, high = np.sin(2 * np.pi * 1_000 * time), np.sin(2 * np.pi * 6_000 * time)
    rising = np.where(time < 1, low, high) * 0.5 + np.random.default_rng(0).normal(0, 1e-4, len(time))
    soundfile.write(tmp_path / "rising.wav", rising, rate)
    tab = opened(server)
    card = send(tab, tmp_path / "rising.wav").first
    canvas = card.locator("canvas")
    picture = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("L"), float)
    box = canvas.bounding_box()
    top, bottom = 6, round(curve_bottom(card) * 0.6)
    left, right = 54, box["width"] - 6

    def loudest_hz(seconds: float) -> float:
        column = round(left + (right - left) * seconds / 2)
        rows = picture[top:bottom, column]
        return 8_000 * (1 - (np.argmax(rows) + 0.5) / len(rows))

    assert loudest_hz(0.5) == pytest.approx(1_000, abs=150)
    assert loudest_hz(1.5) == pytest.approx(6_000, abs=150)
    found = server.score(tmp_path / "rising.wav", frames=True).json()["frame_score"]
    canvas.hover(position={"x": round(left + (right - left) / 2), "y": 300})
    said = tab.locator("output").inner_text()
    assert said.startswith("1.0")
    at, value = said.partition(",")[0].replace(" s", "").split(": ")
    near = found[round((float(at) - 0.016) / 0.016)]
    assert float(value) == pytest.approx(near, abs=0.006) or float(value) in [round(one, 2) for one in found[58:66]]


def test_a_recording_without_a_score_shows_its_problem_and_costs_no_other(opened, server, samples):
    tab = opened(server, expected=(422,))
    cards = send(tab, samples / "corrupt.flac", samples / "clean.flac")
    assert [card.get_attribute("data-done") for card in cards.all()] == ["scored", "failed"]
    assert "corrupt: after 0 of 65040 samples" in cards.nth(1).locator(".state").inner_text()


def colour(tab: Any, name: str) -> tuple[int, ...]:
    """A colour of the page's style sheet, as red, green and blue."""
    value = tab.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
    return tuple(int(value[place : place + 2], 16) for place in (1, 3, 5))


def shown_colour(locator: Any) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", locator.evaluate("(node) => getComputedStyle(node).color"))[:3]))


def test_many_files_are_summed_up_sorted_and_saved(opened, server, samples, sample_run: Output):
    names = ["noise_00db.flac", "clean.flac", "corrupt.flac", "burst.flac"]
    tab = opened(server, expected=(422,), accept_downloads=True)
    assert tab.locator("#summary").is_hidden()
    send(tab, *(samples / name for name in names))
    assert tab.inner_text("#summary-title") == "3 of 4 files scored"
    scores = {name: sample_run.scores[name] for name in names if name != "corrupt.flac"}
    totals = tab.inner_text("#totals")
    assert f"Median score {np.median(list(scores.values())):.2f};" in totals
    assert totals.endswith("1 without a score")

    tab.select_option("#sort", "worst")
    ranked = [*sorted(scores, key=scores.__getitem__), "corrupt.flac"]
    assert tab.locator("#summary tbody td:first-child").all_inner_texts() == ranked
    assert tab.locator("article h2").all_inner_texts() == ranked
    cells = tab.locator("#summary .grade")
    assert cells.all_inner_texts() == [f"{scores[name]:.2f}" for name in ranked[:-1]]
    assert shown_colour(cells.first) == colour(tab, "bad")
    assert shown_colour(cells.last) == colour(tab, "good")
    assert shown_colour(tab.locator(".score b").first) == colour(tab, "bad")
    tab.select_option("#sort", "best")
    assert tab.locator("article h2").all_inner_texts() == [*ranked[-2::-1], "corrupt.flac"]

    with tab.expect_download() as download:
        tab.click("#save")
    assert download.value.suggested_filename == "audiosieve-scores.csv"
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert list(rows) == names, "in the order in which the files were chosen"
    for name, score in scores.items():
        assert float(rows[name]["score"]) == pytest.approx(score, abs=1e-3)
        assert rows[name]["error"] == ""
    assert rows["corrupt.flac"]["score"] == ""
    assert "of 65040 samples" in rows["corrupt.flac"]["error"]


def test_file_names_are_quoted_in_the_csv(opened, server, samples, tmp_path):
    names = ['a "b", c.flac', "日本\n語.flac"]
    for name in names:
        (tmp_path / name).write_bytes((samples / "clean.flac").read_bytes())
    tab = opened(server, accept_downloads=True)
    send(tab, *(tmp_path / name for name in names))
    with tab.expect_download() as download:
        tab.click("#save")
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == names


def test_the_score_is_a_line_in_the_picture_and_the_key_names_it(opened, server, samples):
    tab = opened(server, color_scheme="light")
    card = send(tab, samples / "burst.flac").first
    assert "score of the recording" in card.locator(".key").inner_text()
    assert "bad stretch" in card.locator(".key").inner_text()
    score = server.score(samples / "burst.flac").json()["score"]
    canvas = card.locator("canvas")
    picture = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"), int)
    bottom = curve_bottom(card)
    below = round(bottom * 0.6) + 14
    row = bottom - 4 - (bottom - below - 8) * (score - 1) / (4.64 - 1)
    ink = np.abs(picture - colour(tab, "ink")).max(axis=2) < 40
    dashes = ink[:, 60:-10].sum(axis=1)
    assert abs(int(np.argmax(dashes[below:bottom])) + below - row) <= 2


def test_a_file_name_is_shown_as_text(opened, server, samples, tmp_path):
    name = "<img src=x onerror=alert(1)>&amp;.flac"
    (tmp_path / name).write_bytes((samples / "clean.flac").read_bytes())
    tab = opened(server)
    card = send(tab, tmp_path / name).first
    assert card.locator("h2").inner_text() == name
    assert tab.locator("img").count() == 0


def test_a_recording_that_the_browser_cannot_play_is_scored(opened, server, samples, sample_run: Output, tmp_path):
    audio, rate = soundfile.read(samples / "clean.flac")
    soundfile.write(tmp_path / "clean.au", audio, rate)
    card = send(opened(server), tmp_path / "clean.au").first
    card.locator(".unplayable").wait_for()
    assert card.locator("audio").is_hidden()
    assert card.locator(".score b").inner_text() == f"{sample_run.scores['clean.flac']:.2f}"


def test_a_long_recording_is_drawn(opened, server, samples, tmp_path):
    audio, rate = soundfile.read(samples / "burst.flac")
    soundfile.write(tmp_path / "long.flac", np.tile(audio, 60), rate)
    card = send(opened(server), tmp_path / "long.flac").first
    assert card.locator(".score b").inner_text()
    assert len(Image.open(io.BytesIO(card.locator("canvas").screenshot())).convert("RGB").getcolors(1 << 24)) > 100


def test_the_page_fits_light_dark_and_narrow_screens(opened, server, samples):
    found = {}
    for scheme in ("light", "dark"):
        tab = opened(server, color_scheme=scheme, viewport={"width": 400, "height": 800})
        send(tab, samples / "burst.flac")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        found[scheme] = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("L")).mean()
    assert found["light"] > 180
    assert found["dark"] < 80


def test_a_service_with_keys_asks_for_one(opened, samples, sample_run: Output):
    with serving(environment={"AUDIOSIEVE_API_KEYS": KEY}) as locked:
        tab = opened(locked, expected=(401,))
        assert tab.locator("#access").is_visible()
        card = send(tab, samples / "clean.flac").first
        assert "unauthorized" in card.locator(".state").inner_text()
        tab.fill("#key", KEY)
        tab.click("#access button")
        tab.wait_for_selector("#access", state="hidden")
        tab.set_input_files("#files", str(samples / "clean.flac"))
        tab.locator("article[data-done=scored]").wait_for()
        assert tab.locator("article .score b").first.inner_text() == f"{sample_run.scores['clean.flac']:.2f}"


def test_dropped_files_are_scored(opened, server, samples):
    tab = opened(server)
    data = (samples / "clean.flac").read_bytes()
    tab.evaluate(
        """(numbers) => {
            const dropped = new DataTransfer();
            dropped.items.add(new File([new Uint8Array(numbers)], "dropped.flac"));
            for (const name of ["dragover", "drop"])
                document.getElementById("drop").dispatchEvent(
                    new DragEvent(name, { dataTransfer: dropped, bubbles: true, cancelable: true }));
        }""",
        list(data),
    )
    tab.locator("article[data-done=scored]").wait_for()
    assert tab.locator("article h2").inner_text() == "dropped.flac"
