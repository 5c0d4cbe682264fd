"""A real `ltx-agent run --headless`: killed and run again it does nothing twice; out of memory it asks the policy."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tools.project import Project

SCRIPT = Path(sys.executable).with_name("ltx-agent")
POLICY = "approvals: [captions, inputs, plan, start, resume]\n"
STEPS = 40
Event = dict[str, Any]
MOMENTS: dict[str, Callable[[Event], bool]] = {
    "inspection": lambda event: event.get("tool") == "inspect_clips" and event["state"] == "called",
    "captioning": lambda event: event.get("tool") == "caption_clips" and event["state"] == "called",
    "drafting": lambda event: event.get("tool") == "draft_config" and event["state"] == "called",
    "an approval": lambda event: event.get("approval") == "plan",
    "training": lambda event: event.get("tool") == "start_training" and event["state"] == "returned",
    "waiting": lambda event: event["event"] == "progress" and "eta_s" in event,
}


def checkout(folder: Path, footage: Path, clips: str = "bikes*") -> Path:
    """A CI's checkout: two clips and a policy."""
    (folder / "clips").mkdir(parents=True)
    for clip in footage.glob(clips):
        shutil.copy(clip, folder / "clips")
    (folder / "policy.yaml").write_text(POLICY)
    return folder


def started(folder: Path) -> "subprocess.Popen[str]":
    inherited = {name: value for name, value in os.environ.items() if "OPENAI" not in name and "LTX_AGENT" not in name}
    line = ["run", "clips", "--headless", "--policy", "policy.yaml", "--project", "project"]
    return subprocess.Popen(
        [SCRIPT, *line, "--goal", f"the look, {STEPS} steps"],
        cwd=folder,
        env={**inherited, "HOME": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def whole(folder: Path, code: int = 0) -> list[Event]:
    process = started(folder)
    told, _ = process.communicate(timeout=200)
    events = [json.loads(line) for line in told.splitlines()]
    assert process.returncode == events[-1]["exit_code"] == code, told[-2000:]
    return events


def killed(folder: Path, moment: Callable[[Event], bool], later_s: float = 0.0) -> bool:
    """Run until the moment comes, then kill; False when the run was over before."""
    process = started(folder)
    assert process.stdout is not None
    for line in process.stdout:
        if moment(json.loads(line)):
            time.sleep(later_s)
            break
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    return process.wait() == -signal.SIGKILL


def left(folder: Path) -> dict[str, Any]:
    """What a run leaves behind for good: the files by what they say, the adapter by its tensors."""
    project = Project(folder / "project")
    texts = {
        path.name: path.read_text(encoding="utf-8").replace(str(folder), "")
        for path in (project.report_path, project.captions_path, project.dataset_path, project.config_path)
    }
    assert len(project.runs()) == 1
    (run,) = project.runs()
    steps = [json.loads(line)["step"] for line in run.metrics_path.read_text().splitlines() if '"loss"' in line]
    weights = {
        path.name: {name: tensor.tolist() for name, tensor in load_file(path).items()}
        for path in sorted(run.checkpoints.glob("*.safetensors"))
    }
    assert weights
    return {**texts, "steps": steps, "weights": weights, "state": run.read_status().state}


def ledger(folder: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(folder / "project" / "session.sqlite") as connection:
        return list(connection.execute("SELECT tool, status FROM calls"))


@pytest.fixture(scope="module")
def untouched(cut_footage: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = checkout(tmp_path_factory.mktemp("untouched"), cut_footage)
    whole(folder)
    return left(folder)


def ends_the_same(folder: Path, untouched: dict[str, Any]) -> None:
    events = whole(folder)
    assert left(folder) == untouched
    calls = ledger(folder)
    assert {status for _, status in calls} == {"success"}
    assert Counter(tool for tool, _ in calls)["start_training"] == 1
    again = whole(folder)  # a finished run is found done
    assert [event for event in again if event["event"] == "tool"] == []
    assert ledger(folder) == calls
    assert events[-1]["run"] == again[-1]["run"]


def test_killed_in_every_part_of_the_work(cut_footage: Path, tmp_path: Path, untouched: dict[str, Any]) -> None:
    """Each life gets to the next part and is killed there; the last one ends as if nothing had happened."""
    folder = checkout(tmp_path / "killed", cut_footage)
    kills = [killed(folder, moment, later_s=0.05) for moment in MOMENTS.values()]
    assert all(kills[:4])  # the trainer goes on by itself: a later life may find it at work, or see it end
    ends_the_same(folder, untouched)
    assert {tool for tool, _ in ledger(folder)} >= {"inspect_clips", "caption_clips", "draft_config"}
    assert max(Counter(tool for tool, _ in ledger(folder)).values()) == 1


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_killed_at_a_random_moment(cut_footage: Path, tmp_path: Path, untouched: dict[str, Any], seed: int) -> None:
    chosen = random.Random(seed)
    folder = checkout(tmp_path / "killed", cut_footage)
    for _ in range(chosen.randint(1, 3)):
        killed(folder, chosen.choice(list(MOMENTS.values())), later_s=chosen.uniform(0, 3))
    ends_the_same(folder, untouched)


def test_memory_that_really_runs_out_is_saved_up_for_where_the_policy_permits_it(
    cut_footage: Path, tmp_path: Path
) -> None:
    """The trainer runs into the limit that a person wrote into the plan, again on the first rung; the next one fits."""
    folder = checkout(tmp_path / "tight", cut_footage, "bunny*")
    (folder / "policy.yaml").write_text("approvals: [captions, plan]\n")
    assert "`start`" in whole(folder, 4)[-1]["error"]["message"]
    config = folder / "project" / "config.yaml"
    drafted = config.read_text(encoding="utf-8")
    config.write_text(drafted.replace("\n  frame_rate:", "\n  memory: {limit_gb: 0.0065}\n  frame_rate:", 1))

    (folder / "policy.yaml").write_text(POLICY)
    stopped = whole(folder, 5)
    assert "Memory ran out in step" in stopped[-1]["error"]["message"]
    assert "resume" not in [event.get("approval") for event in stopped]

    (folder / "policy.yaml").write_text(f"{POLICY}out_of_memory: next_rung\n")
    events = whole(folder)
    run = Project(folder / "project").runs()[-1]
    failed = [event for event in run.events() if event["kind"] == "out of memory"]
    resumed = [event for event in events if event.get("approval") == "resume"]
    assert len(failed) == len(resumed) >= 1
    assert all(event["granted"] for event in resumed)
    assert failed[0]["offer"]["settings"] == {"optimization.enable_gradient_checkpointing": True}
    assert (run.read_status().state, run.read_status().step) == ("done", STEPS)
