"""Identical trainings in two processes whose hashes differ leave identical files: weights, states and exports."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer_core.config import TrainingConfig, dump_config
from trainer_core.run_folder import RunFolder

SCRIPT = """
import sys
from pathlib import Path
from trainer_core.export import export_diffusers, export_merged
from trainer_core.doctor.edit import load_whole, write_adapter
from trainer_core.launch import launch
from trainer_core.model.tiny import TinySource
from trainer_core.run_folder import RunFolder
from trainer_core.sampling.multi_lora import Weighted, open_adapter

for name in ("lora", "full"):
    run = RunFolder(Path(sys.argv[1]) / name)
    assert launch(run) == 0
    source = TinySource("2.3")
    path = sorted(run.checkpoints.glob(f"{'lora' if name == 'lora' else 'model'}_weights*.safetensors"))[-1]
    adapter = open_adapter(path, source)
    export_diffusers(adapter, source, run.path / "export" / "diffusers")
    if name == "lora":
        export_merged(source, [Weighted(adapter, 0.7)], run.path / "export" / "merged.safetensors")
        whole = load_whole(path)
        write_adapter(run.path / "export" / "edited.safetensors", whole.pairs, whole.metadata)
"""


def test_equal_trainings_leave_equal_files(
    tmp_path: Path, config_for: Callable[..., TrainingConfig], precomputed: Path
) -> None:
    assert precomputed.is_dir()
    more = {
        "optimization": {"steps": 3},
        "checkpoints": {"interval": 2, "keep_last_n": 0, "precision": "bfloat16"},
        "ltx_agent": {"training": {"ema_decay": 0.9}, "evaluation": {"clips": ["clips/clip 3"]}},
    }
    configs = {
        "lora": config_for("t2v", {**more, "lora": {"dropout": 0.1}}),
        "full": config_for("t2v", {**more, "model": {"training_mode": "full"}, "lora": None}),
    }
    found = []
    processes = []
    for seed in ("1", "2"):
        for name, config in configs.items():
            run = RunFolder(tmp_path / f"hash{seed}" / name)
            for folder in (run.checkpoints, run.samples):
                folder.mkdir(parents=True)
            run.config_path.write_text(dump_config(config))
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / f"hash{seed}")]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-2000:]
    for seed in ("1", "2"):
        root = tmp_path / f"hash{seed}"
        files = [*root.rglob("*.safetensors"), *root.rglob("export/**/*.json"), *root.rglob("config.yaml")]
        found.append({path.relative_to(root).as_posix(): _digest(path) for path in files if not path.is_symlink()})
    assert len(found[0]) > 12
    assert {name.split("/")[1] for name in found[0]} >= {"checkpoints", "state", "export"}
    assert found[0] == found[1]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["lora", "full"])
def test_the_order_of_metadata_is_that_of_names(
    tmp_path: Path, config_for: Callable[..., TrainingConfig], new_run: Callable[[TrainingConfig], RunFolder], name: str
) -> None:
    import json
    import struct

    from trainer_core.launch import launch

    overlay = {"model": {"training_mode": "full"}, "lora": None} if name == "full" else {}
    run = new_run(config_for("t2v", {**overlay, "optimization": {"steps": 1}}))
    assert launch(run) == 0
    for path in run.checkpoints.glob("*.safetensors"):
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        assert list(metadata) == sorted(metadata)
        assert len(metadata) > 5
