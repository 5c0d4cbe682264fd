"""kill -9 at any moment, then `resume`: the conversation goes on and nothing is done twice.

A child holds the conversation with the real store and graph; its tools leave a line each time they have an effect. It
is killed at every point that matters: before a call is in the ledger, after its effect, before the checkpoint.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.context import AgentContext
from agent.session.session import Session, open_session
from tools.project import Project

HERE = Path(__file__).parent
CHILD = """
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("fixtures", sys.argv[1])
fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fixtures)
from agent.session import store
from agent.context import AgentContext
from agent.planner.chat_model import Planner
from agent.session.session import open_session
from langgraph.checkpoint.sqlite import SqliteSaver
from tools.project import Project

project, moment, count = Project(Path(sys.argv[2])), sys.argv[3], int(sys.argv[4])
passed = 0

def dying(place, function, after):
    def wrapped(*arguments, **keywords):
        global passed
        if place == moment:
            passed += 1
        if place == moment and passed == count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **keywords)
        if place == moment and passed == count and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped

store.Store.begin_call = dying("before the ledger", store.Store.begin_call, False)
store.Store.begin_call = dying("after the ledger", store.Store.begin_call, True)
store.Store.end_call = dying("after the effect", store.Store.end_call, False)
store.Store.end_call = dying("before the checkpoint", store.Store.end_call, True)
SqliteSaver.put = dying("at a checkpoint", SqliteSaver.put, False)
SqliteSaver.put = dying("after a checkpoint", SqliteSaver.put, True)
SqliteSaver.put_writes = dying("at a write", SqliteSaver.put_writes, False)
with open_session(AgentContext(project, Planner(), fixtures.counting_tools())) as session:
    if session.is_unfinished:
        list(session.resume())
    elif session.pending() is None:
        list(session.begin("the look of my film, 7 steps", until="monitor"))
    while session.pending() is not None:
        list(session.answer(True, until="monitor"))
print("whole")
"""
QUICK = [("before the ledger", 3), ("after the effect", 4), ("before the checkpoint", 4), ("at a checkpoint", 9)]
MORE = [
    ("before the ledger", 1),
    ("after the ledger", 2),
    ("after the ledger", 4),
    ("after the effect", 1),
    ("after the effect", 3),
    ("before the checkpoint", 1),
    ("at a checkpoint", 3),
    ("after a checkpoint", 5),
    ("at a write", 4),
    ("at a write", 12),
]
MOMENTS = [*QUICK, *(pytest.param(*moment, marks=pytest.mark.soak) for moment in MORE)]


def hold(project: Project, moment: str, count: int) -> int:
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(HERE / "conftest.py"), str(project.path), moment, str(count)],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode in (0, -signal.SIGKILL), ran.stderr
    return ran.returncode


@pytest.mark.parametrize(("moment", "count"), MOMENTS)
def test_killed_and_taken_up_again(project: Project, counting_context: AgentContext, moment: str, count: int) -> None:
    assert hold(project, moment, count) == -signal.SIGKILL
    with open_session(counting_context) as session:
        _bring_to_the_end(session)
        assert session.pending() is None
        assert not session.is_unfinished
    effects = (project.path / "effects").read_text().split()
    assert effects.count("start_training") == 1
    assert '"steps":7' in project.config_path.read_text()
    # tools whose effect is the same each time may run again where the kill fell between it and the ledger
    for tool in ("inspect_clips", "caption_clips", "draft_config"):
        assert effects.count(tool) <= (2 if moment == "after the effect" else 1), (tool, effects)


@pytest.mark.soak
def test_killed_again_and_again(project: Project, counting_context: AgentContext) -> None:
    """Each life gets a little further; at last it is whole."""
    for life in range(3):
        hold(project, "after a checkpoint", 4 + life)
    with open_session(counting_context) as session:
        _bring_to_the_end(session)
    assert (project.path / "effects").read_text().split().count("start_training") == 1


def test_killed_from_outside(project: Project, counting_context: AgentContext) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(HERE / "conftest.py"), str(project.path), "never", "0"],
        cwd=HERE.parents[1],
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (project.path / "effects").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with open_session(counting_context) as session:
        _bring_to_the_end(session)
    assert (project.path / "effects").read_text().split().count("start_training") == 1
    assert json.loads(project.config_path.read_text())["steps"] == 7


def _bring_to_the_end(session: Session) -> None:
    if session.is_unfinished:
        list(session.resume())
    elif not session.state:
        list(session.begin("the look of my film, 7 steps", until="monitor"))
    while session.pending() is not None:
        list(session.answer(True, until="monitor"))
