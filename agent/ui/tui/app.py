"""The application: it owns the state, hears the workers' messages and hands each pane what it shows.

Three threads work for it and only post: the conversation, the watcher of the project's files, and short workers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message

from agent.ui.tui.commands import SlashCommands
from agent.ui.tui.conversation import Began, Closed, ConversationThread, Ended, Happened, Opened, context_of_project
from agent.ui.tui.pane_messages import PaneWishes
from agent.ui.tui.screens.workbench import PANES, Workbench
from agent.ui.tui.themes import DARK, THEMES, fitting_theme, opposite
from agent.ui.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from agent.session.events import Event
    from agent.session.slash import Command
    from agent.ui.tui.widgets.entries import ApprovalCard
    from tools.project import Project

SHOWN_AT_FIRST = 60
"""How many events of an earlier talk are shown on opening; /export writes all of them."""


@dataclass
class Posted(Message):
    """What a thread has to tell."""

    payload: object


class LtxApp(SlashCommands, PaneWishes, App[None]):
    """Talk, plan and curves of one project."""

    CSS_PATH = "ltx.tcss"
    TITLE = "ltx-agent"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "keys", show=False, priority=True),
        *(
            Binding(f"f{number},alt+{number - 1}", f"show_pane('{name}')", title, show=False, priority=True)
            for number, (name, title) in enumerate(PANES, start=2)
        ),
        Binding("f8", "zoom", "whole screen", show=False, priority=True),
        Binding("ctrl+t", "toggle_theme", "theme", show=False, priority=True),
        Binding("ctrl+p", "command_palette", "commands", priority=True),
        Binding("ctrl+q", "quit", "quit", priority=True),
    ]

    def __init__(
        self,
        target: Path | None = None,
        llm: str = "auto",
        *,
        theme: str | None = None,
        picture_kind: Any = None,
        open_context: "Callable[[Project, str], Any]" = context_of_project,
    ) -> None:
        super().__init__(ansi_color=None)
        self._target, self._llm, self._open_context = target, llm, open_context
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme or fitting_theme(self.console.color_system)
        self._colours = self.get_css_variables()
        self.stylesheet.set_variables(self._colours)
        self.picture_kind = picture_kind
        self.project: Project | None = None
        self.conversation: ConversationThread | None = None
        self.watcher: Any = None
        self.workbench = Workbench()
        self.is_working = False
        self.model = ""
        self.runs: tuple[str, ...] = ()
        self.seen: dict[str, Any] = {}
        self._chosen: tuple[str | None, str | None] = (None, None)
        self._texts: dict[str, str | None] = {}
        self._goal: str | None = None
        self._is_filled = False
        self._turns_waiting = 0
        self._missed: list[str] = []

    def get_default_screen(self) -> Workbench:
        return self.workbench

    def refresh_css(self, animate: bool = True) -> None:
        """Apply the colours anew; mounting asks for this too, when they are those that were just parsed."""
        colours = self.get_css_variables()
        if colours != self._colours:
            self._colours = colours
            super().refresh_css(animate)

    def on_mount(self) -> None:
        self.call_after_refresh(self._fill)

    async def _fill(self) -> None:
        """After the first sight of the screen: the other panes, then the project."""
        await self.workbench.fill()
        self._is_filled = True
        self._find_project(self._target)

    @work(thread=True, exclusive=True, group="project")
    def _find_project(self, target: Path | None, goal: str | None = None) -> None:
        """Look for the project that is meant; its clips are counted on the way, so this is no work for the screen."""
        from agent.session.projects import current_project, project_of
        from trainer_core.errors import LtxError

        try:
            found = project_of(target, None, goal=goal or None) if target is not None else current_project()
        except (LtxError, OSError) as error:
            self.call_from_thread(self._no_project, str(error))
            return
        if found is None:
            self.call_from_thread(self._no_project, "")
        else:
            self.call_from_thread(self._open, found, goal)

    def _no_project(self, error: str) -> None:
        from agent.ui.tui.screens.welcome import Welcome

        if not isinstance(self.screen, Welcome):
            self.push_screen(Welcome())
        if error:
            self.call_after_refresh(lambda: self.screen.refuse(error))  # type: ignore[attr-defined]

    def _open(self, project: "Project", goal: str | None) -> None:
        self.run_worker(self.open_project(project, goal), group="open", exclusive=True)

    async def open_project(self, project: "Project", goal: str | None = None) -> None:
        """Show this project and take up its conversation where it was."""
        from agent.ui.shared.history import PromptHistory
        from agent.ui.shared.watch import ProjectWatcher
        from agent.ui.tui.screens.welcome import Welcome

        if isinstance(self.screen, Welcome):
            self.pop_screen()
        self.close_threads(wait_s=0.0)
        self.project, self._goal = project, goal
        self.seen, self.runs, self._texts, self._chosen = {}, (), {}, (None, None)
        self.model, self._turns_waiting, self._missed = "", 0, []
        await self.talk.clear()
        self.talk.prompt.past = PromptHistory(project.path / ".prompt-history.jsonl")
        self.watcher = ProjectWatcher(project, self._post)
        self.watcher.start()
        self.conversation = ConversationThread(lambda: self._open_context(project, self._llm), self._post)
        self.conversation.start()
        self.talk.working("opening the conversation")
        self.show_head()
        self.workbench.show("talk")

    def _post(self, payload: object) -> None:
        """Called from the threads."""
        self.post_message(Posted(payload))

    @on(Posted)
    async def _hear(self, message: Posted) -> None:
        payload = message.payload
        if not self.workbench.query("#head, #talk"):  # the screen is being taken down; threads may still post
            return
        if isinstance(payload, Happened):
            await self._happened(payload.event)
        elif isinstance(payload, Began):
            self.is_working = True
            self._turns_waiting = max(self._turns_waiting - 1, 0)
            self.talk.working("thinking")
        elif isinstance(payload, Ended):
            self._ended(payload)
        elif isinstance(payload, Opened):
            await self._opened(payload)
        elif isinstance(payload, Closed):
            self.conversation = None
            self.talk.working("")
            self.talk.notice(f"The conversation can't be opened: {payload.error}", "stop")
            self._tell_missed()
        elif self._is_filled:
            self._seen(payload)

    async def _opened(self, opened: Opened) -> None:
        self.talk.working("")
        self.model = opened.model
        hidden = max(len(opened.history) - SHOWN_AT_FIRST, 0)
        if hidden:
            self.talk.notice(f"{hidden} earlier entries are not shown; /export writes all of them into a file.")
        for event in opened.history[hidden:]:
            await self._happened(event)
        self._tell_missed()
        self.show_head()
        if not opened.history and self.conversation is not None and self.project is not None:
            self._greet()

    def _greet(self) -> None:
        """Begin by itself when the clips have not been looked at; else say what can be said."""
        assert self.project is not None
        assert self.conversation is not None
        answers = "the built-in planner (rules, no language model)" if self.model == "builtin" else self.model
        self.talk.notice(f"You talk to {answers}. Type / for commands; F1 shows the keys.")
        if not self.project.report_path.exists():
            goal = self._goal if self._goal is not None else self.project.facts.goal
            if goal:
                self.talk.heard(goal)
            self.in_conversation(lambda session: session.begin(goal, until="monitor"))

    async def _happened(self, event: "Event") -> None:
        from agent.ui.tui.listener import OnScreen

        await event.tell(OnScreen(self))

    def _ended(self, ended: Ended) -> None:
        self.is_working = False
        self.talk.working("")
        if ended.model and ended.model != self.model:
            self.model = ended.model
            self.show_head()
        if ended.interrupted and not ended.is_told:
            self.talk.notice("Interrupted; what was written stays.")
        if ended.error is not None:
            self.talk.notice(str(ended.error), "stop")
        if self.watcher is not None:
            self.watcher.glance()

    def _seen(self, payload: object) -> None:
        """What the watcher saw goes to the panes that show it."""
        from agent.ui.shared.clips import clip_rows
        from agent.ui.shared.watch import Detail, FilesSeen, Missed, RunSeen, RunsSeen

        bench = self.workbench
        if isinstance(payload, RunSeen):
            self.seen[payload.id] = payload
            compared = payload.id == self._chosen[1]
            self.curves.show_run(payload)
            if not compared:
                bench.query_one("#run").show_run(payload)  # type: ignore[attr-defined]
                bench.query_one("#samples").show_run(payload)  # type: ignore[attr-defined]
                self.show_head()
        elif isinstance(payload, RunsSeen):
            self.runs = self.talk.prompt.runs = payload.ids
            self.curves.show_runs(payload.ids)
            bench.query_one("#run").show_runs(payload.ids)  # type: ignore[attr-defined]
        elif isinstance(payload, Missed):
            self._missed = list(payload.lines)
            if self.model or self.conversation is None:
                self._tell_missed()
        elif isinstance(payload, Detail):
            self.curves.show_detail(payload.run, payload.steps)
        elif isinstance(payload, FilesSeen):
            self._texts |= payload.texts
            if "config.yaml" in payload.texts:
                self.plan.show_file(payload.texts["config.yaml"])
            if payload.texts.keys() & {"report.json", "captions.jsonl", "dataset.jsonl"}:
                texts = (self._texts.get(name) for name in ("report.json", "captions.jsonl", "dataset.jsonl"))
                bench.query_one("#clips").show_rows(clip_rows(*texts))  # type: ignore[attr-defined]

    def _tell_missed(self) -> None:
        """Say what happened meanwhile below what was talked before, where it is in sight."""
        if self._missed:
            self.talk.notice("While you were away:", "warn", self._missed)
            self._missed = []

    @property
    def is_settled(self) -> bool:
        """Whether the project is open, its files are seen, and no turn goes on."""
        return not self.under_way

    @property
    def under_way(self) -> list[str]:
        """What the screen still waits for."""
        waits = {
            "panes": not self._is_filled,
            "project": self.project is None,
            "conversation": self.conversation is not None and not self.model,
            "files": not self._texts,
            "runs": any(run not in self.seen for run in self.runs[-1:]),
            "turn": self.is_working or self._turns_waiting > 0,
            "answer": self.talk.card is not None and self.talk.card.is_deciding,
        }
        return [name for name, waiting in waits.items() if waiting]

    @property
    def talk(self) -> Any:
        return self.workbench.query_one("#talk")

    @property
    def plan(self) -> Any:
        return self.workbench.query_one("#plan")

    @property
    def curves(self) -> Any:
        return self.workbench.query_one("#curves")

    def show_head(self) -> None:
        from agent.ui.tui.head import about_project, about_run

        if self.project is None:
            return
        shown = self._chosen[0] if self._chosen[0] in self.seen else (self.runs[-1] if self.runs else None)
        seen = self.seen.get(shown) if shown else None
        run = about_run(seen, self.workbench.size.width) if seen is not None else Content.styled("no run yet", "$muted")
        self.workbench.show_head(about_project(self.project, self.model), run)

    @on(Prompt.Sent)
    def _sent(self, message: Prompt.Sent) -> None:
        if self.run_slash(message.text):
            return
        card = self.talk.card
        if card is None:
            self.say(message.text)
            return
        from agent.approvals.consent import consent_of

        consent = consent_of(message.text, card.approval)
        if consent is None:
            self.say(message.text)
        elif message.early or not card.was_seen_at(message.time):
            self.talk.notice(f"“{message.text}” was begun before this was asked, so it is no answer to it.")
            self.talk.take_focus()
        else:
            self.answer(consent == "yes")

    def say(self, words: str) -> None:
        """Say something to act on; while a card waits it is answered with these words, never with yes or no."""
        if self.conversation is None:
            self.notify("There is no conversation to talk in.", severity="warning")
            return
        if self.talk.card is not None:
            self.answer(False, words)
            return
        self.talk.heard(words)
        self.in_conversation(lambda session: session.say(words))
        if self.is_working:
            self.talk.notice("It is at work; that comes next. Esc interrupts it.")

    def order(self, command: "Command") -> None:
        """Have the tool of a slash command called; an approval that waits stands again after it."""
        if self.conversation is None:
            self.notify("There is no conversation to talk in.", severity="warning")
            return
        if self.talk.card is not None:
            self.talk.answered("left open")
        words, tool = f"/{command.name}", command.calls
        self.talk.heard(words)
        self.in_conversation(lambda session: session.order(tool, words))
        if self.is_working:
            self.talk.notice("It is at work; that comes next. Esc interrupts it.")

    def answer(self, approved: bool, words: str = "") -> None:
        """Answer the approval that is asked for."""
        if self.conversation is None or self.talk.card is None:
            return
        self.talk.answered(f"you said {'yes' if approved else 'no'}" if not words else "answered in words")
        if words:
            self.talk.heard(words)
        self.in_conversation(lambda session: session.answer(approved, words, until="monitor"))

    def on_approval_card_answered(self, message: "ApprovalCard.Answered") -> None:
        self.answer(message.approved)

    def on_approval_card_words_begun(self, message: "ApprovalCard.WordsBegun") -> None:
        prompt = self.talk.prompt
        prompt.focus()
        prompt.is_early = prompt.is_early or message.early
        if message.characters == "\n":
            prompt.action_send()
        else:
            prompt.insert(message.characters)

    @on(Prompt.Escaped)
    def _escaped(self) -> None:
        if self.is_working and self.conversation is not None:
            self.conversation.interrupt()
            self.talk.working("interrupting")

    @on(Prompt.Dropped)
    def _dropped(self, message: Prompt.Dropped) -> None:
        folders = [path for path in message.paths if path.is_dir()]
        if len(folders) == 1 and len(message.paths) == 1:
            self.open_folder(folders[0])
        else:
            from agent.text.sanitize import shell_quote

            self.talk.prompt.write(" ".join(shell_quote(path) for path in message.paths))

    def choose_run(self, run: str | None, compared: str | None) -> None:
        """Show this run in every pane, compared with another one."""
        self._chosen = (run, compared)
        if self.watcher is not None:
            self.watcher.choose(run, compared)
        for name in (run, compared):
            if name in self.seen:
                self._seen(self.seen[name])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The panes' keys work where the panes are: not on the welcome."""
        if action in ("show_pane", "zoom") and self.screen_stack[-1:] != [self.workbench]:
            return False
        return super().check_action(action, parameters)

    def action_show_pane(self, name: str) -> None:
        self.workbench.show(name)

    def action_zoom(self) -> None:
        self.workbench.zoom()

    def action_toggle_theme(self) -> None:
        self.theme = opposite(self.theme or DARK)

    async def action_quit(self) -> None:
        """Leave; what is not saved is asked about, what is at work is told."""
        from agent.ui.tui.screens.question import YesNo

        asks = []
        if self._is_filled and self.plan.is_dirty:
            asks.append("The plan has changes that are not saved.")
        if self.is_working:
            asks.append("The assistant is at work; what it has written stays.")
        if not asks:
            self.exit()
            return
        self.push_screen(YesNo(" ".join([*asks, "Leave all the same?"])), lambda yes: self.exit() if yes else None)

    def close_threads(self, wait_s: float) -> bool:
        """End the threads of the project; False when the conversation is still at work after `wait_s`."""
        if self.watcher is not None:
            self.watcher.close()
        return self.conversation is None or self.conversation.close(wait_s)
