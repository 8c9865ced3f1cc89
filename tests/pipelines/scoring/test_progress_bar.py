"""The numbers of a run in progress, as a bar and as JSON lines."""

from __future__ import annotations

import io
import time

from pipelines.scoring import progress_bar
from pipelines.scoring.progress_bar import ProgressBar, bar, progress_facts
from transforms.progress_counters import ProgressCounts


def test_facts_of_a_run_half_done():
    facts = progress_facts(ProgressCounts(50, 2, 1_800.0), inputs=104, total_s=3_600.0, elapsed_s=3.0, waves=1)
    assert facts == {
        "scored": 50,
        "rejected": 2,
        "of": 104,
        "hours": 0.5,
        "of_hours": 1.0,
        "x_real_time": 600,
        "seconds_left": 3,
        "waves_committed": 1,
    }
    line = bar(facts)
    assert (
        "[############............] 52 of 104 files, 30.0 min of 1.0 h, 600 x real time, 0:00:03 left, 2 rejected"
        in line
    )


def test_at_the_start_no_time_is_estimated():
    facts = progress_facts(ProgressCounts(), inputs=10, total_s=3_600.0, elapsed_s=1.0, waves=0)
    assert facts["seconds_left"] == -1
    assert "starting" in bar(facts)


def test_committed_waves_correct_the_estimate(tmp_path):
    progress = ProgressBar(str(tmp_path), 10, 1_000.0)
    assert progress.total_s == 1_000.0
    progress.add_committed(400.0, 200.0)
    assert progress.total_s == 500.0


def test_off_a_terminal_json_lines_are_printed(tmp_path, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress_bar, "LINE_S", 0.01)
    monkeypatch.setattr("sys.stderr", out)
    with ProgressBar(str(tmp_path), 10, 1_000.0).shown():
        while not out.getvalue():
            time.sleep(0.01)
    assert out.getvalue().startswith('{"scored": 0, "rejected": 0, "of": 10')
