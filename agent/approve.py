"""The three approvals, each a node of its own: nothing happens in it before the person answers.

A node with an interrupt runs again from its top when the answer comes, so these only read.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt

from agent.desk import Desk
from agent.screen import clean, clean_lines
from agent.state import AgentState, Stage, note_from_graph
from agent.turn import answer_to, calls_of
from tools.project import Project
from trainer_core.files import read_jsonl

Approval = Literal["captions", "plan", "start"]

REVIEWS: dict[Stage, Approval] = {"caption": "captions", "draft": "plan"}
"""What a person looks at before the stage after this one begins."""

DECLINED = "The person declined."
SPOT_CHECK_CAPTIONS = 3
PLAN_LINES = 80


@dataclass(frozen=True)
class Question:
    """What a person is asked; `details` are the lines to judge by, fit for a screen."""

    approval: Approval
    question: str
    details: list[str]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Question":
        return cls(value["approval"], value["question"], list(value["details"]))


def answer_of(approved: bool, words: str = "") -> dict[str, Any]:
    """The value that resumes an interrupted approval."""
    return {"approved": approved, "words": words}


def is_approved(approval: Approval, state: AgentState, project: Project) -> bool:
    """Whether this was approved and its file is still as the person saw it."""
    return state["approvals"].get(approval) == _fingerprint(approval, project)


def approve_captions(state: AgentState, runtime: Runtime[Desk]) -> Command[Literal["route"]]:
    """Let the person look at some captions before they shape the plan."""
    project = runtime.context.project
    answer = _ask("captions", "Are these captions right?", _captions_to_check(project))
    return _reviewed("captions", "caption", answer, state, project)


def approve_plan(state: AgentState, runtime: Runtime[Desk]) -> Command[Literal["route"]]:
    """Let the person read the plan before anything follows from it."""
    project = runtime.context.project
    answer = _ask("plan", "Is this plan right?", _plan_to_read(project))
    return _reviewed("plan", "draft", answer, state, project)


def approve_start(state: AgentState, runtime: Runtime[Desk]) -> Command[Literal["monitor_tools", "monitor"]]:
    """Ask before training starts: it takes this machine's time."""
    project = runtime.context.project
    unseen = [name for name in REVIEWS.values() if not is_approved(name, state, project)]
    details = [f"Training runs as a process of its own, by {clean(project.config_path.name)}."]
    if unseen:
        details.append(f"Not reviewed as they now are: {', '.join(unseen)}.")
    answer = _ask("start", "Start training now?", details)
    if answer["approved"]:
        return Command(goto="monitor_tools", update={"approvals": _with("start", state, project)})
    reply = state["messages"][-1]
    assert isinstance(reply, AIMessage)
    declined = [answer_to(call, DECLINED, failed=True) for call in calls_of(reply)]
    words = [HumanMessage(answer["words"])] if answer["words"] else []
    return Command(goto="monitor", update={"messages": [*declined, *words]})


def _ask(approval: Approval, question: str, details: list[str]) -> dict[str, Any]:
    answer = interrupt({"approval": approval, "question": question, "details": details})
    return answer_of(bool(answer["approved"]), str(answer["words"]))


def _reviewed(
    approval: Approval, stage: Stage, answer: dict[str, Any], state: AgentState, project: Project
) -> Command[Literal["route"]]:
    if answer["approved"]:
        return Command(goto="route", update={"approvals": _with(approval, state, project)})
    words = HumanMessage(answer["words"]) if answer["words"] else note_from_graph(f"{DECLINED} ({approval})")
    return Command(goto="route", update={"messages": [words], "finished": None, "stage": stage})


def _with(approval: Approval, state: AgentState, project: Project) -> dict[str, str]:
    return {**state["approvals"], approval: _fingerprint(approval, project)}


def _fingerprint(approval: Approval, project: Project) -> str:
    path = project.captions_path if approval == "captions" else project.config_path
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _captions_to_check(project: Project) -> list[str]:
    rows = read_jsonl(project.captions_path) if project.captions_path.exists() else []
    first = sorted(rows, key=lambda row: not row["needs_review"])[:SPOT_CHECK_CAPTIONS]
    waiting = sum(row["needs_review"] for row in rows)
    lines = [
        f"{len(rows)} captions, {waiting} of them drafts that need a review. All are in {_name(project.captions_path)}."
    ]
    return [*lines, *(f"{clean(row['path'])} ({row['source']}): {clean(row['caption'])}" for row in first)]


def _plan_to_read(project: Project) -> list[str]:
    if not project.plan_path.exists():
        return [f"The values and their reasons are in {_name(project.config_path)}."]
    lines = clean_lines(project.plan_path.read_text(encoding="utf-8", errors="surrogateescape")).strip().split("\n")
    if len(lines) > PLAN_LINES:
        lines = [*lines[:PLAN_LINES], f"… {len(lines) - PLAN_LINES} lines more in {_name(project.plan_path)}."]
    return [*lines, "", f"Every value with its reason: {_name(project.config_path)}."]


def _name(path: Path) -> str:
    return clean(str(path))
