"""The run folder tells the truth: a dead or silent trainer reads as failed, and no two runs share a folder."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer_core.errors import ConfigError
from trainer_core.files import read_jsonl
from trainer_core.run_folder import LEASE_S, LIVE_STATES, RunFolder, RunStatus, create_run_folder, list_runs


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run_folder(tmp_path / "runs")


@pytest.mark.parametrize("state", sorted(LIVE_STATES))
def test_a_live_state_of_a_dead_process_reads_as_failed(run: RunFolder, state: str) -> None:
    pid = _dead_pid()
    run.write_status(
        RunStatus(state, step=17, steps=100, pid=pid, lease_expires_at=time.time() + LEASE_S, eta_s=9.0)  # type: ignore[arg-type]
    )
    status = run.read_status()
    assert status.state == "failed"
    assert str(pid) in (status.error or "")
    assert "17" in (status.error or "")
    assert status.eta_s is None
    assert json.loads(run.status_path.read_text())["state"] == state, "reading must not write"


def test_an_expired_lease_reads_as_failed_though_the_process_lives(run: RunFolder) -> None:
    run.write_status(RunStatus("running", pid=os.getpid(), lease_expires_at=time.time() - 1))
    assert run.read_status().state == "failed"


def test_a_live_process_with_a_lease_reads_as_it_is(run: RunFolder) -> None:
    written = RunStatus("running", step=3, steps=9, pid=os.getpid(), lease_expires_at=time.time() + LEASE_S, eta_s=4.5)
    run.write_status(written)
    assert run.read_status() == written


def test_a_run_that_no_process_has_taken_yet_stays_queued(run: RunFolder) -> None:
    run.write_status(RunStatus("queued"))
    assert run.read_status().state == "queued"


@pytest.mark.parametrize("state", ["done", "failed", "diverged"])
def test_an_ended_run_stays_as_it_ended(run: RunFolder, state: str) -> None:
    written = RunStatus(state, step=5, pid=_dead_pid(), lease_expires_at=1.0, error=None)  # type: ignore[arg-type]
    run.write_status(written)
    assert run.read_status() == written


def test_the_reason_that_the_trainer_gave_is_kept(run: RunFolder) -> None:
    run.write_status(RunStatus("running", pid=_dead_pid(), lease_expires_at=time.time() + 9, error="out of memory"))
    assert run.read_status().error == "out of memory"


def test_a_folder_without_a_status_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no status\.json"):
        RunFolder(tmp_path).read_status()


@pytest.mark.parametrize("text", ["[]", '{"state": "flying"}', "{half", "{}"])
def test_a_foreign_status_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(ConfigError, match="status"):
        RunFolder(tmp_path).read_status()


def test_a_status_of_a_later_version_still_reads(run: RunFolder) -> None:
    run.status_path.write_text(json.dumps({"state": "done", "step": 4, "invented_later": True}))
    assert run.read_status().step == 4


def test_folders_of_one_second_do_not_collide_and_list_oldest_first(tmp_path: Path) -> None:
    runs = [create_run_folder(tmp_path / "runs") for _ in range(12)]
    assert len({run.path for run in runs}) == 12
    for run in runs:
        assert run.checkpoints.is_dir()
        assert (run.path / "samples").is_dir()
        run.write_status(RunStatus("done"))
    assert [run.id for run in list_runs(tmp_path / "runs")] == [run.id for run in runs]


def test_only_folders_with_a_status_are_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []
    (tmp_path / "notes").mkdir()
    assert list_runs(tmp_path) == []


def test_events_are_appended_with_their_time(run: RunFolder) -> None:
    before = time.time()
    run.record_event("checkpoint", step=5, path="lora_weights_step_00005.safetensors")
    run.record_event("ended", state="done")
    rows = read_jsonl(run.events_path)
    assert [row["kind"] for row in rows] == ["checkpoint", "ended"]
    assert rows[0]["step"] == 5
    assert before <= rows[0]["time"] <= rows[1]["time"] <= time.time()
