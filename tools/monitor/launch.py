"""Starting and stopping the detached trainer process of a project."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.monitor.status import last_log_line
from tools.project import Project
from tools.trainer_environment import trainer_environment
from trainer_core.config import TrainingConfig, dump_config, load_config, refuse_untrainable, wanted_trackers
from trainer_core.config_paths import resolve_paths
from trainer_core.errors import ConfigError, LtxError
from trainer_core.files import storage_error, write_text
from trainer_core.lease import machine_id, process_identity
from trainer_core.objective import objective_of
from trainer_core.resume_config import request_resume
from trainer_core.run_folder import LEASE_S, LIVE_STATES, RunFolder, RunStatus, create_run_folder, list_runs

TRAINER_MODULE = "trainer_core.launch"
TAKEOVER_S = 30.0
"""How long a start waits for the trainer's first sign of life before it returns with the run still queued."""
POLL_S = 0.1


def start_run(project: Project) -> RunFolder:
    """Create a run of the project's config.yaml and start its trainer, which outlives this process.

    Returns when the trainer has taken the run over, has died, or TAKEOVER_S have passed: the status tells which.
    Raises ConfigError when the config is wrong or a run of this project is still going on.
    """
    return _start(load_config(project.config_path), project.path.resolve(), project.runs_path.resolve())


def start_run_of(config_path: Path) -> RunFolder:
    """The same for a config file without a project, upstream's included: the run's folder goes into its output_dir."""
    config = load_config(config_path)
    base = config_path.resolve().parent
    return _start(config, base, Path(resolve_paths(config, base).output_dir))


def _start(config: TrainingConfig, base: Path, runs: Path) -> RunFolder:
    objective_of(config.strategy)
    refuse_untrainable(config)
    with _start_lock(runs):
        _refuse_second_run(runs)
        run = create_run_folder(runs)
        try:
            child = _start_trainer(run, resolve_paths(config, base))
        except LtxError:
            shutil.rmtree(run.path)
            raise
    _await_takeover(run, child)
    return run


def resume_run(run: RunFolder, overrides: dict[str, Any], from_step: int | None = None) -> RunFolder:
    """Start the trainer of `run` again: it goes on from its last complete state, or from that of `from_step`.

    `overrides` are settings that change from here on, nested as in the YAML. Returns as `start_run` does. Raises
    ConfigError when the run is live, has nothing left to do, or can't change in that way.
    """
    runs = run.path.parent
    with _start_lock(runs):
        _refuse_second_run(runs)
        config = request_resume(run, overrides, from_step)
        before = run.read_status()
        run.stop_request_path.unlink(missing_ok=True)
        child = _spawn(run, replace(before, steps=config.optimization.steps, finished_at=None, error=None))
    _await_takeover(run, child)
    return run


def request_stop(run: RunFolder, wait_s: float, *, then_kill: bool = False) -> RunStatus:
    """Ask the trainer to finish its step, save and end; return the status seen when it ended or `wait_s` passed.

    With `then_kill` a trainer that is still there after `wait_s` is killed: what it did since its last checkpoint is
    then lost, nothing else.
    """
    status = run.read_status()
    if status.state not in LIVE_STATES:
        return status
    write_text(run.stop_request_path, "A person asked this run to stop.\n")
    status = _await_end(run, wait_s)
    if then_kill and status.state in LIVE_STATES and _is_here(status):
        assert status.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(status.pid, signal.SIGKILL)
        run.record_event("killed", step=status.step, why=f"it had not stopped {wait_s:g} s after it was asked to")
        status = _await_end(run, POLL_S * 50)
    return status


def _await_end(run: RunFolder, wait_s: float) -> RunStatus:
    deadline = time.monotonic() + wait_s
    status = run.read_status()
    while status.state in LIVE_STATES and time.monotonic() < deadline:
        time.sleep(POLL_S)
        status = run.read_status()
    return status


def _is_here(status: RunStatus) -> bool:
    """True if the status names a process of this machine that is still the one it was."""
    known = status.pid is not None and status.process is not None and status.machine == machine_id()
    return known and process_identity(status.pid or 0) == status.process


@contextlib.contextmanager
def _start_lock(runs: Path) -> Iterator[None]:
    """Let one start in this folder go on at a time, so that two at once can't both find no live run."""
    lock = runs / ".start-lock"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        handle = lock.open("w")
    except OSError as error:
        raise storage_error(lock, error) from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _refuse_second_run(runs: Path) -> None:
    for run in list_runs(runs):
        status = run.read_status()
        if status.state in LIVE_STATES:
            raise ConfigError(
                f"The run {run.id} in {runs} is still {status.state} (step {status.step} of {status.steps}).",
                "Wait for it, or stop it with `ltx-agent stop`; one run of a project goes on at a time.",
            )


def _start_trainer(run: RunFolder, config: TrainingConfig) -> subprocess.Popen[bytes]:
    write_text(run.config_path, dump_config(config))
    return _spawn(run, RunStatus("queued", steps=config.optimization.steps, started_at=time.time()))


def _spawn(run: RunFolder, status: RunStatus) -> subprocess.Popen[bytes]:
    # Until the trainer writes its own status the run leans on this process: if both die, it soon reads as failed.
    pid = os.getpid()
    run.write_status(
        replace(
            status,
            state="queued",
            stage=None,
            pid=pid,
            process=process_identity(pid),
            machine=machine_id(),
            lease_expires_at=time.time() + LEASE_S,
        )
    )
    try:
        with run.log_path.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", TRAINER_MODULE, str(run.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=run.path,
                env=trainer_environment(os.environ, wanted_trackers(load_config(run.config_path))),
                start_new_session=True,
                close_fds=True,
            )
    except OSError as error:
        raise storage_error(run.log_path, error) from error


def _await_takeover(run: RunFolder, child: subprocess.Popen[bytes]) -> None:
    """Wait until the trainer wrote a status of its own; one that dies before is written down as failed."""
    deadline = time.monotonic() + TAKEOVER_S
    while time.monotonic() < deadline:
        exit_code = child.poll()
        status = run.read_status()
        if status.state != "queued":
            break
        if exit_code is not None:
            error = f"The trainer ended before it started, with exit code {exit_code}."
            if line := last_log_line(run):
                error = f"{error} The log's last line: {line}"
            run.write_status(replace(status, state="failed", pid=child.pid, error=error, finished_at=time.time()))
            break
        time.sleep(POLL_S)
    # A child that nobody waits for stays a zombie, which looks alive to every reader of its pid.
    threading.Thread(target=child.wait, name=f"wait-{run.id}", daemon=True).start()
