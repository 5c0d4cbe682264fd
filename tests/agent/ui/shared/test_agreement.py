"""`status`, the conversation and the screen say the same of a run, whatever became of it."""

import json
import os
import queue
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.verbs.table import app
from agent.ui.shared.watch import ProjectWatcher, RunSeen
from tools.monitor.tool import StatusArguments, run_status
from tools.project import Project
from trainer_core.metrics import append_heldout
from trainer_core.run_folder import RunFolder, RunStatus, create_run_folder

STEPS = 120


def _alive() -> RunStatus:
    return RunStatus("running", step=STEPS, steps=500, pid=os.getpid(), lease_expires_at=time.time() + 60)


STATES: dict[str, Callable[[], RunStatus]] = {
    "alive": _alive,
    "finished": lambda: RunStatus("done", step=STEPS, steps=STEPS),
    "killed": lambda: RunStatus("running", step=STEPS, steps=500, pid=None, lease_expires_at=1.0),
    "diverged": lambda: RunStatus("diverged", step=STEPS, steps=500, error="Step 121: the video loss is not finite."),
}


@pytest.fixture(params=[False, True], ids=["training rows alone", "with held-out rows"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    run = create_run_folder(Project(tmp_path).runs_path)
    part = {"data": 0.1, "forward": 0.2, "backward": 0.3, "optimizer": 0.1}
    rows = [
        {"step": step, "time_s": 1000.0 + step, "epoch": 0, "lr": 1e-4, "grad_norm": 0.5, "step_s": part}
        | {"loss": 1 - 0.004 * step, "loss_video": 1 - 0.004 * step, "loss_audio": None, "memory_bytes": 1}
        for step in range(1, STEPS + 1)
    ]
    run.metrics_path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if request.param:
        for index in range(8):
            relative = {"video": 1 + 0.05 * (index - 2) ** 2}
            evaluated = {"heldout": {"relative": relative}, "train": {"relative": {"video": 1 - 0.05 * index}}}
            append_heldout(run.metrics_path, {"step": index * 15, "seconds": 0.1, **evaluated})
    return run


@pytest.mark.parametrize("state", STATES)
def test_all_say_the_same(run: RunFolder, state: str) -> None:
    run.write_status(STATES[state]())
    project = Project(run.path.parent.parent)
    printed = json.loads(CliRunner().invoke(app, ["status", str(run.path), "--json"]).stdout)
    told = run_status(project, StatusArguments(run=run.id)).model_dump()
    posted: queue.Queue[object] = queue.Queue()
    watcher = ProjectWatcher(project, posted.put)
    watcher.start()
    try:
        shown = next(seen for seen in iter(lambda: posted.get(timeout=20), None) if isinstance(seen, RunSeen)).status
    finally:
        watcher.close()
    for key in ("state", "step", "steps", "error", "verdict"):
        assert printed[key] == told[key], key
    assert (shown.state, shown.step, shown.steps) == (printed["state"], printed["step"], printed["steps"])
    assert shown.verdict == printed["verdict"]
    assert printed["verdict"]["kind"] != "unsure"
