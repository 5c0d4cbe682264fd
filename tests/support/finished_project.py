"""A finished project that looks the same on every machine."""

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tools.project import Project, ProjectFacts
from trainer_core.files import write_json, write_jsonl, write_text
from trainer_core.run_folder import RunFolder, RunStatus

CONFIG = """\
# Drafted by ltx-agent; behind each value stands why.
ltx_agent:
  objective: t2v                                          # the clips have pictures
model:
  model_path: tiny                                        # a small random model
  training_mode: lora
lora:
  rank: 8                                                 # few clips: a small adapter forgets less
  alpha: 8
training_strategy:
  name: flexible
  video:
    is_generated: true
    latents_dir: latents
optimization:
  steps: 400                                              # 200 for each clip
  learning_rate: 0.002
data:
  preprocessed_data_root: .precomputed
"""


def metrics_row(step: int, **changes: Any) -> dict[str, Any]:
    """One training row; its values follow from the step."""
    wobble = 0.06 * math.sin(step * 12.9898) + 0.03 * math.sin(step * 78.233)
    video, audio = 0.35 + 0.5 * math.exp(-step / 60) + wobble, 0.2 + 0.3 * math.exp(-step / 40) - wobble / 2
    row = {
        "step": step,
        "time_s": step * 0.5,
        "epoch": step // 10,
        "loss": video + audio,
        "loss_video": video,
        "loss_audio": audio,
        "sigma_video": 0.5,
        "sigma_audio": 0.5,
        "lr": 2e-4,
        "grad_norm": 0.5 + wobble,
        "step_s": {"data": 0.02, "forward": 0.31, "backward": 0.62, "optimizer": 0.04},
        "memory_bytes": 21_400_000_000,
        "samples_seen": step * 2,
        "clips": ["rain.png"],
    }
    return {**row, **changes}


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _clip(source: Path, name: str, **changes: Any) -> dict[str, Any]:
    clip = {
        "source": str(source),
        "path": name,
        "sha256": name.encode().hex(),
        "kind": "image",
        "status": "ok",
        "duration_s": 2.0,
        "width": 320,
        "height": 180,
        "audio": {"status": "none"},
        "samples": [{}, {}],
        "flags": [],
    }
    return {**clip, **changes}


def finish(project: Project, clips: Path) -> Project:
    """Give the project clips (in the new folder `clips`), captions, a plan and two runs that have ended."""
    clips.mkdir()
    across, down = np.linspace(0, 255, 96), np.linspace(0, 255, 54)
    picture = np.stack(np.broadcast_arrays(across[None, :], down[:, None], 128.0), axis=-1).astype(np.uint8)
    cv2.imwrite(str(clips / "rain.png"), picture)
    flag = {"id": "no_audio", "severity": "warn", "message": "It has no sound.", "remedy": "Train pictures only."}
    block = {"id": "too_short", "severity": "block", "message": "It has 3 frames.", "remedy": "Use a longer clip."}
    report = {
        "clips": [
            _clip(clips, "rain.png", flags=[flag], status="flagged"),
            _clip(clips, "street.png", audio={"status": "ok"}),
            _clip(clips, "short.png", status="unusable", flags=[block], samples=[]),
        ]
    }
    write_json(project.report_path, report)
    captions = [
        {
            "path": name,
            "sha256": name.encode().hex(),
            "caption": caption,
            "source": source,
            "needs_review": source == "measured",
        }
        for name, caption, source in (
            ("rain.png", "Rain falls on a tin roof at dusk.", "measured"),
            ("street.png", "A wide street, a tram passes from left to right.", "person"),
        )
    ]
    write_jsonl(project.captions_path, captions)
    write_text(project.config_path, CONFIG)
    project.write_facts(ProjectFacts(sources=[str(clips)], goal="rain on roofs"))
    for name, steps in (("20260101-100000", 200), ("20260102-100000", 400)):
        _finished_run(project, name, steps)
    return project


def _finished_run(project: Project, name: str, steps: int) -> None:
    run = RunFolder(project.runs_path / name)
    (run.path / "samples").mkdir(parents=True)
    append_rows(run.metrics_path, [metrics_row(step) for step in range(1, steps + 1)])
    heldout = [
        {
            "step": step,
            "heldout": {"video": 0.4 + 20 / step, "audio": 0.25, "relative": {"video": 0.8}},
            "train": {"relative": {"video": 0.8}},
        }
        for step in range(100, steps + 1, 100)
    ]
    append_rows(run.metrics_path, heldout)
    run.record_event("gradient spike", step=120, grad_norm=9.1)
    run.write_status(
        RunStatus(
            "done",
            step=steps,
            steps=steps,
            last_checkpoint=f"checkpoints/lora_weights_step_{steps:05d}.safetensors",
            best_checkpoint="checkpoints/lora_weights_step_00150.safetensors",
            verdict={"kind": "plateau", "confidence": 0.84, "evidence": ["held-out loss is lowest at step 150"]},
        )
    )
