"""A run on a quantised base: every scheme trains, full training is refused, the base never moves."""

import pytest
import torch

from trainer_core.errors import ConfigError
from trainer_core.metrics import read_steps
from trainer_core.model.quantize import QuantizedLinear
from trainer_core.run_folder import RunFolder, RunStatus, create_run_folder
from trainer_core.training.loop import train
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.setup import set_up
from trainer_core.training.stop import StopRequest


def run_to_end(tmp_path, config) -> RunFolder:
    run = create_run_folder(tmp_path / "runs")
    with StatusKeeper(run, RunStatus("starting")) as keeper, StopRequest(run) as stop:
        train(config, run, keeper, stop)
    return run


# shift of the first loss on the tiny model; its layers are 64 wide, so coarse schemes cost more than on a real one
LOSS_SHIFT = {"int8-quanto": 0.01, "int8-dynamic": 0.01, "fp8-quanto": 0.02, "int4-quanto": 0.06}


@pytest.mark.parametrize("name", LOSS_SHIFT)
def test_a_lora_trains_on_a_quantized_base(tmp_path, config_for, name):
    wanted = read_steps(run_to_end(tmp_path / "plain", config_for("t2v")).metrics_path)
    config = config_for("t2v", {"acceleration": {"quantization": name}})
    found = read_steps(run_to_end(tmp_path / "few", config).metrics_path)
    assert abs(found[0]["loss"] - wanted[0]["loss"]) < LOSS_SHIFT[name] * wanted[0]["loss"]
    assert all(row["grad_norm"] > 0 for row in found)


def test_the_adapter_stays_in_float32_and_the_base_does_not_train(tmp_path, config_for):
    session = set_up(
        config_for("t2v", {"acceleration": {"quantization": "int8-quanto"}}), create_run_folder(tmp_path / "runs")
    )
    assert {parameter.dtype for parameter in session.parameters} == {torch.float32}
    packed = [module for module in session.model.modules() if isinstance(module, QuantizedLinear)]
    assert packed
    assert not any(parameter.requires_grad for layer in packed for parameter in layer.parameters())


def test_full_training_on_a_quantized_base_is_refused(tmp_path, config_for):
    config = config_for(
        "t2v", {"model": {"training_mode": "full"}, "lora": None, "acceleration": {"quantization": "int8-quanto"}}
    )
    with pytest.raises(ConfigError, match="full training moves every weight"):
        set_up(config, create_run_folder(tmp_path / "runs"))


@pytest.mark.parametrize(("name", "reason"), [("int2-quanto", "no kernel"), ("fp8uz-quanto", "AMD")])
def test_what_has_no_counterpart_is_refused_with_the_reason(tmp_path, config_for, name, reason):
    with pytest.raises(ConfigError, match=reason):
        set_up(config_for("t2v", {"acceleration": {"quantization": name}}), create_run_folder(tmp_path / "runs"))


def test_fp16_is_refused_with_the_reason(tmp_path, config_for):
    with pytest.raises(ConfigError, match="unless the loss is scaled"):
        set_up(
            config_for("t2v", {"acceleration": {"mixed_precision_mode": "fp16"}}), create_run_folder(tmp_path / "runs")
        )
