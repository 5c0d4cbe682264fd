"""What the panes ask the application for: a part of it, apart so that each can grow.

Handlers carry Textual's names for the panes' messages, so that the panes need not be imported to be heard.
"""

from typing import TYPE_CHECKING, Any

from textual import work
from textual.app import App

if TYPE_CHECKING:
    from agent.ui.tui.app import LtxApp
    from agent.ui.tui.panes.clips import ClipsPane
    from agent.ui.tui.panes.curves import CurvesPane
    from agent.ui.tui.panes.plan import PlanPane
    from agent.ui.tui.panes.run import RunPane
    from agent.ui.tui.panes.samples import SamplesPane
    from agent.ui.tui.screens.welcome import Welcome


class PaneWishes(App[None]):
    """Handlers of the messages of panes and screens."""

    def on_welcome_chosen(self: "LtxApp", message: "Welcome.Chosen") -> None:  # type: ignore[misc]
        self._find_project(message.folder, message.goal)

    def on_curves_pane_look_closer(self: "LtxApp", message: "CurvesPane.LookCloser") -> None:  # type: ignore[misc]
        if self.watcher is not None:
            self.watcher.look_closer(message.run, message.first, message.last)

    def on_curves_pane_chosen(self: "LtxApp", message: "CurvesPane.Chosen") -> None:  # type: ignore[misc]
        self.choose_run(message.run, message.compared)

    def on_run_pane_say(self: "LtxApp", message: "RunPane.Say") -> None:  # type: ignore[misc]
        self.workbench.show("talk")
        self.say(message.words)

    def on_run_pane_step(self: "LtxApp", message: "RunPane.Step") -> None:  # type: ignore[misc]
        self.curves.action_run(message.direction)

    def on_samples_pane_open_wanted(self, message: "SamplesPane.OpenWanted") -> None:
        self.show_with_system(message.path)  # type: ignore[attr-defined]

    def on_clips_pane_open_wanted(self, message: "ClipsPane.OpenWanted") -> None:
        self.show_with_system(message.row.file)  # type: ignore[attr-defined]

    def on_plan_pane_saved(self, message: "PlanPane.Saved") -> None:
        self._write_plan(message.text)

    def on_clips_pane_caption_written(self, message: "ClipsPane.CaptionWritten") -> None:
        self._write_caption(message.row, message.caption)

    @work(thread=True, group="write-plan")
    def _write_plan(self: "LtxApp", text: str) -> None:
        from trainer_core.errors import LtxError
        from trainer_core.files import write_text

        assert self.project is not None
        try:
            write_text(self.project.config_path, text)
        except LtxError as error:
            self.call_from_thread(self._not_written, "The plan", error)

    @work(thread=True, group="write-caption")
    def _write_caption(self: "LtxApp", row: Any, caption: str) -> None:
        from tools.caption.store.edit import edit_caption
        from trainer_core.errors import LtxError

        assert self.project is not None
        try:
            edit_caption(self.project, row.path, row.sha256, caption)
        except LtxError as error:
            self.call_from_thread(self._not_written, "The caption", error)
            return
        self.call_from_thread(self._caption_written)

    def _caption_written(self: "LtxApp") -> None:  # type: ignore[misc]
        self.watcher.glance()
        self.notify("The caption is kept as yours.")

    def _not_written(self, what: str, error: Exception) -> None:
        self.notify(str(error), title=f"{what} could not be written", severity="error")
