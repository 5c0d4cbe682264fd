"""The world a scenario plays in: a project with described clips, the real drafting, and runs that are folders alone.

Inspection, captioning and training are played from the description: no media is decoded and no process is started, so
that a hundred conversations take seconds. Everything a person talks to is the real thing.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from agent.state import Stage
from tools.caption.tool import CaptionArguments, RetuneArguments
from tools.deliver.export import EXPORT_FOLDER, ExportAdapterArguments
from tools.deliver.hub import PushArguments
from tools.deliver.sample import SampleArguments
from tools.deliver.tool import DELIVER_TOOLS
from tools.draft.tool import DRAFT_TOOLS
from tools.facts.tool import FACTS_TOOL
from tools.inspect.report.objectives import judge_objectives
from tools.inspect.report.report import Audio, BucketCount, Clip, Flag, Report, Sample, Seconds, Summary
from tools.inspect.tool import InspectArguments
from tools.monitor.doctor import CompareArguments, DoctorArguments, EditAdapterArguments
from tools.monitor.experiments import EXPERIMENTS_TOOL
from tools.monitor.find import find_run
from tools.monitor.tool import MONITOR_TOOLS, ResumeArguments, StartArguments, StopArguments
from tools.project import Progress, Project, ProjectFacts
from tools.rehearsal.rehearse import (
    REHEARSAL_NAME,
    RehearseArguments,
    RehearseResult,
    Trial,
    digest,
    switches_of,
)
from tools.spec import Tool
from trainer_core.config import load_config
from trainer_core.config_paths import resolve_paths
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import append_jsonl, write_json, write_jsonl, write_text
from trainer_core.run_folder import LIVE_STATES, RunFolder, RunStatus, create_run_folder

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


def played_tools(*, rehearses: bool = False) -> dict[Stage, list[Tool]]:
    """The four nodes' tools, those that need footage, a trainer or the Hub played; the rest of each tool is its own.

    `rehearses`: the monitor has the rehearsal too, which then comes before each first start.
    """
    playing: dict[str, Callable[..., BaseModel]] = {
        "start_training": play_start,
        "stop_training": play_stop,
        "resume_training": play_resume,
        "rehearse_training": play_rehearsal,
        "examine_adapter": play_examination,
        "compare_adapters": play_comparison,
        "edit_adapter": play_edit,
        "sample_adapter": play_sample,
        "export_adapter": play_export,
        "push_to_hub": play_push,
    }
    monitor = [
        replace(tool, function=documented(playing[tool.name], tool)) if tool.name in playing else tool
        for tool in [*MONITOR_TOOLS, *DELIVER_TOOLS]
        if rehearses or tool.name != "rehearse_training"
    ]
    return {
        "inspect": [Tool("inspect_clips", play_inspect, InspectArguments), FACTS_TOOL],
        "caption": [
            Tool("caption_clips", play_caption, CaptionArguments),
            Tool("retune_captions", play_retune, RetuneArguments),
            FACTS_TOOL,
        ],
        "draft": [*DRAFT_TOOLS, EXPERIMENTS_TOOL, FACTS_TOOL],
        "monitor": [*monitor, FACTS_TOOL],
    }


def play_inspect(project: Project, arguments: InspectArguments, progress: Progress | None = None) -> Played:
    """Look at every clip of the project and write report.json. Run it first."""
    clips = _clips(_world(project)["clips"])
    usable = [clip for clip in clips if clip.status != "unusable"]
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
        if clip.status != "unusable"
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
    """Change how a model writes the captions, by one note in the user's words."""
    raise ConfigError("No model writes these captions.", "Edit captions.jsonl.")


def play_start(project: Project, arguments: StartArguments) -> Played:
    for run in project.runs():
        if run.read_status().state in LIVE_STATES:
            raise ConfigError(f"The run {run.id} is still going on.", "Wait for it, or stop it.")
    add_run(project, "running", "falling")
    newest = project.runs()[-1]
    return Played(run=newest.id, path=str(newest.path), state="running", steps=400, error=None, notes=[])


def play_stop(project: Project, arguments: StopArguments) -> Played:
    if not project.runs():
        raise ConfigError("There is no run yet.", "Start one.")
    run = project.runs()[-1]
    run.write_status(RunStatus("done", step=120, steps=400, started_at=time.time(), last_checkpoint="checkpoints/a"))
    return Played(message=f"Run {run.id} ended as done at step 120 of 400.")


