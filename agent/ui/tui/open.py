"""Opening the full screen, and leaving it."""

import os
import time
from pathlib import Path

from agent.ui.tui.app import LtxApp
from agent.ui.tui.graphics import prepare_graphics


def open_tui(target: Path | None, llm: str) -> None:
    """Open the full screen until the person leaves; a run that trains goes on."""
    app = LtxApp(target, llm, picture_kind=prepare_graphics())
    app.run()
    started = time.monotonic()
    ended = app.close_threads(wait_s=3.0)
    if app.return_code:
        raise SystemExit(app.return_code)
    if not ended:
        # A tool is still at work in its thread. Its files are whole at any moment, so nothing is lost by not waiting.
        print(
            f"Left after {time.monotonic() - started:.0f} s while a tool was at work; what it wrote stays.", flush=True
        )
        os._exit(0)
