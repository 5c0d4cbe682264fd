"""Who trains in a run folder: one at a time, and never mistaken for a later process of the same number."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from trainer_core.errors import ConfigError
from trainer_core.lease import TrainingLease, machine_id, process_identity
from trainer_core.logs import rotate_log
from trainer_core.run_folder import RunFolder, RunStatus


def forked(body: Callable[[], None]) -> int:
    """Run `body` in a forked process and return its pid; the process ends when `body` returns."""
    pid = os.fork()
    if pid == 0:
        try:
            body()
        finally:
            os._exit(0)
    return pid


def test_a_process_is_known_by_when_it_began() -> None:
    mine = process_identity(os.getpid())
    assert mine == process_identity(os.getpid())
    child = forked(lambda: time.sleep(60))
    try:
        assert process_identity(child) not in (None, mine)
    finally:
        os.kill(child, signal.SIGKILL)
        zombie = process_identity(child)
        os.waitpid(child, 0)
    assert process_identity(child) is None
    assert zombie is None or zombie != mine


def test_a_second_trainer_is_refused_and_a_killed_one_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / ".lease"

    def hold() -> None:
        with TrainingLease(path):
            (tmp_path / "held").touch()
            time.sleep(60)

    child = forked(hold)
    deadline = time.monotonic() + 20
    while not (tmp_path / "held").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with pytest.raises(ConfigError, match=f"Process {child} already trains"), TrainingLease(path):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with TrainingLease(path):
        assert path.read_text() == str(os.getpid())


LIVE = RunStatus("running", step=4, steps=9, pid=os.getpid(), lease_expires_at=0.0)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"machine": machine_id(), "process": process_identity(os.getpid())}, "running"),  # whatever the lease says
        ({"machine": machine_id(), "process": "1"}, "failed"),  # the number was given to another process
        ({"machine": "another", "process": "1", "lease_expires_at": time.time() + 86_400}, "running"),
        ({"machine": "another", "process": "1"}, "failed"),
        ({"lease_expires_at": time.time() + 86_400}, "running"),  # a status of an older version
    ],
)
def test_a_live_state_is_believed_only_with_its_process(tmp_path: Path, changes: dict[str, object], state: str) -> None:
    run = RunFolder(tmp_path)
    run.write_status(replace(LIVE, **changes))  # type: ignore[arg-type]
    status = run.read_status()
    assert status.state == state
    if state == "failed":
        assert "ltx-agent resume" in (status.error or "")


def test_a_full_log_is_numbered_and_writing_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "trainer.log"

    def write() -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        for number in range(5):
            os.write(1, f"line {number}\n".encode() * 20)
            rotate_log(log, largest_bytes=100, kept=3)
        os.write(2, b"the end\n")

    os.waitpid(forked(write), 0)
    assert log.read_text() == "the end\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trainer.log", *(f"trainer.log.{n}" for n in (1, 2, 3))]
    assert "line 4" in (tmp_path / "trainer.log.1").read_text()


def test_a_log_of_another_process_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "trainer.log"
    log.write_bytes(b"x" * 1000)
    assert not rotate_log(log, largest_bytes=100)
    assert log.stat().st_size == 1000
