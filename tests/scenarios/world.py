"""The world a scenario plays in: a project with described clips, the real drafting, and runs that are folders alone.

Inspection, captioning and training are played from the description: no media is decoded and no process is started, so
that a hundred conversations take seconds. Everything a person talks to is the real thing.
"""

import json
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from agent.state import Stage
from tools.caption.tool import CaptionArguments, RetuneArguments
from tools.draft.tool import DRAFT_TOOLS
from tools.inspect.objectives import judge_objectives
from tools.inspect.report import Audio, BucketCount, Clip, Flag, Report, Sample, Seconds, Summary
from tools.inspect.tool import InspectArguments
from tools.monitor.tool import MONITOR_TOOLS, StartArguments, StopArguments
from tools.project import Progress, Project, ProjectFacts
from tools.spec import Tool
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import append_jsonl, write_json, write_jsonl, write_text
from trainer_core.run_folder import LIVE_STATES, RunStatus, create_run_folder

STEP = {"epoch": 0, "lr": 1e-4, "grad_norm": 0.5, "sigma_video": 0.5, "sigma_audio": 0.5, "memory_bytes": 8 * 2**30}
SECONDS = {"data": 0.1, "forward": 0.5, "backward": 1.0, "optimizer": 0.1}


class Played(BaseModel):
    """The result of a played tool: what the summaries read."""

    model_config = ConfigDict(extra="allow")


def make_project(folder: Path, clips: str, goal: str = "", captions: dict[str, str] | None = None) -> Project:
    """A project of the clips that `clips` describes, such as `3 sound, 2 silent, 1 short`; nothing is inspected yet."""
    project = Project(folder / "project")
    write_json(folder / "world.json", {"clips": clips, "captions": captions or {}})
    project.write_facts(ProjectFacts(sources=["/footage"], goal=goal))
    return project


def played_tools() -> dict[Stage, list[Tool]]:
    """The four nodes' tools, those that need footage or a trainer played."""
    monitor = {tool.name: tool for tool in MONITOR_TOOLS}
    start = Tool(
        "start_training",
        play_start,
        StartArguments,
        needs_approval="start",
        preview=monitor["start_training"].preview,
        recover=monitor["start_training"].recover,
    )
    played = {"start_training": start, "stop_training": Tool("stop_training", play_stop, StopArguments)}
    return {
        "inspect": [Tool("inspect_clips", play_inspect, InspectArguments)],
        "caption": [
            Tool("caption_clips", play_caption, CaptionArguments),
            Tool("retune_captions", play_retune, RetuneArguments),
        ],
        "draft": DRAFT_TOOLS,
        "monitor": [played.get(name, tool) for name, tool in monitor.items()],
    }


def play_inspect(project: Project, arguments: InspectArguments, progress: Progress | None = None) -> Played:
    """Look at every clip of the project and write report.json. Run it first."""
    clips = _clips(_world(project)["clips"])
    usable = [clip for clip in clips if clip.status == "ok"]
    if not usable:
        raise DataError("None of the clips can train.", "Add clips that decode and are long enough.")
    counts = dict.fromkeys(("flagged", "unreadable", "other", "videos", "images", "audio_files"), 0)
    samples = sum(len(clip.samples) for clip in clips)
    summary = Summary(
        files=len(clips), ok=len(usable), unusable=len(clips) - len(usable), frame_rate=24.0, samples=samples, **counts
    )
    report = Report(
        summary=summary,
        objectives=judge_objectives(clips),
        buckets=[BucketCount(width=96, height=64, frames=17, clips=len(usable))],
        seconds=Seconds(total=12.0, kept=9.5, discarded=2.5),
        clips=clips,
    )
    write_json(project.report_path, report.model_dump())
    return Played(
        sentence=f"{len(usable)} of {len(clips)} clips can train.",
        usable=len(usable),
        clips_with_sound=sum(clip.audio.status == "ok" for clip in usable),
        problems=[flag.message for clip in clips for flag in clip.flags],
        report_html="report.html",
    )


