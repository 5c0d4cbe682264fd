"""Opening the talk: on the full screen where the terminal has one, else line by line."""

import os
import sys
from pathlib import Path


def open_talk(project: Path | None, llm: str = "auto", *, plain: bool = False, session: str | None = None) -> None:
    """Talk until the user leaves, in the conversation `session` or the one used last."""
    if plain or not _is_full_terminal():
        from agent.ui.plain.chat import talk

        talk(project, llm, session)
        return
    if session is not None:
        from agent.session.projects import existing_project
        from agent.session.store import use_conversation

        use_conversation(existing_project(project).session_path, session)
    from agent.ui.tui.open import open_tui

    open_tui(project, llm)


def _is_full_terminal() -> bool:
    """True if there is a terminal that a full screen can be drawn on."""
    streams = (sys.stdin, sys.stdout, sys.stderr)  # it is drawn on stderr
    return all(stream.isatty() for stream in streams) and os.environ.get("TERM", "dumb") != "dumb"
