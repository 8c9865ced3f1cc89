"""Counters of several processes are added up."""

from __future__ import annotations

import os

from transforms.progress_counters import ProgressCounter, ProgressCounts, read_counters


def test_counters_of_all_processes_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr("transforms.progress_counters.WRITE_EVERY_S", 0.0)
    for pid in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        counter = ProgressCounter(str(tmp_path))
        counter.add(scored=2, audio_s=10.0)
        counter.add(rejected=1)
    assert read_counters(str(tmp_path)) == ProgressCounts(4, 2, 20.0)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ProgressCounter(None).add(scored=1)
    assert not list(tmp_path.iterdir())