def documented(function: Callable[..., BaseModel], tool: Tool) -> Callable[..., BaseModel]:
    """`function` with the words that the model reads of the real tool."""

    def played(project: Project, arguments: Any, progress: Progress | None = None) -> BaseModel:
        return function(project, arguments)

    played.__doc__ = tool.function.__doc__
    return played


def play_resume(project: Project, arguments: ResumeArguments) -> Played:
    run = find_run(project, arguments.run)
    start = arguments.from_step or 100
    append_jsonl(run.events_path, {"kind": "resumed", "step": start})
    run.write_status(replace(run.read_status(), state="queued", error=None))
    return Played(
        run=run.id,
        state="running",
        from_step=start,
        steps=arguments.steps or 400,
        restored=["adapter", "optimizer"],
        overridden=[f"{name}" for name in arguments.overrides()],
        set_aside=[],
        error=None,
    )


def play_rehearsal(project: Project, arguments: RehearseArguments) -> RehearseResult:
    """What a machine without a GPU measures; one whose world is `tight` runs out until the base is in 8 bits."""
    config = resolve_paths(load_config(project.config_path), project.path)
    tight = _world(project)["clips"].endswith("tight") and config.acceleration.quantization is None
    needed = {"acceleration.quantization": "int8-quanto"} if tight else {}
    common = {"step_s": 0.5, "device_peak_bytes": None, "tensors_peak_bytes": 2 * 2**30, "host_peak_bytes": 3 * 2**30}
    drafted = Trial(
        change="as drafted",
        changes={},
        fits=not tight,
        kept=not tight,
        ran_out="the training step" if tight else None,
        stages=[],
        seconds=1.0,
        switches=switches_of(config),
        **common,
    )
    fitted = drafted.model_copy(update={"change": "int8-base", "changes": needed, "fits": True, "kept": True})
    fitted = fitted.model_copy(update={"ran_out": None, "switches": {**drafted.switches, **needed}})
    result = RehearseResult(
        device="no GPU: the CPU",
        sample="96x64x17",
        real_sample=True,
        fits=True,
        changes=needed,
        diff="",
        trials=[drafted, fitted] if tight else [drafted],
        not_measured=["the step time of a card"],
        config_digest=digest(config),
        time=time.time(),
    )
    write_json(project.path / REHEARSAL_NAME, result.model_dump(mode="json"))
    return result


def play_examination(project: Project, arguments: DoctorArguments) -> Played:
    file = arguments.file or find_run(project, arguments.run).read_status().last_checkpoint
    if file is None:
        raise ConfigError("The run has no checkpoint yet.", "Wait for its first save, or give a LoRA file.")
    branches = {"audio": {"mean_ratio": 0.004, "max_ratio": 0.01}}
    return Played(
        file=file, verdict="healthy", evidence=["every module moved"], branches=branches, base="LTX-2.3", picture=None
    )


def play_comparison(project: Project, arguments: CompareArguments) -> Played:
    branches = {"video": {"modules": 4, "cosine": 0.5, "norm_ratio": 1.1}}
    return Played(
        first=arguments.first,
        second=arguments.second,
        branches=branches,
        only_first=[],
        only_second=[],
        least_alike=[],
    )


def play_edit(project: Project, arguments: EditAdapterArguments) -> Played:
    return Played(sentence=f"Made {arguments.output} of {arguments.file}.")


def play_sample(project: Project, arguments: SampleArguments) -> Played:
    prompts = arguments.prompts or ["a caption it trained on"]
    return Played(
        files=["a.mp4"], prompts=prompts, model="LTX-2.3", page="index.html", conflicts=[], notes=[], tiny=False
    )


def play_export(project: Project, arguments: ExportAdapterArguments) -> Played:
    run = find_run(project, arguments.run)
    folder = run.path / EXPORT_FOLDER
    if folder.exists() and not arguments.overwrite:
        raise ConfigError(f"{folder} holds an export already.", "Add --overwrite to make it again.")
    write_text(folder / "README.md", "A card.")
    return Played(run=run.id, folder=str(folder), checked=dict.fromkeys(arguments.forms, "checked"), notes=[])


def play_push(project: Project, arguments: PushArguments) -> Played:
    return Played(files=["README.md"], repo_id=arguments.repo_id, public=arguments.public, url="https://hub/commit")


