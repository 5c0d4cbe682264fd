"""Captioning against the server's own capacity: a scripted server with a fixed delay has all its slots in use.

Clips are prepared (decoded twice, measured, encoded) while the server works, so its time is the limit. And a second run
asks for nothing.
"""

import importlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_openai import Answer, serving

from tools.caption.tool import CaptionArguments, caption_clips
from tools.inspect.tool import InspectArguments, inspect_clips
from tools.project import Project, ProjectFacts

CLIPS, SLOTS, DELAY_S = 96, 8, 1.5
CAPTION = "A man in a car talks on the phone, turns his head to the window and back, and nods in even daylight. " * 3


@pytest.fixture
def project(tmp_path: Path, cut_footage: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(CLIPS):
        shutil.copy(cut_footage / "carphone.mp4", clips / f"{number}.mp4")
        with (clips / f"{number}.mp4").open("ab") as file:
            file.write(bytes([number]))
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"captions:\n  concurrency: {SLOTS}\n")
    monkeypatch.setenv("LTX_AGENT_SETTINGS", str(settings))
    project = Project(tmp_path / "project")
    project.write_facts(ProjectFacts(sources=[str(clips)]))
    inspect_clips(project, InspectArguments())
    return project


@pytest.mark.bench
def test_captioning_keeps_the_server_busy(
    project: Project, monkeypatch: pytest.MonkeyPatch, record_ratio: Callable[..., None]
) -> None:
    with serving() as server:
        monkeypatch.setenv("LTX_AGENT_CAPTION_BASE_URL", server.url)
        monkeypatch.setenv("LTX_AGENT_CAPTION_MODEL", "vision-1")
        server.script = lambda request: Answer(CAPTION, delay_s=DELAY_S)
        importlib.import_module("openai")  # a process loads its client once, however many clips it captions
        began = time.perf_counter()
        caption_clips(project, CaptionArguments(clips="all"))
        taken_s = time.perf_counter() - began
        asked = len(server.requests)
        caption_clips(project, CaptionArguments(clips="all"))
        again = len(server.requests) - asked
    assert asked == CLIPS
    capacity_s = CLIPS * DELAY_S / SLOTS
    note = f"{CLIPS} clips, {SLOTS} slots of {DELAY_S} s; {capacity_s / taken_s:.0%} of the slots in use, start to end"
    record_ratio("captioning: time / server's own capacity", taken_s / capacity_s, 1 / 0.95, note)
    record_ratio("captioning again: requests / clips", again / CLIPS, 0.0, "resume re-does nothing")
