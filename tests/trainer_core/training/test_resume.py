"""Resuming gives what an uninterrupted run gives, bit for bit, whenever and however it was interrupted."""

import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from trainer_core.config import TrainingConfig
from trainer_core.errors import ConfigError
from trainer_core.files import read_jsonl
from trainer_core.launch import launch
from trainer_core.metrics import read_steps
from trainer_core.resume_config import request_resume
from trainer_core.run_folder import RunFolder
from trainer_core.training import loop
from trainer_core.training.checkpointing.state import read_state, write_state

NewRun = Callable[[TrainingConfig], RunFolder]
ExactRun = Callable[..., TrainingConfig]
TIMES = frozenset({"time_s", "step_s", "memory_bytes", "seconds"})


def measured(run: RunFolder) -> list[dict[str, Any]]:
    """Every metrics row without what a clock or the machine decides."""
    return [{key: value for key, value in row.items() if key not in TIMES} for row in read_jsonl(run.metrics_path)]


def weights(run: RunFolder, step: int) -> dict[str, torch.Tensor]:
    found = {}
    for path in run.checkpoints.glob(f"*_step_{step:05d}.safetensors"):
        found |= {f"{path.name}:{key}": tensor for key, tensor in load_file(path).items()}
    return found


def content(run: RunFolder, step: int) -> dict[str, Any]:
    saved = read_state(run.states / f"step_{step:05d}").content
    return {key: value for key, value in saved.items() if key not in ("resumes_done",)}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def assert_same_end(run: RunFolder, reference: RunFolder, step: int = 8) -> None:
    assert measured(run) == measured(reference)
    mine, others = weights(run, step), weights(reference, step)
    assert mine.keys() == others.keys()
    assert mine
    assert all(torch.equal(mine[key], others[key]) for key in mine)
    assert equal(content(run, step), content(reference, step))
    assert list(run.path.rglob(".part-*")) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """Uninterrupted runs by name, made when a test first asks for one."""
    return {}


@pytest.fixture
def reference(finished: dict[str, RunFolder], new_run: NewRun, exact_run: ExactRun) -> RunFolder:
    """The uninterrupted run that the others must equal."""
    if "run" not in finished:
        run = new_run(exact_run())
        assert launch(run) == 0
        finished["run"] = run
    return finished["run"]


def test_a_stop_before_the_first_step_loses_nothing(reference: RunFolder, new_run: NewRun, exact_run: ExactRun) -> None:
    assert [row["step"] for row in read_jsonl(reference.metrics_path) if "heldout" in row] == [0, 4, 8]
    run = new_run(exact_run())
    run.stop_request_path.write_text("stop")
    assert launch(run) == 0
    run.stop_request_path.unlink()
    assert launch(run) == 0
    assert_same_end(run, reference)


def _kill_at_fsync(number: int) -> Callable[[], None]:
    """The process kills itself at the `number`-th fsync of its training thread: within a save, about a rename."""

    def prepare() -> None:
        real, seen = os.fsync, [0]

        def fsync(descriptor: int) -> None:
            seen[0] += threading.current_thread() is threading.main_thread()
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            real(descriptor)

        os.fsync = fsync

    return prepare


def _kill_often(
    kills: int, seed: int, reference: RunFolder, fork_trainer: Any, fresh_run: Callable[[], RunFolder]
) -> None:
    """Kill trainers at `kills` random moments, every second time inside a write; each run must end as the reference."""
    chance, killed = random.Random(seed), 0
    while killed < kills:
        run = fresh_run()
        for attempt in range(200):
            inside = attempt % 2 == 1
            child = fork_trainer(run, _kill_at_fsync(chance.randrange(1, 40)) if inside else None)
            if not inside and killed < kills:
                child.await_rows(run, chance.randrange(0, 11))
                time.sleep(chance.random() * 0.05)
                child.kill()
            code = child.wait()
            assert code in (0, -signal.SIGKILL), run.log_path.read_text()
            if code == 0:
                break
            killed += 1
            rows = [row["step"] for row in read_steps(run.metrics_path)]
            assert rows == list(range(1, len(rows) + 1))
        assert_same_end(run, reference)


