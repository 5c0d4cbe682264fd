"""The conversation's events on the screen: entries of the talk, its work line, and the pane an approval is about."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from agent.approvals.cards import cost_lines
from agent.session.events import Alerted, Asked, Called, Heard, Listener, Progressed, Returned, Said, Streamed
from agent.state import DECLINED
from agent.text.results import SUMMARIES

if TYPE_CHECKING:
    from agent.ui.tui.screens.workbench import Workbench

BESIDE = {"captions": "clips", "start": "run", "resume": "run"}
"""The pane that shows what an approval is about; the plan for all others."""


class OnScreen(Listener[Awaitable[None]]):
    """Hands each event to the talk; its methods are awaited in the application's own loop."""

    def __init__(self, workbench: "Workbench", notify: Callable[..., None]) -> None:
        self._workbench, self._talk, self._notify = workbench, workbench.talk, notify

    async def streamed(self, event: Streamed) -> None:
        await self._talk.streamed(event.text)

    async def said(self, event: Said) -> None:
        await self._talk.said(event.text)

    async def heard(self, event: Heard) -> None:
        self._talk.heard(event.text)

    async def called(self, event: Called) -> None:
        if event.tool != "go_to":
            self._talk.called(event.tool, event.arguments)
            self._talk.working(event.tool.replace("_", " "))

    async def returned(self, event: Returned) -> None:
        if event.tool != "go_to":
            refusal = "declined" if event.refusal == DECLINED else event.refusal
            self._talk.returned(event.result, refusal, _summary(event.tool, event.result))

    async def progressed(self, event: Progressed) -> None:
        self._talk.working(event.what, event.done, event.total)

    async def alerted(self, event: Alerted) -> None:
        self._talk.notice(event.message, event.level, event.evidence)
        if event.level != "note":
            self._notify(event.message, severity="warning" if event.level == "warn" else "error")

    async def asked(self, event: Asked) -> None:
        question = event.question
        self._talk.ask(question.approval, question.question, question.details, cost_lines(question.costs))
        self._workbench.show_beside(BESIDE.get(question.approval, "plan"))


def _summary(tool: str, result: dict[str, Any] | None) -> list[str]:
    if result is None or tool not in SUMMARIES:
        return []
    try:
        return list(SUMMARIES[tool](result))
    except (KeyError, TypeError):  # a result that was shortened for the session file, or of an earlier version
        return []
