"""A project on disk, small tools that are real Tools, and a chat model that says what a script says."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ConfigDict, Field

from agent.desk import Desk
from agent.planner import Planner
from agent.session import Event, Session, open_session
from agent.state import Stage
from tools.project import Progress, Project, ProjectFacts
from tools.spec import Tool
from trainer_core.errors import DataError
from trainer_core.files import write_json, write_jsonl, write_text


class Scripted(BaseChatModel):
    """A chat model that gives its replies in order and keeps what it was shown."""

    replies: list[AIMessage]
    seen: list[list[BaseMessage]] = Field(default_factory=list)
    bound: list[list[str]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        self.bound.append([tool["function"]["name"] for tool in tools])
        return self.bind(tools=tools)

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        self.seen.append(messages)
        return ChatResult(generations=[ChatGeneration(message=self.replies.pop(0))])


def calling(tool: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": f"id-{tool}"}])


class Nothing(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CaptionChoices(BaseModel):
    model_config = ConfigDict(extra="forbid")
    captioner: str = "auto"
    trigger: str | None = None


class DraftChoices(BaseModel):
    model_config = ConfigDict(extra="forbid")
    objective: str | None = None
    adapter: str | None = None
    steps: int | None = Field(default=None, ge=1)
    rank: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None


class Report(BaseModel):
    model_config = ConfigDict(extra="allow")


def inspect_clips(project: Project, arguments: Nothing, progress: Progress) -> Report:
    """Look at the clips."""
    if (project.path / "no-clips").exists():
        raise DataError("The folder holds no clip.", "Put one in.")
    progress("clips", 1, 2)
    write_json(project.report_path, {"clips": []})
    return Report(
        clips=2, usable=2, clips_with_sound=1, sentence="2 of 2 clips.", problems=[], report_html="report.html"
    )


def caption_clips(project: Project, arguments: CaptionChoices, progress: Progress) -> Report:
    """Caption the clips."""
    row = {"path": "a\x1b[31m.mp4", "source": arguments.captioner, "caption": "A red ball.", "needs_review": True}
    write_jsonl(project.captions_path, [row])
    return Report(
        clips=1,
        by_source={arguments.captioner: 1},
        written=1,
        kept=0,
        needs_review=1,
        trigger=arguments.trigger,
        notes=[],
    )


def draft_config(project: Project, arguments: DraftChoices, progress: Progress) -> Report:
    """Draft the plan."""
    write_text(project.config_path, arguments.model_dump_json())
    write_text(project.plan_path, f"The plan: {arguments.steps} steps.\n")
    return Report(
        objective=arguments.objective or "t2v",
        adapter="lora",
        video_only=False,
        values=[],
        sentence="1 of 1.",
        notes=[],
    )


def start_training(project: Project, arguments: Nothing, progress: Progress) -> Report:
    """Start."""
    with (project.path / "started").open("a") as file:
        file.write("x")
    return Report(run="r1", state="running", steps=9, error=None)


class RunChoice(BaseModel):
    model_config = ConfigDict(extra="forbid")
    run: str | None = None


def run_status(project: Project, arguments: RunChoice, progress: Progress) -> Report:
    """Say how it goes."""
    return Report(run="r1", path="/p", state="running", step=3, steps=9, eta_s=30.0, losses={}, verdict=None)


def stop_training(project: Project, arguments: RunChoice, progress: Progress) -> Report:
    """Stop."""
    return Report(message="Run r1 ended as done at step 3 of 9.")


TOOLS: dict[Stage, list[Tool]] = {
    "inspect": [Tool("inspect_clips", inspect_clips, Nothing)],
    "caption": [Tool("caption_clips", caption_clips, CaptionChoices)],
    "draft": [Tool("draft_config", draft_config, DraftChoices)],
    "monitor": [
        Tool("start_training", start_training, Nothing, needs_approval="start"),
        Tool("run_status", run_status, RunChoice),
        Tool("stop_training", stop_training, RunChoice),
    ],
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    path = tmp_path / "project"
    path.mkdir()
    made = Project(path)
    made.write_facts(ProjectFacts(sources=[str(tmp_path / "clips")]))
    return made


@pytest.fixture
def desk(project: Project) -> Desk:
    return Desk(project, Planner(), TOOLS)


@pytest.fixture
def session(desk: Desk) -> Iterator[Session]:
    with open_session(desk) as opened:
        yield opened


@pytest.fixture
def scripted(project: Project) -> Callable[..., Desk]:
    return lambda *replies: Desk(project, Scripted(replies=list(replies)), TOOLS)


@pytest.fixture
def call() -> Callable[..., AIMessage]:
    return calling


@pytest.fixture
def heard() -> Callable[[Iterator[Event]], list[Event]]:
    """Drain a turn."""
    return list


@pytest.fixture
def checkpoints(project: Project) -> Callable[[], int]:
    def count() -> int:
        with sqlite3.connect(project.session_path) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM checkpoints").fetchone()[0])

    return count
