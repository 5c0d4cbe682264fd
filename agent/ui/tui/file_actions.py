"""Writing what the user saved in a pane, and opening files with the system's program; each in a short thread."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App

if TYPE_CHECKING:
    from agent.ui.shared.clips import ClipRow
    from tools.project import Project


class FileActions:
    """Work on files that the screen doesn't wait for; the application tells the user how it went."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app

    def write_plan(self, project: "Project", text: str) -> None:
        """Make `text` the project's config.yaml."""
        self._app.run_worker(partial(self._write_plan, project, text), group="write-plan", thread=True)

    def write_caption(self, project: "Project", row: "ClipRow", caption: str, then: Callable[[], None]) -> None:
        """Keep `caption` as the user's own; `then` is called on the screen's thread once it is written."""
        work = partial(self._write_caption, project, row, caption, then)
        self._app.run_worker(work, group="write-caption", thread=True)

    def show_with_system(self, path: Path) -> None:
        """Open a file with the program that the system has for it, where there is a display."""
        self._app.run_worker(partial(self._show_with_system, path), thread=True)

    def _write_plan(self, project: "Project", text: str) -> None:
        from trainer_core.errors import LtxError
        from trainer_core.files import write_text

        try:
            write_text(project.config_path, text)
        except LtxError as error:
            self._app.call_from_thread(self._not_written, "The plan", error)

    def _write_caption(self, project: "Project", row: "ClipRow", caption: str, then: Callable[[], None]) -> None:
        from tools.caption.store.edit import edit_caption
        from trainer_core.errors import LtxError

        try:
            edit_caption(project, row.path, row.sha256, caption)
        except LtxError as error:
            self._app.call_from_thread(self._not_written, "The caption", error)
            return
        self._app.call_from_thread(self._caption_written, then)

    def _caption_written(self, then: Callable[[], None]) -> None:
        then()
        self._app.notify("The caption is kept as yours.")

    def _not_written(self, what: str, error: Exception) -> None:
        self._app.notify(str(error), title=f"{what} could not be written", severity="error")

    def _show_with_system(self, path: Path) -> None:
        from agent.ui.shared.viewer import open_with_system

        if not open_with_system(path):
            self._app.call_from_thread(self._app.copy_to_clipboard, str(path))
            self._app.call_from_thread(self._app.notify, f"No display here; its path is copied:\n{path}")
