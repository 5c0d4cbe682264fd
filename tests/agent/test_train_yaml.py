"""`ltx-agent train CONFIG.yaml`: an upstream YAML on an upstream precomputed folder, as they are."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("ltx-agent")
UPSTREAM = """\
model:
  model_path: "tiny"
  training_mode: "lora"
lora:
  rank: 8
  alpha: 16
  dropout: 0.0
  target_modules: ["to_k", "to_q", "to_v", "to_out.0"]
training_strategy:
  name: "flexible"
  video:
    is_generated: true
    latents_dir: "latents"
    conditions:
      - type: first_frame
        probability: 0.5
  audio:
    is_generated: true
    latents_dir: "audio_latents"
optimization:
  learning_rate: 1e-4
  steps: 4
  batch_size: 2
  scheduler_type: "linear"
  scheduler_params: {}
acceleration:
  mixed_precision_mode: "bf16"
data:
  preprocessed_data_root: "dataset/.precomputed"
  num_dataloader_workers: 0
checkpoints:
  interval: null
  precision: "bfloat16"
hub: {push_to_hub: false}
validation:
  samples: [{prompt: "a fox in snow"}]
  video_dims: [64, 32, 9]
  inference_steps: 2
  interval: 2
seed: 42
output_dir: "outputs/first"
"""


def ltx_agent(folder: Path, *line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *line], cwd=folder, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture
def folder(tmp_path: Path, write_precomputed: Callable[..., Path]) -> Path:
    write_precomputed(tmp_path / "dataset" / ".precomputed", ["clips/a", "clips/b"])
    (tmp_path / "run.yaml").write_text(UPSTREAM, encoding="utf-8")
    return tmp_path


def test_an_upstream_yaml_trains_as_it_is(folder: Path) -> None:
    done = ltx_agent(folder, "train", "run.yaml", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["state"], document["step"]) == ("done", 4)
    run = Path(document["path"])
    assert run.parent == folder / "outputs" / "first"
    assert (run / document["last_checkpoint"]).exists()
    assert "validation" not in done.stderr
    assert "wandb" not in done.stderr
    told = ltx_agent(folder, "status", "outputs/first")
    assert told.returncode == 0
    assert "step 4 of 4" in told.stdout
    curve = told.stdout.split("Loss curve: ")[1].strip()
    assert Path(curve).read_bytes().startswith(b"\x89PNG")


def test_a_wrong_key_is_placed_before_anything_starts(folder: Path) -> None:
    (folder / "run.yaml").write_text(UPSTREAM.replace("learning_rate", "learning_rat"), encoding="utf-8")
    done = ltx_agent(folder, "train", "run.yaml")
    assert done.returncode == 2
    assert (
        "line 21, column 3: `optimization.learning_rat` is not a known key; did you mean `learning_rate`?"
        in done.stderr
    )
    assert not (folder / "outputs").exists()
    assert "Traceback" not in done.stderr