def add_run(project: Project, state: str, loss: str) -> None:
    """A run folder as the trainer leaves it: `loss` is falling, flat, rising or none; `oom` is a failed one's state.

    A run that took steps has a checkpoint, and a state to go on from.
    """
    run = create_run_folder(project.runs_path)
    write_text(run.config_path, project.config_path.read_text(encoding="utf-8"))
    steps = 0 if loss == "none" else 120
    for step in range(1, steps + 1):
        level = {"falling": 2 - step / 100, "flat": 1.0, "rising": 0.2 * 1.04**step}[loss]
        value = level + 0.02 * ((step * 7919) % 13 - 6) / 6
        row = {"step": step, "time_s": float(step), "loss": value, "loss_video": value, "step_s": SECONDS, **STEP}
        append_jsonl(run.metrics_path, {**row, "samples_seen": step, "clips": []})
    if state == "oom":
        tell_out_of_memory(run)
        state = "failed"
    checkpoint = None
    if steps and state not in LIVE_STATES:
        checkpoint = "checkpoints/lora_weights_step_00100.safetensors"
        write_text(run.path / checkpoint, "weights")
        write_text(run.states / "step_00100" / "manifest.json", "{}")
    # a queued run without a process counts as live: nothing here has one
    seen: Any = "queued" if state in LIVE_STATES else state
    error = "The GPU ran out of memory." if state == "failed" else None
    run.write_status(
        RunStatus(seen, step=steps, steps=400, started_at=time.time(), error=error, last_checkpoint=checkpoint)
    )


def tell_out_of_memory(run: RunFolder) -> None:
    """What the trainer says when memory ran out, with the saving that it offers."""
    offer = {"settings": {"optimization.enable_gradient_checkpointing": True}, "command": "ltx-agent resume"}
    event = {"kind": "out of memory", "step": 120, "message": "Memory ran out.", "offer": offer}
    append_jsonl(run.events_path, event)


def _world(project: Project) -> dict[str, Any]:
    return dict(json.loads((project.path.parent / "world.json").read_text(encoding="utf-8")))


def _clips(described: str) -> list[Clip]:
    """`2 sound` → clip_1.mp4, clip_2.mp4 with sound; `3 dark earth` → earth_00.mp4 …, dark ones.

    Kinds: sound, silent, short, photo, audio, masked, referenced, dark, blurry, shaky, vertical, long.
    """
    found: list[Clip] = []
    for part in described.removesuffix(", tight").split(","):
        count, kind, *stem = part.split()
        for index in range(int(count)):
            found.append(_clip(f"{stem[0]}_{index:02}" if stem else f"clip_{len(found) + 1}", kind))
    return found


def _clip(name: str, kind: str) -> Clip:
    suffix = {"photo": "png", "audio": "wav"}.get(kind, "mp4")
    columns = {"masked": {"video_mask": f"masks/{name}.mp4"}, "referenced": {"reference_video": f"refs/{name}.mp4"}}
    samples = [Sample(start_s=index * 0.75, duration_s=17 / 24, bucket="96x64x17") for index in range(2)]
    flags = {
        "short": Flag(
            id="too_short", severity="block", message="it has 5 frames, fewer than 9", remedy="Use a longer clip."
        ),
        "dark": Flag(id="underexposed", severity="warn", message="it is dark", remedy="Brighten it."),
        "blurry": Flag(id="blur", severity="warn", message="it is out of focus", remedy="Leave it out."),
        "shaky": Flag(id="shake", severity="warn", message="it shakes", remedy="Stabilise it."),
    }
    return Clip(
        source="/footage",
        path=f"{name}.{suffix}",
        sha256=f"sha-of-{name}",
        kind={"photo": "image", "audio": "audio"}.get(kind, "video"),  # type: ignore[arg-type]
        status={"short": "unusable", "dark": "flagged", "blurry": "flagged", "shaky": "flagged"}.get(kind, "ok"),  # type: ignore[arg-type]
        duration_s={"photo": 0.0, "short": 0.2, "long": 8.0}.get(kind, 2.0),
        width=64 if kind == "vertical" else 96,
        height=96 if kind == "vertical" else 64,
        audio=Audio(status="none" if kind in ("silent", "photo", "short") else "ok"),
        samples=[] if kind == "short" else samples,
        flags=[flags[kind]] if kind in flags else [],
        columns=columns.get(kind, {}),
    )
