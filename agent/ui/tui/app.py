"""The application: it opens projects, and takes what threads and panes post to the part of it that acts on them.

The parts: `chat` (the conversation), `observed` (the project's files), `commands` (slash commands), `files` (work on
files). Three kinds of threads only post: the conversation, the watcher of the project's files, and short workers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.screen import Screen

from agent.ui.tui.chat import Chat
from agent.ui.tui.commands import SlashCommands
from agent.ui.tui.conversation import Told, context_of_project
from agent.ui.tui.file_actions import FileActions
from agent.ui.tui.observed import Observed
from agent.ui.tui.panes.chat import ChatPane, TranscriptView
from agent.ui.tui.screens.workbench import PANES, Workbench
from agent.ui.tui.themes import DARK, THEMES, fitting_theme, opposite
from agent.ui.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from agent.context import AgentContext
    from agent.ui.shared.watch import ProjectWatcher
    from agent.ui.tui.panes.clips import ClipsPane
    from agent.ui.tui.panes.curves import CurvesPane
    from agent.ui.tui.panes.plan import PlanPane
    from agent.ui.tui.panes.run import RunPane
    from agent.ui.tui.panes.samples import SamplesPane
    from agent.ui.tui.screens.welcome import Welcome
    from agent.ui.tui.widgets.entries import ApprovalCard
    from tools.project import Project


@dataclass
class Posted(Message):
    """What a thread has to tell."""

    payload: object


class LtxApp(App[None]):
    """The full screen over one project at a time."""

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
        open_context: "Callable[[Project, str], AgentContext]" = context_of_project,
    ) -> None:
        super().__init__(ansi_color=None)
        self._target = target
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme or fitting_theme(self.console.color_system)
        self._colours = self.get_css_variables()
        self.stylesheet.set_variables(self._colours)
        self.picture_kind = picture_kind
        self.project: Project | None = None
        self.watcher: ProjectWatcher | None = None
        self.workbench = Workbench()
        self.chat = Chat(self, lambda project: open_context(project, llm), self._post)
        self.observed = Observed(self.workbench)
        self.commands = SlashCommands(self)
        self.files = FileActions(self)
        self._is_filled = False

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

        welcome = self.screen if isinstance(self.screen, Welcome) else Welcome()
        if welcome is not self.screen:
            self.push_screen(welcome)
        if error:
            self.call_after_refresh(welcome.refuse, error)

    def _open(self, project: "Project", goal: str | None) -> None:
        self.run_worker(self.open_project(project, goal), group="open", exclusive=True)

    async def open_project(self, project: "Project", goal: str | None = None) -> None:
        """Show this project and take up its conversation where it was."""
        from agent.ui.shared.watch import ProjectWatcher
        from agent.ui.tui.screens.welcome import Welcome

        if isinstance(self.screen, Welcome):
            self.pop_screen()
        self.close_threads(wait_s=0.0)
        self.project = project
        self.observed = Observed(self.workbench)
        self.watcher = ProjectWatcher(project, self._post)
        await self.chat.open(project, goal)
        self.watcher.start()
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
        if isinstance(payload, Told):
            await self.chat.hear(payload)
        elif self._is_filled:
            self._observe(payload)

    def _observe(self, payload: object) -> None:
        from agent.ui.shared.watch import Missed

        if isinstance(payload, Missed):
            self.chat.missed(list(payload.lines))
        else:
            self.observed.show(payload)
            self.show_head()

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
            "conversation": self.chat.is_opening,
            "files": not self.observed.has_files,
            "runs": not self.observed.has_latest_run,
            "turn": self.chat.is_busy,
            "answer": self.talk.card is not None and self.talk.card.is_deciding,
        }
        return [name for name, waiting in waits.items() if waiting]

    @property
    def talk(self) -> ChatPane:
        return self.workbench.talk

    @property
    def plan(self) -> "PlanPane":
        return self.workbench.plan

    @property
    def curves(self) -> "CurvesPane":
        return self.workbench.curves

    @property
    def runs(self) -> tuple[str, ...]:
        return self.observed.runs

    def show_head(self) -> None:
        from agent.ui.tui.head import about_project, about_run

        if self.project is None:
            return
        seen = self.observed.run_in_front
        run = about_run(seen, self.workbench.size.width) if seen is not None else Content.styled("no run yet", "$muted")
        self.workbench.show_head(about_project(self.project, self.chat.model), run)

    def glance_at_files(self) -> None:
        """Have the watcher look now: something has just been written."""
        if self.watcher is not None:
            self.watcher.glance()

    @on(Prompt.Sent)
    def _sent(self, message: Prompt.Sent) -> None:
        if self.commands.run(message.text):
            return
        card = self.talk.card
        if card is None:
            self.chat.say(message.text)
            return
        from agent.approvals.consent import consent_of

        consent = consent_of(message.text, card.approval)
        if consent is None:
            self.chat.say(message.text)
        elif message.early or not card.was_seen_at(message.time):
            self.talk.notice(f"“{message.text}” was begun before this was asked, so it is no answer to it.")
            self.talk.take_focus()
        else:
            self.chat.answer(consent == "yes")

    def on_approval_card_answered(self, message: "ApprovalCard.Answered") -> None:
        self.chat.answer(message.approved)

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
        self.chat.interrupt()

    @on(Prompt.Dropped)
    def _dropped(self, message: Prompt.Dropped) -> None:
        folders = [path for path in message.paths if path.is_dir()]
        if len(folders) == 1 and len(message.paths) == 1:
            self.open_folder(folders[0])
        else:
            from agent.text.sanitize import shell_quote

            self.talk.prompt.write(" ".join(shell_quote(path) for path in message.paths))

    @on(TranscriptView.CopyWanted)
    def copy_answer(self) -> None:
        if self.talk.last_said:
            self.copy_to_clipboard(self.talk.last_said)
            self.notify("The last answer is copied.")
        else:
            self.notify("There is no answer to copy yet.")

    # The handlers below carry Textual's names for the panes' messages, so that no pane is imported to be heard.

    def on_welcome_chosen(self, message: "Welcome.Chosen") -> None:
        self._find_project(message.folder, message.goal)

    def on_curves_pane_look_closer(self, message: "CurvesPane.LookCloser") -> None:
        if self.watcher is not None:
            self.watcher.look_closer(message.run, message.first, message.last)

    def on_curves_pane_chosen(self, message: "CurvesPane.Chosen") -> None:
        if self.watcher is not None:
            self.watcher.choose(message.run, message.compared)
        self.observed.choose(message.run, message.compared)
        self.show_head()

    def on_run_pane_say(self, message: "RunPane.Say") -> None:
        self.workbench.show("talk")
        self.chat.say(message.words)

    def on_run_pane_step(self, message: "RunPane.Step") -> None:
        self.curves.action_run(message.direction)

    def on_samples_pane_open_wanted(self, message: "SamplesPane.OpenWanted") -> None:
        self.files.show_with_system(message.path)

    def on_clips_pane_open_wanted(self, message: "ClipsPane.OpenWanted") -> None:
        self.files.show_with_system(message.row.file)

    def on_plan_pane_saved(self, message: "PlanPane.Saved") -> None:
        assert self.project is not None
        self.files.write_plan(self.project, message.text)

    def on_clips_pane_caption_written(self, message: "ClipsPane.CaptionWritten") -> None:
        assert self.project is not None
        self.files.write_caption(self.project, message.row, message.caption, self.glance_at_files)

    def open_folder(self, folder: Path) -> None:
        """Open a project, or make one of a folder of clips."""
        self._find_project(folder)

    def welcome(self) -> None:
        """Let the user choose another project."""
        from agent.ui.tui.screens.welcome import Welcome

        self.push_screen(Welcome())

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette knows every slash command that works on `screen` and the usual ones of an application."""
        yield from self.commands.palette(has_project=screen is self.workbench)
        yield SystemCommand("Themes", "choose one of all themes", self.action_change_theme)
        yield SystemCommand(
            "Save a picture of the screen", "as SVG", lambda: self.set_timer(0.1, self.deliver_screenshot)
        )

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

    def action_help(self) -> None:
        """Show the keys of the place that has the focus, or close them."""
        from agent.ui.tui.screens.keys import Keys, keys_here

        if isinstance(self.screen, Keys):
            self.pop_screen()
        else:
            self.push_screen(keys_here(self))

    def leave(self) -> None:
        """Quit once what is being handled is done."""
        self.call_later(self.action_quit)

    async def action_quit(self) -> None:
        """Leave; what is not saved is asked about, what is at work is told."""
        from agent.ui.tui.screens.question import YesNo

        asks = []
        if self._is_filled and self.plan.is_dirty:
            asks.append("The plan has changes that are not saved.")
        if self.chat.is_working:
            asks.append("The assistant is at work; what it has written stays.")
        if not asks:
            self.exit()
            return
        self.push_screen(YesNo(" ".join([*asks, "Leave all the same?"])), lambda yes: self.exit() if yes else None)

    def close_threads(self, wait_s: float) -> bool:
        """End the threads of the project; False when the conversation is still at work after `wait_s`."""
        if self.watcher is not None:
            self.watcher.close()
        return self.chat.close(wait_s)
