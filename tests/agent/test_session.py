"""A conversation outlives its process: interrupts and words are there again, and the file stays small and private."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agent.context import AgentContext
from agent.session.events import Said
from agent.session.session import open_session
from agent.session.store import KEPT_DECISIONS
from tools.project import Project
from trainer_core.errors import ConfigError, ExternalError
from trainer_core.run_folder import RunFolder

HERE = Path(__file__).parent

RESUME = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("fixtures", sys.argv[1])
fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fixtures)
from agent.context import AgentContext
from agent.planner.chat_model import Planner
from agent.session.session import open_session
from agent.session.store import KEPT_DECISIONS
from tools.project import Project
with open_session(AgentContext(Project(Path(sys.argv[2])), Planner(), fixtures.TOOLS)) as session:
    print(session.pending().approval)
    list(session.answer(True))
    print(session.pending().approval)
"""


def test_an_approval_waits_for_another_process(context: AgentContext, project: Project) -> None:
    with open_session(context) as session:
        list(session.begin("the look of my film, 25 steps", until="monitor"))
    fixtures = str(HERE / "conftest.py")
    root = str(HERE.parents[1])
    resumed = subprocess.run(
        [sys.executable, "-c", RESUME, fixtures, str(project.path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert resumed.stdout.split() == ["captions", "plan"], resumed.stderr
    assert '"steps":25' in project.config_path.read_text()
    with open_session(context) as session:
        pending = session.pending()
        assert pending is not None
        assert pending.approval == "plan"


def test_one_process_at_a_time(context: AgentContext) -> None:
    with open_session(context), pytest.raises(ConfigError, match="Another ltx-agent"), open_session(context):
        pass


def test_checkpoints_are_pruned_to_what_can_be_undone(context: AgentContext, checkpoints: Callable[[], int]) -> None:
    with open_session(context) as session:
        list(session.begin("the look of my film", until="monitor"))
        for _ in range(KEPT_DECISIONS + 5):
            list(session.say("what does rank mean?"))
        assert session.state["messages"][-1].text.startswith("Rank")
    assert checkpoints() == KEPT_DECISIONS + 1


def test_the_session_file_is_in_wal_mode(context: AgentContext, project: Project) -> None:
    with open_session(context) as session:
        list(session.say("help"))
    with sqlite3.connect(project.session_path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_foreign_type_in_the_session_file_is_not_made(context: AgentContext) -> None:
    stored = JsonPlusSerializer(allowed_msgpack_modules=True).dumps_typed({"x": RunFolder(Path("/elsewhere"))})
    with open_session(context) as session:
        saver: Any = session._graph.checkpointer
        assert not isinstance(saver.serde.loads_typed(stored)["x"], RunFolder)


def test_a_broken_session_file_is_named(context: AgentContext, project: Project) -> None:
    project.session_path.write_bytes(b"this is no database at all, not by far" * 100)
    with pytest.raises(ConfigError, match=r"session\.sqlite can't be used"), open_session(context):
        pass


def test_a_question_left_open_is_answered_before_the_talk_goes_on(context: AgentContext) -> None:
    with open_session(context) as session:
        list(session.begin("the look of my film", until="monitor"))
        list(session.answer(True))
        list(session.answer(True))
        list(session.say("what does rank mean?"))
        messages = session.state["messages"]
        question = session.pending()
    open_calls: set[str] = set()
    for message in messages:
        if isinstance(message, ToolMessage):
            open_calls.discard(message.tool_call_id)
            continue
        assert not open_calls
        if isinstance(message, AIMessage):
            open_calls |= {str(call["id"]) for call in message.tool_calls}
    assert question is not None
    assert question.approval == "start"
    assert len(open_calls) == 1  # the card's own, which stands again


def test_undecodable_names_survive(scripted: Callable[..., AgentContext], project: Project, call: Any) -> None:
    context = scripted(call("inspect_clips"), AIMessage("Done."), AIMessage("Done."))
    with open_session(context) as session:
        events = list(session.begin("a goal \udcff", until="draft"))
    assert Said("Done.") in events


def test_a_full_disk_is_said_in_words(context: AgentContext, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_session(context) as session:
        list(session.say("help"))
        saver: Any = session._graph.checkpointer
        pages = saver.conn.execute("PRAGMA page_count").fetchone()[0]
        saver.conn.execute(f"PRAGMA max_page_count={pages}")  # SQLite's own full disk
        with pytest.raises(ExternalError, match="disk is full"):
            list(session.say("help " * 20_000))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_a_new_project_is_private(tmp_path: Path) -> None:
    from agent.session.projects import project_of

    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "a.mp4").touch()
    project = project_of(clips, tmp_path / "deep" / "project")
    assert stat.S_IMODE(project.path.stat().st_mode) == 0o700 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
