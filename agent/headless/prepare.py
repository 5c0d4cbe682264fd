"""The graph without a conversation: `prepare` runs its first three nodes in one go."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from agent.context import AgentContext
from agent.llm.settings import load_settings
from agent.planner.objective_talk import GO_ON, says_what_to_learn
from agent.session.events import Asked, Event, Listener, Question, Returned, Said
from agent.session.session import Session, open_session
from agent.state import FINISHED_BY, artifacts_of
from agent.text.sanitize import shell_quote
from agent.turn.policies.question_limit import asks
from tools.project import Project
from trainer_core.errors import ApprovalNeeded, ExternalError, error_of

Approve = Callable[[Question], bool | str]
"""Answers a card: yes, no, or words to act on, after which the card comes again."""

_LOOK_AT = {"captions": "captions.jsonl", "plan": "plan.md and config.yaml"}


def prepare(
    project: Project,
    model: BaseChatModel,
    fixed: dict[str, Any],
    approve: Approve,
    show: Callable[[Event], None],
    reply: Callable[[], str | None] = lambda: None,
) -> dict[str, Any]:
    """Inspect, caption and draft through the graph; return what `prepare --json` prints.

    `reply` is asked for the user's words after a question; None where nobody is there to answer. Raises ApprovalNeeded
    when `approve` declines or a question stays open, and the error of a tool that failed.
    """
    with open_session(AgentContext(project, model, settings=load_settings())) as session:
        results, words = _run(session, project, fixed, approve, show, reply)
        error = session.state["error"]
    if error is not None and not error.get("by_model"):
        raise error_of(error["message"], error["hint"], error["exit_code"])
    if "draft_config" not in results:
        raise ExternalError(
            f"The language model ended without a plan. Its last words: {words or 'none'}", "Try --llm builtin."
        )
    return {
        "project": str(project.path),
        "artifacts": {name: str(project.path / relative) for name, relative in artifacts_of(project).items()},
        "summary": {FINISHED_BY[tool]: result for tool, result in results.items()},
        "next": f"ltx-agent train {project_word(project.path)}",
    }


def project_word(path: Path) -> str:
    """The project as a person would type it here: relative when it lies below the current folder."""
    here = Path.cwd()
    relative = path.relative_to(here) if path.is_relative_to(here) else path
    return shell_quote(relative if not str(relative).startswith("-") else path)


def _run(
    session: Session,
    project: Project,
    fixed: dict[str, Any],
    approve: Approve,
    show: Callable[[Event], None],
    reply: Callable[[], str | None],
) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the results of the stages' tools by name, and the model's last words."""
    heard = _Collected(show)
    events: Iterator[Event] | None = session.begin(project.facts.goal, until="draft", fixed=fixed)
    while events is not None:
        heard.question = None
        for event in events:
            event.tell(heard)
        question = heard.question
        answer = approve(question) if question is not None else True
        if question is not None and question.approval == "fallback" and answer is not True:
            events = session.answer(False)  # what failed is raised at the end
            continue
        if question is not None and answer is False:
            judged = _LOOK_AT.get(question.approval, "what was asked")
            raise ApprovalNeeded(
                f"The approval `{question.approval}` is needed and was not given.",
                f"Look at {judged} in {project_word(project.path)}, correct what is wrong, "
                "then run it again with --yes.",
            )
        if question is not None:
            events = session.answer(answer is True, answer if isinstance(answer, str) else "")
        elif "draft_config" in heard.results or heard.has_failed or not asks(heard.words):
            events = None
        else:
            events = session.say(_answer_to(heard.words, project, reply), until="draft")
            heard.words = ""
    return heard.results, heard.words


class _Collected(Listener[None]):
    """Keeps what `prepare` returns and shows the events, but for what is asked and for words about an error."""

    def __init__(self, show: Callable[[Event], None]) -> None:
        self.results: dict[str, dict[str, Any]] = {}
        self.words = ""
        self.question: Question | None = None
        self._show = show
        self.has_failed = False

    def asked(self, event: Asked) -> None:
        self.question = event.question

    def returned(self, event: Returned) -> None:
        if event.result is not None and event.tool in FINISHED_BY:
            self.results[event.tool] = event.result
        self.has_failed = bool(event.refusal)
        self._show(event)

    def said(self, event: Said) -> None:
        self.words = event.text
        if not self.has_failed:  # the error itself is raised at the end, and shown then
            self._show(event)

    def other(self, event: Event) -> None:
        self._show(event)


def _answer_to(question: str, project: Project, reply: Callable[[], str | None]) -> str:
    """The user's answer; where nobody is there and no goal was named, the likeliest is taken and the plan says so.

    Raises ApprovalNeeded where a goal was named and not understood: that is never guessed.
    """
    words = reply()
    if words is not None:
        return words
    if not says_what_to_learn(project.facts.goal):
        return GO_ON
    raise ApprovalNeeded(
        f"A question is open: {question}", "Say it in other words with --goal, or name the objective with --objective."
    )
