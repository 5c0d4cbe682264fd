"""`run --headless` in this process: exit codes, budgets, resuming, memory that runs out. Training is played."""

import functools
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import agent.context
import agent.headless.pipeline
from agent.cli.verbs.table import app
from agent.context import AgentContext
from agent.state import Stage
from tools.project import Project
from tools.spec import Tool
from trainer_core.config import load_config
from trainer_core.run_folder import RunStatus

WORLD_PATH = Path(__file__).parents[1] / "scenarios" / "world.py"
ALL = "approvals: [captions, inputs, plan, change, rehearse, start, resume]"


def _world() -> Any:
    spec = importlib.util.spec_from_file_location("pipeline_world", WORLD_PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


WORLD = _world()


@dataclass
class Ci:
    """A CI's checkout whose runs end as `ends` says, one after another."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    ends: list[str] = field(default_factory=lambda: ["done"])
    started_s_ago: float = 0.0
    grows_bytes: int = 0

    @property
    def project(self) -> Project:
        return Project(self.folder / "project")

    def run(self, policy: str, *more: str, clips: str = "4 sound", rehearses: bool = False) -> tuple[int, list[Any]]:
        """Run once; return the exit code and the events."""
        if not self.project.path.exists():
            made = WORLD.make_project(self.folder, clips)
            made.write_facts(made.facts.model_copy(update={"sources": [str(self.folder / "clips")]}))
        (self.folder / "clips").mkdir(exist_ok=True)
        (self.folder / "clips" / "a.mp4").touch()
        (self.folder / "policy.yaml").write_text(policy)
        self._play(WORLD.played_tools(rehearses=rehearses))
        words = ["run", str(self.folder / "clips"), "--headless", "--policy", str(self.folder / "policy.yaml")]
        found = CliRunner().invoke(app, [*words, "--project", str(self.project.path), *more])
        assert "Traceback" not in found.output, found.output
        events = [json.loads(line) for line in found.stdout.splitlines()]
        assert events[-1]["event"] == "result"
        assert events[-1]["exit_code"] == found.exit_code
        return found.exit_code, events

    def _play(self, tools: dict[Stage, list[Tool]]) -> None:
        def ended(function: Callable[..., Any], *arguments: Any) -> Any:
            result = function(*arguments)
            run = self.project.runs()[-1]
            state = self.ends.pop(0)
            begun = time.time() - self.started_s_ago
            if self.grows_bytes:
                with (run.path / "grown").open("wb") as file:
                    file.truncate(self.grows_bytes)
            if state == "oom":
                WORLD.tell_out_of_memory(run)
            seen: Any = "failed" if state == "oom" else state
            run.write_status(
                RunStatus(seen, step=9, steps=9, started_at=begun, error=None if state == "done" else "Gone.")
            )
            return result

        monitor = [
            replace(tool, function=functools.partial(ended, tool.function))
            if tool.name in ("start_training", "resume_training")
            else tool
            for tool in tools["monitor"]
        ]

        @dataclass(frozen=True)
        class PlayedContext(AgentContext):
            tools: Mapping[Stage, list[Tool]] = field(default_factory=lambda: {**tools, "monitor": monitor})

        self.monkeypatch.setattr(agent.context, "AgentContext", PlayedContext)


@pytest.fixture
def ci(tmp_path: Path, bare: pytest.MonkeyPatch) -> Ci:
    bare.setattr(agent.headless.pipeline, "POLL_S", 0.01)
    bare.setattr(agent.headless.pipeline, "STOP_WAIT_S", 0.1)
    return Ci(tmp_path, bare)


def approvals(events: list[Any]) -> list[tuple[str, bool]]:
    return [(event["approval"], event["granted"]) for event in events if event["event"] == "approval"]


def test_the_whole_way_rehearses_where_the_policy_permits_it(ci: Ci) -> None:
    code, events = ci.run(ALL, rehearses=True)
    assert code == 0
    assert approvals(events) == [("captions", True), ("plan", True), ("rehearse", True), ("start", True)]
    costs = {cost["kind"]: cost for event in events if event.get("approval") == "start" for cost in event["costs"]}
    assert costs["time"]["value"] == 30  # 60 steps of the rehearsal's 0.5 s
    assert set(costs) == {"time", "memory", "disk", "money"}


def test_a_rehearsal_that_is_not_permitted_is_left_out(ci: Ci) -> None:
    code, events = ci.run("approvals: [captions, plan, start]", rehearses=True)
    assert code == 0
    assert ("rehearse", False) in approvals(events)
    assert not (ci.project.path / "rehearsal.json").exists()


def test_a_policy_may_leave_incomplete_samples_out(ci: Ci) -> None:
    code, _ = ci.run(f"{ALL}\nincomplete_samples: leave_out")
    assert code == 0
    assert ci.project.facts.asked["ltx_agent.incomplete_samples"] == "leave_out"
    assert load_config(ci.project.config_path).ltx_agent.incomplete_samples == "leave_out"


def test_data_that_block_training_end_with_3(ci: Ci) -> None:
    code, events = ci.run(ALL, clips="3 short")
    assert code == 3
    assert events[-1]["error"]["message"]


@pytest.mark.parametrize("state", ["failed", "diverged"])
def test_a_failed_run_ends_with_5(ci: Ci, state: str) -> None:
    ci.ends = [state]
    code, events = ci.run(ALL)
    assert code == 5
    assert state in events[-1]["error"]["message"]


def test_an_endpoint_that_fails_ends_with_6(ci: Ci, endpoint: Any) -> None:
    endpoint.answers = [(401, {})]
    code, events = ci.run(ALL)
    assert code == 6
    assert ("fallback", False) in approvals(events)


@pytest.mark.parametrize("arguments", [None, "[]"])
@pytest.mark.parametrize(("permitted", "code"), [(True, 0), (False, 6)])
def test_a_model_that_only_babbles_is_replaced_where_the_policy_permits_it(
    ci: Ci, endpoint: Any, arguments: str | None, permitted: bool, code: int
) -> None:
    """Without the permission it is an outside failure, never wrong usage: the person did nothing wrong."""
    call = {"id": "c1", "type": "function", "function": {"name": "inspect_clips", "arguments": arguments}}
    endpoint.answers = [(200, {"tool_calls": [call]} if arguments else {"content": "Film is a wonderful medium."})]
    policy = "approvals: [captions, plan, start, fallback]" if permitted else "approvals: [captions, plan, start]"
    ended, events = ci.run(policy)
    assert ended == code
    assert approvals(events)[0] == ("fallback", permitted)
    assert bool(ci.project.runs()) == permitted
    assert permitted or "led nowhere 3 times" in events[-1]["error"]["message"]


def test_an_interrupt_ends_with_130_and_the_next_run_goes_on(ci: Ci) -> None:
    real = WORLD.play_caption

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    ci.monkeypatch.setattr(WORLD, "play_caption", interrupted)
    assert ci.run(ALL)[0] == 130
    ci.monkeypatch.setattr(WORLD, "play_caption", real)
    code, events = ci.run(ALL)
    assert code == 0
    assert "inspect_clips" not in [event["tool"] for event in events if event["event"] == "tool"]  # done before


def test_gpu_hours_are_watched_and_the_run_is_stopped(ci: Ci) -> None:
    ci.ends, ci.started_s_ago = ["queued"], 2 * 3600
    code, events = ci.run(f"{ALL}\nbudgets: {{gpu_hours: 1}}")
    assert code == 4
    assert "GPU-hours" in events[-1]["error"]["message"]
    assert ci.project.runs()[-1].stop_request_path.exists()


def test_the_disk_is_watched_while_it_grows(ci: Ci) -> None:
    ci.ends, ci.grows_bytes = ["queued"], 2 * 10**9
    code, events = ci.run(f"{ALL}\nbudgets: {{disk_gb: 1}}")
    assert code == 4
    assert "takes 2.00 GB" in events[-1]["error"]["message"]


def test_a_start_that_takes_more_disk_than_permitted_is_refused(ci: Ci) -> None:
    code, events = ci.run(f"{ALL}\nbudgets: {{disk_gb: 0.00001}}")
    assert code == 4
    assert approvals(events)[-1] == ("start", False)
    assert not ci.project.runs()


def test_money_is_the_time_at_the_price_of_the_gpu(ci: Ci) -> None:
    Path(ci.folder / "settings.yaml").write_text("prices: {gpu_hour: 1000}")
    code, events = ci.run(f"{ALL}\nbudgets: {{money: 5}}", rehearses=True)
    assert code == 4
    assert "8.33 USD" in events[-1]["error"]["message"]


def test_a_killed_run_is_resumed_where_the_policy_permits_it(ci: Ci) -> None:
    ci.ends = ["failed"]
    assert ci.run(ALL)[0] == 5
    run = ci.project.runs()[-1]
    run.write_status(replace(run.read_status(), last_checkpoint="checkpoints/a"))
    ci.ends = ["done"]
    code, events = ci.run(ALL)
    assert code == 0
    assert approvals(events) == [("resume", True)]
    assert len(ci.project.runs()) == 1


@pytest.mark.parametrize(("policy", "code"), [("next_rung", 0), ("stop", 5)])
def test_the_policy_says_what_follows_when_memory_runs_out(ci: Ci, policy: str, code: int) -> None:
    ci.ends = ["oom", "done"]
    ended, events = ci.run(f"{ALL}\nout_of_memory: {policy}")
    assert ended == code
    assert (("resume", True) in approvals(events)) == (policy == "next_rung")


@pytest.mark.parametrize(("policy", "code"), [("next_rung", 0), ("stop", 4)])
def test_the_policy_says_what_follows_when_the_rehearsal_does_not_fit(ci: Ci, policy: str, code: int) -> None:
    ended, events = ci.run(f"{ALL}\nout_of_memory: {policy}", clips="4 sound, tight", rehearses=True)
    assert ended == code
    taken = "int8-quanto" in ci.project.config_path.read_text()
    assert taken == (policy == "next_rung")
    assert bool(ci.project.runs()) == taken
    assert events[-1]["exit_code"] == code
