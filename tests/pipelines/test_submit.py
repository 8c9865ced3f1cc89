"""`audiosieve submit`: the real command against a real service."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Output, audiosieve
from tests.support.terminal import audiosieve_in_terminal
from tests.support.web.service import Server, serving

pytestmark = pytest.mark.slow
KEY = "a-key-of-some-length"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--max_mb", 1, environment={"AUDIOSIEVE_API_KEYS": KEY}) as started:
        yield started


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOSIEVE_API_KEY", KEY)


def decibels(run: Output, name: str) -> list[str]:
    """Returns SNR and C50 of a recording as the table shows them."""
    (row,) = (row for row in run.utterances if row["utterance_id"] == name)
    return [f"{row[column]:.1f} dB" for column in ("snr_db", "c50_db")]


def test_a_table_in_the_order_asked_for(server: Server, samples: Path, sample_run: Output):
    names = ["noise_00db.flac", "burst.flac", "clean.flac", "clipped.flac"]
    files = [samples / name for name in names]
    lines = audiosieve("submit", *files, "--url", server.url).stdout.splitlines()
    assert lines[0].split() == ["recording", "score", "worst", "frame", "length", "SNR", "C50", "causes", "remarks"]
    # A path may have a space in it: the scores are in the columns behind the widest one.
    width = max(len(str(path)) for path in files)
    assert [line[:width].rstrip() for line in lines[2:]] == [str(path) for path in files]
    assert [line[width:].split()[0] for line in lines[2:]] == [f"{sample_run.scores[name]:.2f}" for name in names]
    assert sample_run.bad_stretches("burst.flac")
    cells = [re.split(" {2,}", line[width:].strip()) for line in lines[2:]]
    assert cells[1][3:] == [*decibels(sample_run, "burst.flac"), ", ".join(sample_run.bad_stretches("burst.flac"))]
    remarks = ", ".join(["clipped", *sample_run.bad_stretches("clipped.flac")])
    assert cells[3][3:] == [*decibels(sample_run, "clipped.flac"), "second voice, clipping", remarks]


def test_names_and_remarks_are_wrapped_to_the_terminal(server: Server, samples: Path, tmp_path: Path):
    long = tmp_path / ("a-long-name-" * 8)
    shutil.copy(samples / "corrupt.flac", long)
    words = ["submit", long, samples / "burst.flac", "--url", server.url]
    shown = audiosieve_in_terminal(*words, rows=24, columns=80, status=1)
    assert max(map(len, shown.splitlines())) <= 80
    full = audiosieve(*words, status=1).stdout
    assert max(map(len, full.splitlines())) > 200
    cells = [line[:20].strip() for line in shown.splitlines()]
    assert long.name in "".join(cells)
    assert "corrupt: after" in shown
    assert len(shown.splitlines()) > len(full.splitlines()) + 2


def test_json_has_the_scores_of_the_batch_pipeline(server: Server, samples: Path, sample_run: Output):
    files = sorted(path for path in samples.iterdir() if path.name != "corrupt.flac")
    done = audiosieve("submit", *files, "--url", server.url, "--format", "json", "--frames")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(path) for path in files]
    assert {row["utterance_id"]: row["score"] for row in rows} == pytest.approx(sample_run.scores, abs=1e-3)
    assert all(len(row["frame_score"]) == row["num_frames"] for row in rows)
    assert all(row.get("anomalies") is None for row in rows)


def test_what_has_no_score_is_said_and_changes_the_exit_status(server: Server, samples: Path, tmp_path: Path):
    (tmp_path / "large.wav").write_bytes(bytes(3 << 20))
    files = [samples / "clean.flac", samples / "corrupt.flac", tmp_path / "large.wav"]
    done = audiosieve("submit", *files, "--url", server.url, status=1)
    assert "corrupt: after 0 of 65040 samples" in done.stdout
    assert "upload_too_large: a request may have" in done.stdout
    assert done.stderr == "audiosieve submit: 2 of 3 have no score\n"


def test_without_the_key_nothing_is_scored(server: Server, samples: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AUDIOSIEVE_API_KEY")
    assert "unauthorized" in audiosieve("submit", samples / "clean.flac", "--url", server.url, status=1).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--url", "ftp://x"], "must be like http://127.0.0.1:8000"),
        (["--url", "http://x:99999"], "must be like"),
        (["--url", "127.0.0.1:8000"], "must be like"),
        (["--channels", "each"], "send the channels one by one"),
        (["--at_a_time", 0], "--at_a_time is 0; must be at least 1"),
        (["--patience_s", "nan"], "--patience_s is nan; must be a finite number, at least 0"),
        (["--timeout_s", 0], "--timeout_s is 0; must be over 0"),
        (["nothing.wav"], "nothing.wav: there is no such file"),
        (["."], ".: is a folder; name files"),
    ],
)
def test_what_cannot_be_is_refused(samples: Path, options, message):
    assert message in audiosieve("submit", samples / "clean.flac", *options, status=2).stderr


def test_a_file_that_cannot_be_read_is_no_fault_of_the_service(server: Server, samples: Path):
    # A file of which nobody, root included, can read the first byte.
    done = audiosieve("submit", samples / "clean.flac", "/proc/self/mem", "--url", server.url, status=1)
    assert "unreadable: [Errno 5]" in done.stdout
    assert done.stderr == "audiosieve submit: 1 of 2 have no score\n"


def test_a_service_that_is_not_there_is_tried_again_and_then_said(samples: Path):
    done = audiosieve("submit", samples / "clean.flac", "--url", "http://127.0.0.1:9", "--patience_s", 1, status=1)
    assert "unreachable: 127.0.0.1:9" in done.stdout
    assert "trying again for 1 s" in done.stderr


class Full(http.server.BaseHTTPRequestHandler):
    """A service that has no time, in every way there is, then gives no answer of ours."""

    statuses = (429, 502, 503, 200)
    retry_after: str
    asked: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.statuses[min(len(self.asked), 3)])
        self.asked.append(self.path)
        self.send_header("Retry-After", self.retry_after)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def full(retry_after: str) -> Iterator[str]:
    """The address of a `Full`."""
    Full.asked, Full.retry_after = [], retry_after
    with http.server.HTTPServer(("127.0.0.1", 0), Full) as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{started.server_port}"
        started.shutdown()


def test_a_full_service_is_asked_again(samples: Path):
    with full("1") as url:
        done = audiosieve("submit", samples / "clean.flac", "--url", f"{url}/behind/a/prefix/", status=1)
    assert len(Full.asked) == 4
    assert all(path.startswith("/behind/a/prefix/v1/score?") for path in Full.asked)
    assert "no_service: status 200" in done.stdout


def test_it_is_not_asked_before_it_says(samples: Path):
    with full("50") as url:
        done = audiosieve("submit", samples / "clean.flac", "--url", url, "--patience_s", 20, status=1)
    assert len(Full.asked) == 1, "50 s are more than the patience: it would have been asked again after half a second"
    assert "no_service: status 429" in done.stdout


def test_a_name_that_is_no_text_is_sent_and_told(server: Server, samples: Path, sample_run: Output, tmp_path: Path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.flac"))
    path.write_bytes((samples / "clean.flac").read_bytes())
    done = audiosieve("submit", path, "--url", server.url, "--format", "json")
    assert json.loads(done.stdout)["utterance_id"] == "a\\xff.flac"
    assert f"{sample_run.scores['clean.flac']:.2f}" in audiosieve("submit", path, "--url", server.url).stdout
