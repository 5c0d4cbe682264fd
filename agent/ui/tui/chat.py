"""The chat of the open project: the thread that holds its session, what the user says, what the chat pane shows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from textual.notifications import SeverityLevel

from agent.ui.tui.conversation import Began, Closed, ConversationThread, Ended, Happened, Opened, Post, Told, Turn

if TYPE_CHECKING:
    from agent.context import AgentContext
    from agent.session.events import Event
    from agent.session.slash import Command
    from agent.ui.tui.panes.chat import ChatPane
    from agent.ui.tui.screens.workbench import Workbench
    from tools.project import Project

SHOWN_AT_FIRST = 60
"""How many events of an earlier talk are shown on opening; /export writes all of them."""


class ChatHost(Protocol):
    """What the chat asks of the application."""

    @property
    def workbench(self) -> "Workbench": ...

    def notify(self, message: str, *, severity: SeverityLevel = "information") -> None: ...

    def show_head(self) -> None: ...

    def glance_at_files(self) -> None: ...


class Chat:
    """One conversation at a time; its thread posts, and `hear` shows what it posted."""

    def __init__(self, host: ChatHost, open_context: "Callable[[Project], AgentContext]", post: Post) -> None:
        self._host, self._open_context, self._post = host, open_context, post
        self._thread: ConversationThread | None = None
        self._project: Project | None = None
        self._goal: str | None = None
        self.model = ""
        self.is_working = False
        self._turns_waiting = 0
        self._missed: list[str] = []

    @property
    def pane(self) -> "ChatPane":
        return self._host.workbench.talk

    @property
    def is_opening(self) -> bool:
        return self._thread is not None and not self.model

    @property
    def is_busy(self) -> bool:
        """Whether a turn goes on or waits for the one before it."""
        return self.is_working or self._turns_waiting > 0

    async def open(self, project: "Project", goal: str | None) -> None:
        """Take up the project's conversation where it was; the one before must be closed."""
        from agent.ui.shared.history import PromptHistory

        self._project, self._goal = project, goal
        self.model, self._turns_waiting, self._missed = "", 0, []
        await self.pane.clear()
        self.pane.prompt.past = PromptHistory(project.path / ".prompt-history.jsonl")
        self._thread = ConversationThread(lambda: self._open_context(project), self._post)
        self._thread.start()
        self.pane.working("opening the conversation")

    def close(self, wait_s: float) -> bool:
        """End the thread; False when it is still at work after `wait_s`."""
        return self._thread is None or self._thread.close(wait_s)

    async def hear(self, told: Told) -> None:
        """Show what the thread posted."""
        match told:
            case Happened(event):
                await self._happened(event)
            case Began():
                self.is_working = True
                self._turns_waiting = max(self._turns_waiting - 1, 0)
                self.pane.working("thinking")
            case Ended():
                self._ended(told)
            case Opened():
                await self._opened(told)
            case Closed(error):
                self._thread = None
                self.pane.working("")
                self.pane.notice(f"The conversation can't be opened: {error}", "stop")
                self._tell_missed()

    def missed(self, lines: list[str]) -> None:
        """Say what happened meanwhile, once what was talked before is in sight."""
        self._missed = lines
        if not self.is_opening:
            self._tell_missed()

    def _tell_missed(self) -> None:
        if self._missed:
            self.pane.notice("While you were away:", "warn", self._missed)
            self._missed = []

    async def _opened(self, opened: Opened) -> None:
        self.pane.working("")
        self.model = opened.model
        hidden = max(len(opened.history) - SHOWN_AT_FIRST, 0)
        if hidden:
            self.pane.notice(f"{hidden} earlier entries are not shown; /export writes all of them into a file.")
        for event in opened.history[hidden:]:
            await self._happened(event)
        self._tell_missed()
        self._host.show_head()
        if not opened.history and self._thread is not None and self._project is not None:
            self._greet(self._project)

    def _greet(self, project: "Project") -> None:
        """Begin by itself when the clips have not been looked at; else say what can be said."""
        answers = "the built-in planner (rules, no language model)" if self.model == "builtin" else self.model
        self.pane.notice(f"You talk to {answers}. Type / for commands; F1 shows the keys.")
        if not project.report_path.exists():
            goal = self._goal if self._goal is not None else project.facts.goal
            if goal:
                self.pane.heard(goal)
            self.take(lambda session: session.begin(goal, until="monitor"))

    async def _happened(self, event: "Event") -> None:
        from agent.ui.tui.listener import OnScreen

        await event.tell(OnScreen(self._host.workbench, self._host.notify))

    def _ended(self, ended: Ended) -> None:
        self.is_working = False
        self.pane.working("")
        if ended.model and ended.model != self.model:
            self.model = ended.model
            self._host.show_head()
        if ended.interrupted and not ended.is_told:
            self.pane.notice("Interrupted; what was written stays.")
        if ended.error is not None:
            self.pane.notice(str(ended.error), "stop")
        self._host.glance_at_files()

    def take(self, turn: Turn) -> None:
        """Run something on the session in its own thread."""
        if self._thread is None:
            self._host.notify("There is no conversation.", severity="warning")
        else:
            self._turns_waiting += 1
            self._thread.take(turn)

    def say(self, words: str) -> None:
        """Say something to act on; while a card waits it is answered with these words, never with yes or no."""
        if self._thread is None:
            self._host.notify("There is no conversation to talk in.", severity="warning")
            return
        if self.pane.card is not None:
            self.answer(False, words)
            return
        self.pane.heard(words)
        self.take(lambda session: session.say(words))
        self._tell_queue()

    def order(self, command: "Command") -> None:
        """Have the tool of a slash command called; an approval that waits stands again after it."""
        if self._thread is None:
            self._host.notify("There is no conversation to talk in.", severity="warning")
            return
        if self.pane.card is not None:
            self.pane.answered("left open")
        words, tool = f"/{command.name}", command.calls
        self.pane.heard(words)
        self.take(lambda session: session.order(tool, words))
        self._tell_queue()

    def _tell_queue(self) -> None:
        if self.is_working:
            self.pane.notice("It is at work; that comes next. Esc interrupts it.")

    def answer(self, approved: bool, words: str = "") -> None:
        """Answer the approval that is asked for."""
        if self._thread is None or self.pane.card is None:
            return
        self.pane.answered(f"you said {'yes' if approved else 'no'}" if not words else "answered in words")
        if words:
            self.pane.heard(words)
        self.take(lambda session: session.answer(approved, words, until="monitor"))

    def interrupt(self) -> None:
        """End the turn that goes on."""
        if self.is_working and self._thread is not None:
            self._thread.interrupt()
            self.pane.working("interrupting")
