"""All 39 cells of objectives and adapters: what each is, as stored, and that each trains on the tiny model."""

import importlib.util
import json
from pathlib import Path

import pytest
import yaml
from safetensors import safe_open

from trainer_core.config import dump_config, parse_config
from trainer_core.launch import launch
from trainer_core.metrics import read_steps
from trainer_core.model.ltx import branch_of
from trainer_core.objective import OBJECTIVE_NAMES, merged, recipe_for
from trainer_core.run_folder import create_run_folder
from trainer_core.trained_as import read_trained_as

HERE = Path(__file__).parent


def load(path: Path):
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


maker = load(HERE / "make_cells.py")
GOLDEN = json.loads(maker.GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def precomputed(tmp_path_factory, write_precomputed) -> Path:
    return write_precomputed(tmp_path_factory.mktemp("cells") / ".precomputed", ["a", "b"])


def test_the_table_is_the_stored_one():
    assert maker.table() == GOLDEN


@pytest.mark.parametrize("adapter", maker.ADAPTERS)
@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
def test_the_cell_trains_and_saves_its_branches_alone(tmp_path, precomputed, name, adapter):
    golden = GOLDEN[name][adapter]
    overlay = {
        "model": {"model_path": "tiny"},
        "data": {"preprocessed_data_root": str(precomputed), "num_dataloader_workers": 0},
        "acceleration": {"mixed_precision_mode": "no"},
        "optimization": {"steps": 1, "enable_gradient_checkpointing": False},
    }
    recipe = recipe_for(name, adapter, maker.ALL)
    if name == "video_extension":  # the samples have three latent frames
        recipe["training_strategy"]["video"]["conditions"][0]["temporal_boundary"] = 1
    config = parse_config(yaml.safe_dump(merged(recipe, overlay)))
    run = create_run_folder(tmp_path / "runs")
    run.config_path.write_text(dump_config(config))
    assert launch(run) == 0, run.read_status().error
    row = read_steps(run.metrics_path)[0]
    for side in ("video", "audio"):
        generated = golden[side].startswith("generate")
        assert (row[f"loss_{side}"] is not None) == generated
        assert (row[f"sigma_{side}"] is not None) == generated
    with safe_open(run.path / (run.read_status().last_checkpoint or ""), framework="pt") as file:
        keys = list(file.keys())
        saved = file.metadata()
    assert saved["model_version"] == "2.3"
    said = read_trained_as(saved)
    assert said is not None
    for side in ("video", "audio"):
        role, *conditions = golden[side].split()
        trained = said.modality(side)
        assert (trained.role, len(trained.references)) == (role, conditions.count("reference"))
        assert list(trained.conditions) == [kind for kind in conditions if kind != "reference"]
    if adapter == "full":
        assert saved["config"]
        assert any("audio_ff" in key for key in keys)
        assert any(".ff." in key for key in keys)
        return
    assert len(keys) == 2 * golden["modules"]
    assert {branch_of(key.split(".lora_")[0]) for key in keys} == set(golden["branches"])
