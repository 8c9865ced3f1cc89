"""`audiosieve serve`: the real process, over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from pipelines.service.openapi_examples import RESPONSES
from pipelines.service.responses import ProblemOut, Scored, ScoredFiles
from tests.support.command import Output, audiosieve
from tests.support.paths import ROOT
from tests.support.web.service import PATIENCE_S, Server, serving
from transforms.schemas import UTTERANCES

pytestmark = pytest.mark.slow
GOOD = ("clean", "burst", "clipped", "noise_00db", "noise_10db", "noise_20db", "stereo_48k")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000))


# Columns that only an utterance of a corpus has.
LEFT_OUT = {"uri", "start_s", "source_version", "content_hash", "fingerprint"}


class TestScores:
    def test_they_are_those_of_the_pipeline(self, server: Server, samples: Path, sample_run: Output):
        rows = {row["utterance_id"]: row for row in sample_run.utterances}
        assert len(rows) == 8
        for name, row in rows.items():
            found = server.score(samples / name, frames=True, anomalies=True, utterance_id=name).json()
            Scored.model_validate(found)
            for column in set(row) - LEFT_OUT:
                expected = row[column]
                if isinstance(expected, float):
                    assert found[column] == pytest.approx(expected, abs=1e-3, rel=1e-4), (name, column)
                else:
                    assert found[column] == expected, (name, column)
            assert found["frame_score"] == pytest.approx(sample_run.frame_scores[name], abs=1e-3)
            expected = [row for row in sample_run.anomalies if row["utterance_id"] == name]
            assert len(found["anomalies"]) == len(expected) == row["num_anomalies"]
            for one, other in zip(found["anomalies"], expected, strict=True):
                assert one == pytest.approx({key: other[key] for key in one}, abs=1e-3)

    def test_rejects_are_problems_with_the_same_stage_reason_and_detail(self, server, samples, sample_run):
        (reject,) = sample_run.rejects
        found = server.score(samples / reject["utterance_id"], utterance_id=reject["utterance_id"])
        assert found.status_code == 422
        assert found.headers["content-type"] == "application/problem+json"
        problem = found.json()
        ProblemOut.model_validate(problem)
        assert {key: problem[key] for key in ("utterance_id", "stage", "reason", "detail")} == {
            key: reject[key] for key in ("utterance_id", "stage", "reason", "detail")
        }

    @pytest.mark.corpus
    def test_concurrent_requests_on_real_speech_get_the_scores_of_the_pipeline(self, server, corpus, tmp_path):
        paths = sorted((corpus / "speech").rglob("*.flac"))
        chosen = random.Random(0).sample(paths, 60)
        (tmp_path / "list.txt").write_text("\n".join(map(str, chosen)))
        audiosieve("score", "--input", tmp_path / "list.txt", "--output", tmp_path / "out")
        expected = {row["uri"]: row["score"] for row in Output(tmp_path / "out").utterances}
        found = together(server, [path.read_bytes() for path in chosen])
        for path, answer in zip(chosen, found, strict=True):
            assert answer.status_code == 200
            assert answer.json()["score"] == pytest.approx(expected[str(path)], abs=1e-3), path
        assert server.metric("audiosieve_batch_recordings_sum") > 2 * server.metric("audiosieve_batch_recordings_count")

    def test_batch_and_order_do_not_change_them(self, server, samples):
        bodies = [(samples / f"{name}.flac").read_bytes() for name in GOOD]
        alone = [server.score(body).json()["score"] for body in bodies]
        random.Random(1).shuffle(order := list(range(len(GOOD))) * 4)
        found = together(server, [bodies[place] for place in order])
        assert [answer.json()["score"] for answer in found] == pytest.approx(
            [alone[place] for place in order], abs=1e-3
        )

    def test_a_long_recording_is_scored_in_steps_as_in_the_pipeline(self, server, samples, tmp_path):
        clean, rate = soundfile.read(samples / "clean.flac")
        soundfile.write(tmp_path / "long.flac", np.tile(clean, 40), rate)
        audiosieve("score", "--input", tmp_path / "long.flac", "--output", tmp_path / "out")
        output = Output(tmp_path / "out")
        calls = server.metric("audiosieve_model_seconds_count")
        found = server.score(tmp_path / "long.flac", frames=True).json()
        assert server.metric("audiosieve_model_seconds_count") - calls > 8
        assert found["score"] == pytest.approx(output.utterances[0]["score"], abs=1e-3)
        assert found["frame_score"] == pytest.approx(output.frame_scores["long.flac"], abs=1e-3)

    @pytest.mark.parametrize(("channels", "channel"), [("mix", None), ("first", 0), ("1", 1)])
    def test_channels_are_selected(self, server, samples, channels, channel):
        found = server.score(samples / "stereo_48k.flac", channels=channels).json()
        assert (found["channel"], found["channels"]) == (channel, 2)


class TestForms:
    def test_the_results_are_in_the_order_of_the_files(self, server, samples, sample_run):
        names = ["clean.flac", "corrupt.flac", "compressed.mp3"]
        found = server.client.post(
            "/v1/score", files=[("audio", (name, (samples / name).read_bytes())) for name in names]
        )
        assert found.status_code == 200
        ScoredFiles.model_validate(found.json())
        results = found.json()["results"]
        assert [one["utterance_id"] for one in results] == names
        assert [one.get("score", one.get("reason")) for one in results] == pytest.approx(
            [sample_run.scores["clean.flac"], "corrupt", sample_run.scores["compressed.mp3"]], abs=1e-3
        )

    def test_a_form_without_a_score_gets_one_problem_that_lists_all(self, server, samples):
        corrupt = (samples / "corrupt.flac").read_bytes()
        found = server.client.post("/v1/score", files=[("a", ("a.flac", corrupt)), ("b", ("b.flac", b""))])
        assert found.status_code == 422
        assert [(one["utterance_id"], one["status"]) for one in found.json()["problems"]] == [
            ("a.flac", 422),
            ("b.flac", 400),
        ]

    def test_a_form_of_one_file_gets_a_list_of_one(self, server, samples):
        found = server.client.post("/v1/score", files={"file": (samples / "clean.flac").read_bytes()})
        assert len(found.json()["results"]) == 1

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", "/etc/shadow", "a\x00b", "\u202egnp.wav", "é" * 300, "C:\\x.wav", "'; rm -rf /"]
    )
    def test_file_names_are_returned_and_never_used_as_paths(self, server, samples, name):
        found = server.client.post("/v1/score", files={"file": (name, (samples / "clean.flac").read_bytes())})
        assert found.status_code == 200
        assert isinstance(found.json()["results"][0]["utterance_id"], str)
        assert_nothing_written(server)

    @pytest.mark.parametrize(
        ("kind", "body", "status"),
        [
            ("multipart/form-data", b"--x", 400),
            ("multipart/form-data; boundary=x", b"no form", 400),
            ("multipart/form-data; boundary=x", b"", 422),
            (
                "multipart/form-data; boundary=x",
                b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
                422,
            ),
            (
                "multipart/form-data; boundary=x",
                b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\nRI',
                422,
            ),
            ("multipart/form-data; boundary=x", b"--x\r\n\r\n\r\n--x--", 400),
        ],
    )
    def test_an_invalid_form_is_refused(self, server, kind, body, status):
        found = server.client.post("/v1/score", content=body, headers={"content-type": kind})
        assert found.status_code == status, found.text
        assert found.json()["reason"] == "bad_form"


class TestOtherRoutes:
    def test_a_response_has_every_column_of_utterances_that_an_upload_has(self):
        assert set(UTTERANCES.names) - set(Scored.model_fields) == LEFT_OUT

    def test_the_examples_of_the_openapi_description_are_real_responses(self, server, samples):
        found = server.score(samples / "burst.flac", anomalies=True, utterance_id="burst.flac").json()
        assert set(found) == set(RESPONSES["body"]["value"])
        for column, value in RESPONSES["body"]["value"].items():
            if isinstance(value, float):
                assert found[column] == pytest.approx(value, abs=1e-3)
            elif column != "anomalies":
                assert found[column] == value

    def test_the_examples_of_the_documentation_work(self, server, samples, sample_run: Output, tmp_path):
        online = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
        shutil.copy(samples / "burst.flac", tmp_path / "take1.flac")
        shutil.copy(samples / "compressed.mp3", tmp_path / "take2.mp3")
        online = online.replace("http://127.0.0.1:8000", server.url)
        python = re.search(r"```python\n(.*?)```", online, re.DOTALL)[1]
        how = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
        done = subprocess.run([sys.executable, "-c", python], **how)
        assert float(done.stdout.split()[0]) == pytest.approx(sample_run.scores["burst.flac"], abs=0.01)
        if not shutil.which("curl"):
            pytest.skip("there is no curl")
        lines = [line for line in online.splitlines() if line.startswith("curl ")]
        found = [json.loads(subprocess.run(["bash", "-c", line], **how).stdout) for line in lines]
        assert len(found[0]["anomalies"]) == 1
        assert [len(one["frame_score"]) for one in found[1]["results"]] == [263, 224]
        assert found[2]["score"] == found[0]["score"]

    def test_the_model_is_described(self, server):
        found = server.client.get("/v1/model").json()
        assert found["model_id"] == f"{found['card']['name']}@{found['hash']}"
        assert found["label_scale"]["high"] == 4.64

    def test_an_idle_service_is_alive_and_ready(self, server):
        assert server.client.get("/healthz").status_code == server.client.get("/readyz").status_code == 200

    @pytest.mark.parametrize(
        ("wanted", "said"),
        [
            ({"frame": 1}, "frame: Extra inputs are not permitted"),
            ({"frames": "perhaps"}, "frames"),
            ({"channels": "each"}, "channels"),
        ],
    )
    def test_an_invalid_parameter_is_refused(self, server, samples, wanted, said):
        found = server.score(samples / "clean.flac", **wanted)
        assert (found.status_code, found.json()["reason"]) == (422, "bad_request")
        assert said in found.json()["detail"]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v1/score", 405),
            ("POST", "/v1/model", 405),
            ("GET", "/v2", 404),
            ("GET", "/docs", 404),
            ("GET", "/..%2f", 404),
        ],
    )
    def test_an_unknown_route_is_a_problem(self, server, method, path, status):
        found = server.client.request(method, path)
        assert found.status_code == status
        assert found.headers["content-type"] == "application/problem+json"
        ProblemOut.model_validate(found.json())

    def test_other_sites_may_not_read_responses(self, server, samples):
        found = server.client.post(
            "/v1/score", content=(samples / "clean.flac").read_bytes(), headers={"origin": "https://elsewhere.example"}
        )
        assert not [name for name in found.headers if name.startswith("access-control")]
        preflight = {"origin": "https://x", "access-control-request-method": "POST"}
        assert server.client.options("/v1/score", headers=preflight).status_code == 405

    @pytest.mark.parametrize("path", ["/", "/v1/model", "/nothing", "/metrics"])
    def test_every_response_has_the_security_headers(self, server, path):
        headers = server.client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers

    def test_metrics_count_recordings_and_audio(self, server, samples):
        before = [server.metric(name) for name in ("audiosieve_audio_seconds_total", "audiosieve_recordings_total")]
        server.score(samples / "clean.flac")
        server.score(samples / "corrupt.flac")
        after = [server.metric(name) for name in ("audiosieve_audio_seconds_total", "audiosieve_recordings_total")]
        assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([4.065, 2])
        assert server.metric("audiosieve_queue_recordings") == server.metric("audiosieve_requests_inside") == 0


def assert_nothing_written(server: Server) -> None:
    """Checks that TMPDIR has only the private folder of the service, and that this folder is empty."""
    (private,) = server.folder.iterdir()
    assert private.stat().st_mode & 0o777 == 0o700
    assert list(private.iterdir()) == []


def together(server: Server, bodies: list[bytes], at_a_time: int = 1_000) -> list[httpx.Response]:
    """Sends bodies concurrently, at most `at_a_time`."""

    async def ask() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=at_a_time)
        timeout = httpx.Timeout(PATIENCE_S, pool=None)
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=timeout, limits=limits) as client:
            return await asyncio.gather(*(client.post("/v1/score", content=body) for body in bodies))

    return asyncio.run(ask())
