"""A finished run of the tiny model with a dataset of real clips: what sampling and export start from."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tools.project import Project, ProjectFacts
from trainer_core.config import parse_config
from trainer_core.files import write_jsonl, write_text
from trainer_core.objective import load_recipe, merged
from trainer_core.run_folder import RunFolder, RunStatus, create_run_folder
from trainer_core.training.setup import adapter_facts, set_up

MakeRun = Callable[..., RunFolder]


def _rows(clips: Path) -> list[dict[str, Any]]:
    def row(name: str, caption: str, split: str, sound: bool) -> dict[str, Any]:
        path = str(clips / name)
        return {
            "video": path,
            "caption": caption,
            "samples": [{"start_s": 0.0, "duration_s": 9 / 24, "bucket": "64x32x9"}],
            "sha256": name,
            "has_audio": sound,
            "split": split,
            "group": name,
            "reference_video": path,
            "reference_video_2": path,
            "video_mask": path,
        }

    return [
        row("bunny wakes.mp4", "a rabbit wakes", "train", True),
        row("bunny's hole.mp4", "a rabbit's hole", "heldout", True),
    ]


@pytest.fixture(scope="session")
def make_run(
    cut_footage: Path, write_precomputed: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> MakeRun:
    """`make_run(objective, overlay)`: a run that ended at step 3 with moved weights."""

    def build(objective: str = "t2v", overlay: dict[str, Any] | None = None) -> RunFolder:
        folder = tmp_path_factory.mktemp("project")
        names = ["bunny wakes.mp4.0", "bunny's hole.mp4.0"]
        root = write_precomputed(folder / ".precomputed", names)
        shutil.copytree(root / "reference_latents", root / "pose")
        write_jsonl(folder / "dataset.jsonl", _rows(cut_footage))
        document = {
            "model": {"model_path": "tiny"},
            "lora": {"rank": 4, "alpha": 8},
            "data": {"preprocessed_data_root": str(root), "num_dataloader_workers": 0},
            "acceleration": {"mixed_precision_mode": "no"},
            "optimization": {"steps": 3, "enable_gradient_checkpointing": False},
            "checkpoints": {"interval": None, "precision": "float32"},
            "validation": {"inference_steps": 2},
            "ltx_agent": {"objective": objective, "frame_rate": 24.0, "trigger": "bnny"},
        }
        recipe = load_recipe(objective)
        if objective == "video_extension":  # these samples have three latent frames
            recipe["training_strategy"]["video"]["conditions"][0]["temporal_boundary"] = 1
        config = parse_config(yaml.safe_dump(merged(merged(recipe, document), overlay or {})))
        run = create_run_folder(folder / "runs")
        session = set_up(config, run)
        generator = torch.Generator().manual_seed(0)
        for parameter in session.parameters:
            parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
        path = session.checkpoints.save(session.model.transformer, adapter_facts(session, 3))
        ours = config.ltx_agent.model_copy(update={"dataset": str(folder / "dataset.jsonl")})
        write_text(
            run.config_path, yaml.safe_dump(config.model_copy(update={"ltx_agent": ours}).model_dump(mode="json"))
        )
        run.write_status(RunStatus("done", 3, 3, last_checkpoint=path.relative_to(run.path).as_posix()))
        Project(folder).write_facts(ProjectFacts(sources=[str(cut_footage)]))
        return run

    return build


@pytest.fixture(scope="session")
def run(make_run: MakeRun) -> RunFolder:
    """A finished t2v LoRA run; nothing in it is changed by a test."""
    return make_run()


@pytest.fixture(scope="session")
def load_hub_server() -> type:
    """The class of the local Hub stand-in."""
    path = Path(__file__).with_name("hub_server.py")
    spec = importlib.util.spec_from_file_location("hub_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.HubServer