def test_killed_at_15_random_moments(
    reference: RunFolder, new_run: NewRun, exact_run: ExactRun, fork_trainer: Any
) -> None:
    _kill_often(15, 1, reference, fork_trainer, lambda: new_run(exact_run()))


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_200_random_moments(new_run: NewRun, exact_run: ExactRun, fork_trainer: Any, workers: int) -> None:
    def config() -> TrainingConfig:
        return exact_run(data={"num_dataloader_workers": workers})

    reference = new_run(config())
    assert fork_trainer(reference).wait() == 0
    kills, seed = int(os.environ.get("SOAK_KILLS", "200")), int(os.environ.get("SOAK_SEED", "7"))
    _kill_often(kills, seed, reference, fork_trainer, lambda: new_run(config()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_and_the_run_goes_on(
    reference: RunFolder, new_run: NewRun, exact_run: ExactRun, fork_trainer: Any, number: int
) -> None:
    run = new_run(exact_run())
    child = fork_trainer(run)
    child.await_rows(run, 5)
    child.kill(number)
    assert child.wait() == 0
    stopped = run.read_status()
    assert (stopped.state, stopped.stage) == ("done", "stopped")
    assert run.state_steps()[-1] == stopped.step > 0
    assert launch(run) == 0
    # the extra save of the stop is the only difference; the end is the same
    assert measured(run) == measured(reference)
    assert equal(content(run, 8), content(reference, 8))


def test_a_closed_terminal_changes_nothing(
    reference: RunFolder, new_run: NewRun, exact_run: ExactRun, fork_trainer: Any
) -> None:
    run = new_run(exact_run())
    child = fork_trainer(run)
    child.await_rows(run, 4)
    child.kill(signal.SIGHUP)
    assert child.wait() == 0
    assert_same_end(run, reference)


def test_a_full_disk_ends_the_run_and_loses_nothing(
    reference: RunFolder, new_run: NewRun, exact_run: ExactRun, fork_trainer: Any
) -> None:
    run = new_run(exact_run())

    def prepare() -> None:
        real = os.fsync

        def fsync(descriptor: int) -> None:
            if "step_00004" in str(Path(f"/proc/self/fd/{descriptor}").readlink()) or run.state_steps()[-1:] == [2]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        os.fsync = fsync

    assert fork_trainer(run, prepare).wait() == 6
    assert run.state_steps() == [2]
    assert launch(run) == 0
    assert_same_end(run, reference)


def test_a_folder_that_vanishes_is_not_made_anew(
    reference: RunFolder, new_run: NewRun, exact_run: ExactRun, fork_trainer: Any
) -> None:
    run = new_run(exact_run())
    elsewhere = run.path.with_name("elsewhere")

    def prepare() -> None:
        real = loop.save_due

        def save_due(session: Any) -> bool:
            if session.step == 4:  # just before it is saved
                run.path.rename(elsewhere)
            return real(session)

        loop.save_due = save_due  # type: ignore[assignment]

    assert fork_trainer(run, prepare).wait() == 6
    assert not run.path.exists()
    elsewhere.rename(run.path)
    assert "vanished" in run.log_path.read_text()
    assert launch(run) == 0
    assert_same_end(run, reference)


def test_a_clock_that_jumps_changes_nothing(
    reference: RunFolder, new_run: NewRun, exact_run: ExactRun, fork_trainer: Any
) -> None:
    run = new_run(exact_run())

    def prepare() -> None:
        real = time.time

        def jumping() -> float:
            saved = len(run.state_steps())  # a year forth after the first save, a year back after the second
            return real() + (0.0, 4e7, -4e7)[min(saved, 2)]

        time.time = jumping

    child = fork_trainer(run, prepare)
    seen = set()
    while not child.ended():
        if run.status_path.exists():
            seen.add(run.read_status().state)
        time.sleep(0.01)
    assert child.wait() == 0
    assert seen <= {"starting", "running", "done"}
    assert_same_end(run, reference)


@pytest.mark.parametrize("damage", ["flipped bit", "manifest"])
def test_a_damaged_state_is_recognised_and_the_one_before_is_used(
    reference: RunFolder, new_run: NewRun, exact_run: ExactRun, fork_trainer: Any, damage: str
) -> None:
    run = new_run(exact_run())
    child = fork_trainer(run)
    while not child.ended() and run.state_steps()[-1:] != [4]:
        time.sleep(0.002)
    child.kill()
    child.wait()
    assert run.state_steps() == [2, 4]
    path = run.states / "step_00004" / ("manifest.json" if damage == "manifest" else "tensors.safetensors")
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 4
    path.write_bytes(held)
    assert launch(run) == 0
    events = {event["kind"]: event for event in run.events()}
    assert "step_00004" in events["damaged state"]["message"]
    assert events["resumed"]["step"] == 2
    assert_same_end(run, reference)


def test_weights_that_were_damaged_are_written_again(new_run: NewRun, exact_run: ExactRun, fork_trainer: Any) -> None:
    run = new_run(exact_run(optimization={"steps": 4}))
    assert launch(run) == 0
    path = run.checkpoints / "lora_weights_step_00004.safetensors"
    whole = {key: tensor.clone() for key, tensor in load_file(path).items()}  # its own memory: the file is mapped
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)
    request_resume(run, {"optimization": {"steps": 5}})
    assert launch(run) == 0
    assert equal(load_file(path), whole)
    assert "damaged weights" in [event["kind"] for event in run.events()]
    assert len(list(run.set_aside.rglob(path.name))) == 1


def test_going_back_sets_aside_what_lies_behind(new_run: NewRun, exact_run: ExactRun) -> None:
    run = new_run(exact_run(checkpoints={"save_training_state": "full", "keep_last_n": -1}))
    assert launch(run) == 0
    first = read_jsonl(run.metrics_path)
    assert run.state_steps() == [2, 4, 6, 8]
    request_resume(run, {"optimization": {"learning_rate": 1e-5}}, from_step=4)
    assert launch(run) == 0
    rows = read_jsonl(run.metrics_path)
    assert [row["step"] for row in rows if "heldout" not in row] == list(range(1, 9))
    cut = read_jsonl(run.cut_metrics_path)
    assert {row["resumed_from"] for row in cut} == {4}
    assert [{k: v for k, v in row.items() if k != "resumed_from"} for row in cut] == [r for r in first if r["step"] > 4]
    assert sorted(path.name for path in run.set_aside.rglob("lora*")) == [
        f"lora_weights_step_{step:05d}.safetensors" for step in (6, 8)
    ]
    told = next(event for event in run.events() if event["kind"] == "resumed")
    assert "weights" in told["restored"]
    assert any(change.startswith("learning_rate 0.001 → 1e-05") for change in told["overridden"])
    again = next(row for row in rows if row["step"] == 6 and "lr" in row)
    assert again["lr"] < 1.1e-5
    # the request is done: another start goes on from the end, not from step 4 again
    assert launch(run) == 0
    assert [event["step"] for event in run.events() if event["kind"] == "resumed"] == [4, 8]


def test_more_steps_stretch_the_schedule_and_say_so(new_run: NewRun, exact_run: ExactRun) -> None:
    run, longer = new_run(exact_run(optimization={"steps": 6})), new_run(exact_run(optimization={"steps": 9}))
    assert launch(run) == 0
    assert launch(longer) == 0
    request_resume(run, {"optimization": {"steps": 9}})
    assert launch(run) == 0
    rates = [[row["lr"] for row in read_jsonl(one.metrics_path) if "lr" in row] for one in (run, longer)]
    assert rates[0][6:] == pytest.approx(rates[1][6:])
    told = next(event for event in run.events() if event["kind"] == "resumed")
    assert "steps 6 → 9" in told["overridden"]
    assert run.read_status().steps == 9


@pytest.mark.parametrize(
    ("overrides", "from_step", "message"),
    [
        ({"lora": {"rank": 8}}, None, "`lora.rank` can't change"),
        ({"optimization": {"batch_size": 2}}, None, "`optimization.batch_size` can't change"),
        ({}, None, "has all its 4 steps"),
        ({"optimization": {"steps": 9}}, 3, "no saved state of step 3"),
        ({"optimization": {"learning_rate": -1}}, None, "learning_rate"),
    ],
)
def test_a_resume_that_makes_no_sense_is_refused(
    new_run: NewRun, exact_run: ExactRun, overrides: dict[str, Any], from_step: int | None, message: str
) -> None:
    run = new_run(exact_run(optimization={"steps": 4}))
    write_state(run.states, 4, {}, None)
    with pytest.raises(ConfigError, match=message):
        request_resume(run, overrides, from_step)
    assert run.resumes() == []


@pytest.mark.parametrize("setting", [{"save_training_state": "off"}, {"no_resume": True}])
def test_no_state_is_saved_where_the_config_says_so(
    new_run: NewRun, exact_run: ExactRun, setting: dict[str, Any]
) -> None:
    run = new_run(exact_run(optimization={"steps": 3}, checkpoints=setting))
    assert launch(run) == 0
    assert not run.states.exists()
    with pytest.raises(ConfigError, match="load_checkpoint"):
        request_resume(run, {"optimization": {"steps": 9}})
    assert launch(run) == 2  # it would overwrite what it has trained


def test_other_data_or_other_processes_are_refused(new_run: NewRun, exact_run: ExactRun, precomputed: Any) -> None:
    run = new_run(exact_run(optimization={"steps": 3}))
    assert launch(run) == 0
    request_resume(run, {"optimization": {"steps": 5}})
    for folder in precomputed.iterdir():
        (folder / "clips/clip 1.pt").unlink()
    assert launch(run) == 3
    assert "not those that the run began with" in (run.read_status().error or "")


def test_an_8bit_optimizer_resumes_exactly(new_run: NewRun, exact_run: ExactRun, fork_trainer: Any) -> None:
    pytest.importorskip("bitsandbytes")
    config = exact_run(optimization={"optimizer_type": "adamw8bit", "steps": 6}, lora={"rank": 64})
    whole, run = new_run(config), new_run(config)
    assert launch(whole) == 0
    child = fork_trainer(run)
    while not child.ended() and run.state_steps() != [2]:
        time.sleep(0.002)
    child.kill()
    child.wait()
    assert launch(run) == 0
    assert equal(content(run, 6), content(whole, 6))
