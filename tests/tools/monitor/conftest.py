"""A project with a config, and real run folders written by the trainer's own writers."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.project import Project, ProjectFacts
from trainer_core.config import dump_config, load_config
from trainer_core.files import write_text
from trainer_core.metrics import StepMetrics, StepSeconds, append_step
from trainer_core.run_folder import RunFolder, RunStatus, create_run_folder

CONFIG = """
model: {model_path: tiny}
lora: {rank: 4, alpha: 4}
training_strategy:
  name: flexible
  video: {is_generated: true, latents_dir: latents}
  audio: {is_generated: true, latents_dir: audio_latents}
optimization: {steps: 60, batch_size: 1}
acceleration: {mixed_precision_mode: "no"}
data: {preprocessed_data_root: .precomputed, num_dataloader_workers: 0}
validation: {interval: null}
output_dir: runs
ltx_agent: {objective: t2v, dataset: dataset.jsonl, buckets: 96x64x17, frame_rate: 24}
"""

LossCurve = Callable[[int], float]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "my film's 🎬 project")
    project.write_facts(ProjectFacts(sources=[str(tmp_path / "clips")]))
    write_text(project.config_path, CONFIG)
    return project


@pytest.fixture
def write_run(project: Project) -> Callable[..., RunFolder]:
    """Write a run of `steps` measured steps whose losses follow `video` and `audio`, with seeded noise."""

    def write(
        status: RunStatus,
        steps: int,
        video: LossCurve = lambda _step: 0.13,
        audio: LossCurve | None = lambda _step: 1.2,
        noise: float = 0.0,
        grad_norm: float = 0.5,
    ) -> RunFolder:
        run = create_run_folder(project.runs_path)
        write_text(run.config_path, dump_config(load_config(project.config_path)))
        run.write_status(status)
        chance = random.Random(7)
        for step in range(1, steps + 1):
            loss_video = video(step) * math.exp(chance.gauss(0, noise))
            loss_audio = audio(step) * math.exp(chance.gauss(0, noise)) if audio else None
            append_step(
                run.metrics_path,
                StepMetrics(
                    step=step,
                    time_s=1000.0 + step,
                    epoch=step // 6,
                    loss=loss_video + (loss_audio or 0.0),
                    loss_video=loss_video,
                    loss_audio=loss_audio,
                    sigma_video=0.5,
                    sigma_audio=0.5 if audio else None,
                    lr=1e-4,
                    grad_norm=grad_norm,
                    step_s=StepSeconds(data=0.1, forward=0.2, backward=0.3, optimizer=0.05),
                    memory_bytes=1,
                    samples_seen=step,
                ),
            )
        return run

    return write
