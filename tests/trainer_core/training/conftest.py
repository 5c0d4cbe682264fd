"""Runs in this process, and trainers in forked processes that can be killed at any moment and start at once."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trainer_core.config import TrainingConfig, dump_config
from trainer_core.launch import launch
from trainer_core.run_folder import RunFolder, create_run_folder


@dataclass
class Forked:
    """A trainer in a process forked from this one: everything is imported already, so it begins at once."""

    pid: int

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def wait(self, limit_s: float = 120.0) -> int:
        """The exit code, negative for a signal."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        self.kill()
        os.waitpid(self.pid, 0)
        raise AssertionError("the trainer did not end in time")

    def ended(self) -> bool:
        """Whether it has ended; it stays to be waited for."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def await_rows(self, run: RunFolder, rows: int, limit_s: float = 120.0) -> None:
        """Wait until metrics.jsonl has so many rows, or the trainer has ended."""
        deadline = time.monotonic() + limit_s
        while not self.ended() and time.monotonic() < deadline:
            if run.metrics_path.exists() and run.metrics_path.read_bytes().count(b"\n") >= rows:
                return
            time.sleep(0.002)


@pytest.fixture
def fork_trainer() -> Callable[..., Forked]:
    """`fork_trainer(run, prepare=None)`: `launch(run)` in a forked process; `prepare` runs in it first."""
    import trainer_core.training.loop  # noqa: F401 (imported once, here, for every fork)

    return _fork_trainer


def _fork_trainer(run: RunFolder, prepare: Callable[[], None] | None = None) -> Forked:
    pid = os.fork()
    if pid:
        return Forked(pid)
    code = 70
    try:
        os.setsid()
        log = os.open(run.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        if prepare is not None:
            prepare()
        code = launch(run)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[[TrainingConfig], RunFolder]:
    """`new_run(config)`: an empty run folder with that config."""

    def make(config: TrainingConfig) -> RunFolder:
        run = create_run_folder(tmp_path / "runs")
        run.config_path.write_text(dump_config(config))
        return run

    return make


@pytest.fixture
def exact_run(config_for: Callable[..., TrainingConfig]) -> Callable[..., TrainingConfig]:
    """A config whose run has everything that a resume must bring back: held-out clips, average, dropout, a schedule."""

    def build(**overlay: Any) -> TrainingConfig:
        everything = {
            "lora": {"dropout": 0.1},
            "optimization": {"steps": 8, "scheduler_type": "cosine"},
            "checkpoints": {"interval": 2, "keep_last_n": 2, "precision": "bfloat16"},
            "ltx_agent": {
                "warmup_steps": 3,
                "evaluation": {"interval": 4, "clips": ["clips/clip 3"]},
                "training": {"ema_decay": 0.9},
            },
        }
        from trainer_core.objective import merged

        return config_for("t2v", merged(everything, overlay))

    return build


@pytest.fixture
def equal_states() -> Callable[[Any, Any], bool]:
    """`equal_states(one, other)`: whether nested states are the same, tensors bit for bit."""
    return _equal


def _equal(one: Any, other: Any) -> bool:
    import torch

    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
