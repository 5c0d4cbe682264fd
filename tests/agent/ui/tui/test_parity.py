"""One table of slash commands, two faces: what stands in the table is obeyed in both, and their help names it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from agent.context import AgentContext
from agent.session.slash import COMMANDS, Command
from agent.ui.tui.app import LtxApp
from agent.ui.tui.screens.keys import Keys
from tools.project import Project

Drive = Callable[..., None]
Settle = Callable[[Pilot[None]], Awaitable[None]]
BEHIND = {"model": "builtin", "goal": "rain on roofs", "compare": "20260101-100000", "budget": "tokens 500"}
"""What is typed behind a command that wants something."""


def typed_for(command: Command, project: Project) -> str:
    behind = {**BEHIND, "open": str(project.path)}.get(command.name, "")
    return f"/{command.name} {behind}".strip()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_line_mode_obeys_every_command(
    finished: Project, context: AgentContext, in_lines: Callable[..., str], command: Command
) -> None:
    silent = in_lines(context)
    heard = in_lines(context, typed_for(command, finished))
    assert "There is no command" not in heard
    if command.name == "open":
        assert heard.replace(silent.strip(), "").strip(" >\n") == ""  # the talk ends; the next project's follows
    else:
        assert len(heard) > len(silent) + 20, "it answers nothing"


def test_the_full_screen_obeys_every_command(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle
) -> None:
    def seen(app: LtxApp) -> dict[str, Any]:
        """What a person could notice: panes, screens, entries of the talk, notifications, colours, the clipboard."""
        return {
            "shown": app.workbench.shown,
            "screens": len(app.screen_stack),
            "entries": len(app.talk.transcript.children),
            "notified": len(app._notifications),
            "theme": app.theme,
            "clipboard": app.clipboard,
            "watcher": id(app.watcher),
        }

    unheard: list[str] = []

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        for command in COMMANDS:
            if command.name == "quit":
                continue
            app.workbench.show("clips" if command.name == "talk" else "talk")
            app.clear_notifications()
            await settle(pilot)
            before = seen(app)
            app.talk.prompt.write(typed_for(command, finished))
            app.talk.prompt.action_send()
            await pilot.pause()
            await settle(pilot)
            if seen(app) == before:
                unheard.append(command.name)
            while len(app.screen_stack) > 1:
                app.pop_screen()
        assert not [notice for notice in app.query("Notice") if "There is no command" in str(notice.render())]
        app.talk.prompt.write("/quit")
        app.talk.prompt.action_send()
        await pilot.pause()
        assert app.return_code == 0

    drive(context, steps)
    assert unheard == []


def test_the_help_of_both_faces_names_every_command(
    finished: Project, context: AgentContext, drive: Drive, in_lines: Callable[..., str]
) -> None:
    heard = in_lines(context, "/help")
    assert [command.name for command in COMMANDS if f"/{command.name}" not in heard] == []
    assert [command.in_lines for command in COMMANDS if command.in_lines not in heard] == []

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await pilot.press("f1")
        await pilot.pause()
        assert isinstance(app.screen, Keys)
        shown = "\n".join(str(static.render()) for static in app.screen.query("Static"))
        assert [command.name for command in COMMANDS if f"/{command.name}" not in shown] == []

    drive(context, steps)


def test_a_command_that_no_face_knows_is_told(
    finished: Project, context: AgentContext, in_lines: Callable[..., str]
) -> None:
    heard = in_lines(context, "/nonsense")
    assert "There is no command /nonsense" in heard
    assert "/curves" in heard
