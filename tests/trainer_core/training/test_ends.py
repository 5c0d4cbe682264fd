"""How runs end: out of memory, early, with what is kept; and several ranks that resume as one."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from tools.monitor.tool import ResumeArguments
from trainer_core.config import TrainingConfig
from trainer_core.launch import launch
from trainer_core.metrics import read_steps
from trainer_core.model.tiny import TinySource
from trainer_core.resume_config import parse_setting, request_resume
from trainer_core.run_folder import RunFolder
from trainer_core.training import optimizer_step as update
from trainer_core.training.checkpointing import on_failure as rescue
from trainer_core.training.checkpointing.checkpoints import Checkpoints, weights_by_step
from trainer_core.training.checkpointing.state import write_state
from trainer_core.training.evaluation import review
from trainer_core.training.monitoring.alarms import Alarm
from trainer_core.verdict.verdict import Verdict

NewRun = Callable[[TrainingConfig], RunFolder]


def fail_in_step_four(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    real, calls = update.losses_of, [0]

    def losses_of(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise error
        return real(*given, **named)

    monkeypatch.setattr(update, "losses_of", losses_of)


def test_out_of_memory_saves_and_offers_the_next_saving(
    new_run: NewRun, config_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(config_for("t2v"))
    fail_in_step_four(monkeypatch, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."))
    assert launch(run) == 5
    assert run.state_steps() == [3]
    event = next(event for event in run.events() if event["kind"] == "out of memory")
    assert event["offer"]["settings"] == {"optimization.enable_gradient_checkpointing": True}
    assert "--set optimization.enable_gradient_checkpointing=true" in event["offer"]["command"]
    assert event["offer"]["command"] in (run.read_status().error or "")
    # the offer works, and says what it changed
    setting = dict([parse_setting("optimization.enable_gradient_checkpointing=true")])
    request_resume(run, ResumeArguments(settings=setting).overrides())
    assert launch(run) == 0
    assert [row["step"] for row in read_steps(run.metrics_path)] == [1, 2, 3, 4, 5, 6]


def test_a_rescue_that_runs_out_itself_still_explains(
    new_run: NewRun, config_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(config_for("t2v"))

    def no_memory_either(*_: Any) -> None:
        raise MemoryError

    fail_in_step_four(monkeypatch, MemoryError())
    monkeypatch.setattr(rescue, "save", no_memory_either)
    assert launch(run) == 5
    kinds = [event["kind"] for event in run.events()]
    assert kinds[kinds.index("not saved") + 1] == "out of memory"
    assert "nothing was trained yet" in (run.read_status().error or "")


def test_memory_that_runs_out_in_the_middle_is_saved_explained_and_resumed_to_the_end(
    new_run: NewRun, config_for: Any, precomputed: Path
) -> None:
    """One clip is longer than the device's share allows; with the next rung of the ladder it fits."""
    longer = precomputed / "latents" / "clips" / "clip 0.pt"
    content = torch.load(longer)
    content["latents"], content["num_frames"] = content["latents"].repeat(1, 8, 1, 1), 24
    torch.save(content, longer)
    run = new_run(config_for("video_extension", {"ltx_agent": {"memory": {"limit_gb": 0.007}}}))
    assert launch(run) == 5
    reached = [row["step"] for row in read_steps(run.metrics_path)]
    assert run.state_steps() == reached[-1:]
    event = next(event for event in run.events() if event["kind"] == "out of memory")
    assert f"step {reached[-1]} is saved" in event["message"]
    assert "+  enable_gradient_checkpointing: true" in event["offer"]["diff"]
    request_resume(run, ResumeArguments(settings=event["offer"]["settings"]).overrides())
    assert launch(run) == 0
    assert [row["step"] for row in read_steps(run.metrics_path)] == [1, 2, 3, 4, 5, 6]


