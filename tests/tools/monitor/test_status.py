import os
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tools.monitor.status import describe_run, ordered_steps
from tools.monitor.tool import MONITOR_TOOLS, StatusArguments, run_status
from tools.project import Project
from trainer_core.files import append_jsonl, read_jsonl
from trainer_core.run_folder import RunFolder, RunStatus

WriteRun = Callable[..., RunFolder]


def _alive(state: str, **fields: object) -> RunStatus:
    lease = time.time() + 60
    return replace(RunStatus(state), pid=os.getpid(), lease_expires_at=lease, **fields)  # type: ignore[arg-type]


def test_running_run_says_state_losses_and_speed(project: Project, write_run: WriteRun) -> None:
    run = write_run(
        _alive("running", step=60, steps=100, eta_s=26.0, last_checkpoint="checkpoints/x.safetensors"),
        60,
        video=lambda step: 0.2 if step <= 30 else 0.1,
    )
    result = run_status(project, StatusArguments())
    assert (result.run, result.state, result.step, result.steps, result.eta_s) == (run.id, "running", 60, 100, 26.0)
    assert result.last_checkpoint == "checkpoints/x.safetensors"
    assert (result.losses["loss_video"].first, result.losses["loss_video"].last) == (0.2, 0.1)
    assert result.step_s["whole"] == pytest.approx(0.65)
    assert result.step_s["forward"] == pytest.approx(0.2)
    assert result.error is None


def test_status_holds_every_field_of_status_json(write_run: WriteRun) -> None:
    result = describe_run(write_run(RunStatus("done"), 0)).model_dump()
    assert set(RunStatus.__dataclass_fields__) <= set(result)
    assert result["verdict"]["kind"] == "unsure"
    assert result["losses"] == {}


def test_killed_trainer_reads_as_failed_with_the_logs_last_line(write_run: WriteRun) -> None:
    status = replace(_alive("running", step=7, steps=60), pid=2**22 + 1)
    run = write_run(status, 7)
    run.log_path.write_bytes(b"loading\n\xff out of memory: killed\n\n")
    result = describe_run(run)
    assert result.state == "failed"
    assert result.error is not None
    assert "last seen at step 7" in result.error
    assert "out of memory: killed" in result.error


def test_repeated_and_held_out_and_torn_rows_are_told_apart(write_run: WriteRun) -> None:
    run = write_run(RunStatus("done"), 5)
    rows = read_jsonl(run.metrics_path)
    append_jsonl(run.metrics_path, {"step": 5, "heldout": {"video": 1.0}})
    append_jsonl(run.metrics_path, {**rows[3], "loss": 99.0})
    with run.metrics_path.open("a") as handle:
        handle.write('{"step": 6, "lo')
    assert [(row["step"], row["loss"] == 99.0) for row in ordered_steps(run)] == [
        (1, False),
        (2, False),
        (3, False),
        (4, True),
        (5, False),
    ]


def test_what_takes_the_machine_needs_an_approval() -> None:
    assert {tool.name: tool.needs_approval for tool in MONITOR_TOOLS} == {
        "rehearse_training": "rehearse",
        "start_training": "start",
        "run_status": None,
        "stop_training": None,
        "resume_training": "resume",
        "examine_adapter": None,
        "compare_adapters": None,
        "edit_adapter": None,
    }
    for tool in MONITOR_TOOLS:
        schema = tool.schema()["function"]
        assert schema["description"]
        assert schema["parameters"]["additionalProperties"] is False
