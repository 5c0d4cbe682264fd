"""plan-memory, rehearse, check and quantization as a person types them."""

import itertools
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

import tools.machine
from agent.cli.verbs.table import app
from tools.machine import Gpu, check_machine
from trainer_core.memory.cell import Cell, Side
from trainer_core.memory.estimate import FORMS, estimate
from trainer_core.objective import ADAPTER_NAMES, OBJECTIVE_NAMES, load_recipe, merged
from trainer_core.quantization_names import SCHEMES

CARD = Gpu(name="a card", total_bytes=32 * 10**9, free_bytes=31 * 10**9, driver="600.1", cuda="13.1")


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    return run


@pytest.mark.parametrize(
    ("objective", "adapter"), list(zip(OBJECTIVE_NAMES, itertools.cycle(ADAPTER_NAMES), strict=False))
)
def test_plan_memory_knows_every_objective_without_a_project(typed, objective, adapter):
    words = ("plan-memory", "--objective", objective, "--adapter", adapter, "--model-version", "2.5", "--json")
    found = json.loads(typed(*words).stdout)
    assert found["version"] == "2.5"
    assert found["device_peak_bytes"] == sum(found["parts"].values())
    small = {card for card, holds in found["fits"].items() if not holds}
    assert small <= set(found["savings"])
    assert {found["savings"][card][0]["rung"] for card in set(found["savings"]) - small} <= {"text-encoder-8bit"}
    assert all(steps is None or steps for steps in found["savings"].values())


@pytest.mark.parametrize("version", ["2.0", "2.3", "2.5"])
def test_every_form_of_training_has_an_estimate(version):
    sides = ((Side(500), Side(50)), (Side(500), None), (None, Side(50)), (Side(500, generated=False), Side(50)))
    for (video, audio), rank, fused, form in itertools.product(sides, (0, 32), (False, True), FORMS):
        cell = Cell(
            version,
            video,
            audio,
            rank=rank,
            fused=fused and not rank,
            checkpointing=form != "whole",
            chunk_tokens=64 if form == "chunked" else None,
        )
        assert estimate(cell).parts["activations"] > 0


@pytest.fixture
def config_file(tmp_path: Path, write_precomputed) -> Path:
    write_precomputed(tmp_path / "latents", ["a", "b"])
    small = {
        "model": {"model_path": "tiny"},
        "data": {"preprocessed_data_root": "latents", "num_dataloader_workers": 0},
        "optimization": {"steps": 3},
        "lora": {"rank": 4, "alpha": 4},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(merged(load_recipe("t2v"), small)), encoding="utf-8")
    return path


def test_a_rehearsal_in_a_child_measures_and_leaves_nothing(typed, config_file, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    found = json.loads(typed("rehearse", str(config_file), "--json").stdout)
    assert found["fits"]
    assert found["real_sample"]
    (trial,) = found["trials"]
    assert trial["step_s"] > 0
    assert trial["host_peak_bytes"] > 2**27
    stages = [stage["name"] for stage in trial["stages"]]
    assert stages[:3] == ["loading", "training step", "evaluation"]
    assert stages[-1] == "saving"
    assert any("device memory" in what for what in found["not_measured"])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_rehearsal_goes_down_the_ladder_one_change_at_a_time(typed, config_file):
    """Real children under a real limit: tensors counted, as a run with ltx_agent.memory.limit_gb counts them."""
    config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    config["optimization"] |= {"batch_size": 2, "enable_gradient_checkpointing": False}
    config_file.write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ("rehearse", str(config_file), "--limit-gb", "0.0042", "--no-search", "--json")
    found = json.loads(typed(*words).stdout)
    assert found["fits"]
    assert [trial["ran_out"] for trial in found["trials"]] == [*["training step"] * (len(found["trials"]) - 1), None]
    assert [trial["kept"] for trial in found["trials"]] == [*[False] * (len(found["trials"]) - 1), True]
    assert found["trials"][1]["changes"] == {"optimization.enable_gradient_checkpointing": True}
    assert "optimization.enable_gradient_checkpointing: False → True" in found["diff"]


def test_quantization_shows_every_base_and_its_error(typed):
    rows = json.loads(typed("quantization", "--objective", "t2a", "--json").stdout)["rows"]
    assert [row["base"] for row in rows] == ["bf16", *SCHEMES]
    assert all(0 < row["prediction"] < 0.3 and 0 < row["gradient"] < 0.6 for row in rows)
    errors = {row["base"]: row["prediction"] for row in rows}
    assert errors["int8"] < errors["fp8"] < errors["nf4"]


def test_check_says_what_a_card_can_train(monkeypatch):
    monkeypatch.setattr(tools.machine, "_gpus", lambda: ([CARD], ""))
    monkeypatch.setattr(
        tools.machine, "_torch", lambda: {"version": "2", "cuda": "13.0", "usable": False, "bf16": False}
    )
    found = check_machine()
    states = {one.name: one.state for one in found.findings}
    assert (states["GPU"], states["driver"], states["torch"]) == ("ok", "ok", "fail")
    ways = {one.switches: one.bucket for one in found.can_train}
    assert ways["bf16"] is None
    assert ways["int8, text beforehand, 8-bit moments"] is not None


@pytest.mark.parametrize(
    ("change", "name", "state"), [({"cuda": "12.4"}, "driver", "fail"), ({"free_bytes": 10**9}, "GPU", "warn")]
)
def test_check_says_what_is_wrong_with_a_card(monkeypatch, change, name, state):
    monkeypatch.setattr(tools.machine, "_gpus", lambda: ([CARD.model_copy(update=change)], ""))
    monkeypatch.setattr(tools.machine, "_torch", lambda: None)
    found = next(one for one in check_machine().findings if one.name == name)
    assert found.state == state
    assert found.remedy


def test_check_on_a_machine_without_a_card(typed, monkeypatch):
    monkeypatch.setattr(tools.machine, "_gpus", lambda: ([], "no driver"))
    found = json.loads(typed("check", "--json").stdout)
    assert found["findings"][0]["state"] == "none"
    assert found["can_train"][0]["what"] == "the tiny model"
    assert "GPU" in typed("check").stdout


def test_the_documented_table_of_cards_is_the_computed_one():
    from cards_table import table

    assert table() in (Path(__file__).parents[1] / "instruments" / "TABLES.md").read_text(encoding="utf-8")