def play_caption(project: Project, arguments: CaptionArguments, progress: Progress | None = None) -> Played:
    """Give every usable clip a caption and write captions.jsonl."""
    if not project.report_path.exists():
        raise ConfigError("There is no report.json yet.", "Inspect the clips first.")
    world = _world(project)
    if arguments.trigger is not None:
        project.write_facts(project.facts.model_copy(update={"trigger": arguments.trigger}))
    rows = [
        {
            "path": clip.path,
            "sha256": clip.sha256,
            "caption": world["captions"].get(clip.path, f"What {clip.path} shows."),
            "source": "measured",
            "needs_review": True,
        }
        for clip in _clips(world["clips"])
        if clip.status == "ok"
    ]
    write_jsonl(project.captions_path, rows)
    return Played(
        clips=len(rows),
        by_source={"measured": len(rows)},
        written=len(rows),
        kept=0,
        needs_review=len(rows),
        trigger=project.facts.trigger,
        notes=[],
        spot_check=rows[:3],
    )


def play_retune(project: Project, arguments: RetuneArguments, progress: Progress | None = None) -> Played:
    """Change how a model writes the captions, by one note in the person's words."""
    raise ConfigError("No model writes these captions.", "Edit captions.jsonl.")


def play_start(project: Project, arguments: StartArguments, progress: Progress | None = None) -> Played:
    """Start training with the project's config.yaml, as a process of its own. The person must approve it."""
    for run in project.runs():
        if run.read_status().state in LIVE_STATES:
            raise ConfigError(f"The run {run.id} is still going on.", "Wait for it, or stop it.")
    add_run(project, "running", "falling")
    newest = project.runs()[-1]
    return Played(run=newest.id, path=str(newest.path), state="running", steps=400, error=None, notes=[])


def play_stop(project: Project, arguments: StopArguments, progress: Progress | None = None) -> Played:
    """Ask a run to stop: it finishes its step, saves and ends."""
    if not project.runs():
        raise ConfigError("There is no run yet.", "Start one.")
    run = project.runs()[-1]
    run.write_status(RunStatus("done", step=120, steps=400, started_at=time.time(), last_checkpoint="checkpoints/a"))
    return Played(message=f"Run {run.id} ended as done at step 120 of 400.")


def add_run(project: Project, state: str, loss: str) -> None:
    """A run folder as the trainer leaves it: `loss` is falling, flat, rising or none."""
    run = create_run_folder(project.runs_path)
    write_text(run.config_path, project.config_path.read_text(encoding="utf-8"))
    steps = 0 if loss == "none" else 120
    for step in range(1, steps + 1):
        level = {"falling": 2 - step / 100, "flat": 1.0, "rising": 0.2 * 1.04**step}[loss]
        value = level + 0.02 * ((step * 7919) % 13 - 6) / 6
        row = {"step": step, "time_s": float(step), "loss": value, "loss_video": value, "step_s": SECONDS, **STEP}
        append_jsonl(run.metrics_path, {**row, "samples_seen": step, "clips": []})
    # a queued run without a process counts as live: nothing here has one
    seen = "queued" if state in LIVE_STATES else state
    error = "The GPU ran out of memory." if state == "failed" else None
    run.write_status(RunStatus(seen, step=steps, steps=400, started_at=time.time(), error=error))  # type: ignore[arg-type]


def _world(project: Project) -> dict[str, Any]:
    return dict(json.loads((project.path.parent / "world.json").read_text(encoding="utf-8")))


def _clips(described: str) -> list[Clip]:
    """`2 sound` → clip_1.mp4, clip_2.mp4 with sound; kinds: sound, silent, short, photo, audio, masked, referenced."""
    found: list[Clip] = []
    for part in described.split(","):
        count, kind = part.split()
        found += [_clip(f"clip_{len(found) + index + 1}", kind) for index in range(int(count))]
    return found


def _clip(name: str, kind: str) -> Clip:
    suffix = {"photo": "png", "audio": "wav"}.get(kind, "mp4")
    columns = {"masked": {"video_mask": f"masks/{name}.mp4"}, "referenced": {"reference_video": f"refs/{name}.mp4"}}
    samples = [Sample(start_s=index * 0.75, duration_s=17 / 24, bucket="96x64x17") for index in range(2)]
    short = Flag(id="too_short", severity="block", message="it has 5 frames, fewer than 9", remedy="Use a longer clip.")
    return Clip(
        source="/footage",
        path=f"{name}.{suffix}",
        sha256=f"sha-of-{name}",
        kind={"photo": "image", "audio": "audio"}.get(kind, "video"),  # type: ignore[arg-type]
        status="unusable" if kind == "short" else "ok",
        audio=Audio(status="none" if kind in ("silent", "photo", "short") else "ok"),
        samples=[] if kind == "short" else samples,
        flags=[short] if kind == "short" else [],
        columns=columns.get(kind, {}),
    )