def test_a_sure_verdict_ends_the_run_early_when_asked(
    new_run: NewRun, config_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure = Verdict(kind="overfitting", confidence=0.97, evidence=["it rises"], best_step=2)
    monkeypatch.setattr(
        review,
        "judge",
        lambda steps, heldout: sure if len(heldout) > 2 else sure.model_copy(update={"confidence": 0.5}),
    )
    for early, step, stage in (
        (True, 4, "stopped early: overfitting (confidence 97%): it rises"),
        (False, 6, "finished"),
    ):
        overlay = {
            "ltx_agent": {
                "evaluation": {"interval": 2, "clips": ["clips/clip 3"]},
                "training": {"early_stop": early},
            }
        }
        run = new_run(config_for("t2v", overlay))
        assert launch(run) == 0
        status = run.read_status()
        assert (status.state, status.step, status.stage) == ("done", step, stage)
        assert run.state_steps()[-1] == step


def test_an_explosion_offers_the_state_before_it(new_run: NewRun, config_for: Any) -> None:
    run = new_run(config_for("t2v"))
    for step in (100, 200, 300):
        write_state(run.states, step, {}, None)

    class TrainingSession:
        config = config_for("t2v")

    TrainingSession.run = run  # type: ignore[attr-defined]
    offer = rescue.rollback_offer(TrainingSession, Alarm("loss explosion", 305, "…"))  # type: ignore[arg-type]
    assert offer is not None
    assert offer["from_step"] == 200
    assert offer["overrides"] == {"optimization": {"learning_rate": 0.0005}}
    assert rescue.rollback_offer(TrainingSession, Alarm("gradient spike", 305, "…")) is None  # type: ignore[arg-type]
    assert rescue.rollback_offer(TrainingSession, Alarm("loss explosion", 105, "…")) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("kept", [-1, 0, 1, 3])
def test_pruning_keeps_the_newest_and_the_best(new_run: NewRun, config_for: Any, kept: int) -> None:
    config = config_for("t2v", {"checkpoints": {"keep_last_n": kept}})
    run = new_run(config)
    for step in (10, 20, 30, 40, 50):
        for kind in ("", "ema_"):
            (run.checkpoints / f"{kind}lora_weights_step_{step:05d}.safetensors").touch()
        write_state(run.states, step, {}, None)
    Checkpoints(run, config, TinySource()).prune(best_step=20)
    left = sorted(weights_by_step(run.checkpoints))
    assert left == ([10, 20, 30, 40, 50] if kept < 1 else [20, 50] if kept == 1 else [20, 30, 40, 50])
    assert all(len(paths) == 2 for paths in weights_by_step(run.checkpoints).values())
    assert run.state_steps() == [40, 50]


def _rank(rank: int, port: int) -> Callable[[], None]:
    def prepare() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # this process may have trained alone before it forked
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            ACCELERATE_USE_CPU="true",
            CUDA_VISIBLE_DEVICES="",
        )

    return prepare


def _train_on_two_ranks(run: RunFolder, fork_trainer: Any, stop_at: int | None = None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [fork_trainer(run, _rank(rank, port)) for rank in range(2)]
    if stop_at is not None:
        while not ranks[0].ended() and stop_at not in run.state_steps():
            time.sleep(0.002)
        for rank in ranks:
            rank.kill()
        assert [rank.wait() for rank in ranks] == [-9, -9]
        return
    assert [rank.wait(240) for rank in ranks] == [0, 0], run.log_path.read_text()


def test_two_ranks_resume_as_if_they_had_not_stopped(
    new_run: NewRun, exact_run: Callable[..., TrainingConfig], fork_trainer: Any, tmp_path: Path
) -> None:
    config = exact_run(optimization={"steps": 5})
    whole, run = new_run(config), new_run(config)
    _train_on_two_ranks(whole, fork_trainer)
    _train_on_two_ranks(run, fork_trainer, stop_at=2)
    _train_on_two_ranks(run, fork_trainer)
    one, other = (read_steps(each.metrics_path) for each in (whole, run))
    assert [row["step"] for row in other] == list(range(1, 6))
    assert [(row["loss"], row["grad_norm"]) for row in one] == [(row["loss"], row["grad_norm"]) for row in other]
    files = [load_file(each.checkpoints / "lora_weights_step_00005.safetensors") for each in (whole, run)]
    assert all(torch.equal(files[0][key], files[1][key]) for key in files[0])
    # one process can't take over what two began: the order of the samples would change
    from trainer_core.resume_config import request_resume

    request_resume(run, {"optimization": {"steps": 9}})
    assert launch(run) == 2
    assert "2 process(es), this is 1" in (run.read_status().error or "")
