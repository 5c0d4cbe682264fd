"""Every optimizer of the YAML: it learns, resumes exactly, holds what the estimate counts, is refused where it must."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch

from trainer_core.config import TrainingConfig
from trainer_core.errors import ConfigError
from trainer_core.launch import launch
from trainer_core.memory.cell import Cell, Side
from trainer_core.memory.estimate import estimate, trained_weights
from trainer_core.objective import merged
from trainer_core.optimizer_names import MASTER_WEIGHTS, OPTIMIZERS, MasterWeights, OptimizerName
from trainer_core.run_folder import RunFolder
from trainer_core.sections.run import OptimizationSection
from trainer_core.training.checkpointing.state import read_state
from trainer_core.training.optim.optimizers import build_optimizer, finished_weights

ConfigFor = Callable[..., TrainingConfig]
NewRun = Callable[[TrainingConfig], RunFolder]
OURS = tuple(name for name in OPTIMIZERS if name not in ("adamw", "adamw8bit"))
SETTINGS: dict[str, dict[str, Any]] = {
    "prodigy": {"learning_rate": 1.0},
    "lion": {"learning_rate": 1e-3},
    "schedule_free_adamw": {"scheduler_type": "constant"},
}


def section(name: str, **settings: Any) -> OptimizationSection:
    return OptimizationSection.model_validate(
        {"learning_rate": 1e-2, "optimizer_type": name, **SETTINGS.get(name, {}), **settings}
    )


def test_every_name_has_its_facts_and_its_sentence_in_the_schema() -> None:
    assert set(OPTIMIZERS) == set(get_args(OptimizerName))
    assert set(MASTER_WEIGHTS) == set(get_args(MasterWeights))
    schema = TrainingConfig.model_json_schema()["$defs"]
    texts = {
        "OptimizationSection.optimizer_type": {name: facts.when for name, facts in OPTIMIZERS.items()},
        "TrainingSection.master_weights": dict(MASTER_WEIGHTS),
    }
    for place, choices in texts.items():
        owner, _, key = place.partition(".")
        said = schema[owner]["properties"][key]["description"]
        assert all(f"{name}: {when}." in said for name, when in choices.items())
    for key in ("sampling_mode", "mean", "std", "video_shift", "audio_shift"):
        assert schema["NoiseSection"]["properties"][key]["description"]
    sampling = schema["FlowMatchingSection"]["properties"]["timestep_sampling_mode"]
    assert all(name in sampling["description"] for name in sampling["enum"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_goes_down_a_slope(name: str) -> None:
    parameter = torch.nn.Parameter(torch.randn(64, 32, generator=torch.Generator().manual_seed(0)))
    optimizer = build_optimizer(section(name, learning_rate={"prodigy": 1.0}.get(name, 3e-2)), [parameter])
    before = float(parameter.square().sum())
    for _ in range(400 if name == "prodigy" else 60):  # it first has to find its rate
        parameter.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    with finished_weights(optimizer):
        assert float(parameter.square().sum()) < 0.8 * before


@pytest.mark.parametrize("name", OURS)
def test_its_state_is_what_the_estimate_counts(name: str) -> None:
    cell = Cell("2.3", None, Side(100), rank=64, optimizer=name, layers=1)
    from trainer_core.memory.sizes import adapted

    parameters = [
        torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
        for one in adapted(cell)
        for shape in ((cell.rank, one.inputs), (one.outputs, cell.rank))
    ]
    assert sum(parameter.numel() for parameter in parameters) == trained_weights(cell)
    optimizer = build_optimizer(section(name), parameters)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    held = sum(
        value.nbytes
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.ndim
    )
    assert held == pytest.approx(estimate(cell).parts["optimizer"], rel=0.01)


def launch_until(run: RunFolder, step: int) -> None:
    from trainer_core.training import loop

    real = loop.log

    def stopping(session: Any, metrics: Any, keeper: Any) -> None:
        real(session, metrics, keeper)
        if metrics.step == step:
            run.stop_request_path.write_text("stop")

    loop.log = stopping  # type: ignore[assignment]
    try:
        assert launch(run) == 0
    finally:
        loop.log = real
        run.stop_request_path.unlink()


@pytest.mark.parametrize("name", OURS)
def test_a_run_resumes_exactly(
    new_run: NewRun, config_for: ConfigFor, equal_states: Callable[[Any, Any], bool], name: str
) -> None:
    """Held-out evaluations on the way change nothing either: a schedule-free run swaps its weights for each."""
    options = {"optimizer_type": name, "learning_rate": 1e-3, "steps": 6, **SETTINGS.get(name, {})}
    overlay = {
        "optimization": options,
        "checkpoints": {"interval": 2},
        "ltx_agent": {"warmup_steps": 2, "evaluation": {"interval": 2, "clips": ["clips/clip 3"]}},
    }
    config = config_for("t2a", overlay)
    whole, parted = new_run(config), new_run(config)
    assert launch(whole) == 0
    launch_until(parted, 2)
    assert launch(parted) == 0
    found, wanted = (read_state(run.states / "step_00006").content for run in (parted, whole))
    assert equal_states(found, wanted)


def test_a_schedule_free_run_saves_its_averages(new_run: NewRun, config_for: ConfigFor) -> None:
    from safetensors.torch import load_file

    options = {"optimizer_type": "schedule_free_adamw", "learning_rate": 1e-2, "scheduler_type": "constant"}
    run = new_run(config_for("t2a", {"optimization": options}))
    assert launch(run) == 0
    content = read_state(run.states / "step_00006").content
    name = next(key for key in content["weights"] if ".lora_A." in key)
    index = list(content["weights"]).index(name)
    trained, z = content["weights"][name], content["optimizer"]["state"][index]["z"]
    averaged = trained.lerp(z, 1 - 1 / 0.9)
    saved = load_file(run.checkpoints / "lora_weights_step_00006.safetensors")
    module = name.removeprefix("transformer.").partition(".lora_A")[0]
    key = next(key for key in saved if key.endswith(".lora_A.weight") and module in key)
    assert torch.allclose(saved[key], averaged, atol=1e-7)
    assert not torch.allclose(saved[key], trained, atol=1e-7)


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ({"optimization": {"optimizer_type": "schedule_free_adamw"}}, "scheduler_type: constant"),
        (
            {
                "optimization": {"optimizer_type": "schedule_free_adamw", "scheduler_type": "constant"},
                "ltx_agent": {"training": {"ema_decay": 0.9}},
            },
            "ema_decay",
        ),
        ({"optimization": {"optimizer_type": "prodigy"}}, "from 0.1 to 10"),
        ({"optimization": {"optimizer_type": "lion", "learning_rate": 0.1}}, "at most 0.01"),
        ({"optimization": {"optimizer_type": "lion8bit"}}, "optimizer_type"),
        *(
            (
                {
                    "model": {"training_mode": "full"},
                    "lora": None,
                    "optimization": {"optimizer_type": name, "max_grad_norm": 0.0, **SETTINGS.get(name, {})},
                    "ltx_agent": {"memory": {"fused_optimizer": True}},
                },
                "use adamw or adamw8bit",
            )
            for name in OURS
        ),
    ],
)
def test_what_it_can_not_go_with_is_refused(config_for: ConfigFor, overlay: dict[str, Any], words: str) -> None:
    base = {"optimization": {"learning_rate": 1e-3}}
    with pytest.raises(ConfigError, match=words):
        config_for("t2a", merged(base, overlay))


def test_an_optimizer_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(ConfigError, match="needs the package prodigyopt") as caught:
        build_optimizer(section("prodigy"), [torch.nn.Parameter(torch.ones(1))])
    assert "pip install prodigyopt" in caught.value.hint
