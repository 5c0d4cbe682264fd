"""What panes and widgets post is acted on, and the parts of the application hear of it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from agent.context import AgentContext
from agent.ui.tui.app import LtxApp
from agent.ui.tui.screens.keys import Keys
from agent.ui.tui.screens.welcome import Welcome
from tools.project import Project

Drive = Callable[..., None]
Settle = Callable[[Pilot[None]], Awaitable[None]]


def test_the_tab_of_keys_opens_them(finished: Project, context: AgentContext, drive: Drive) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await pilot.click("#tabs", offset=(2, 0))
        await pilot.pause()
        assert isinstance(app.screen, Keys)

    drive(context, steps)


def test_y_in_the_transcript_copies_the_last_answer(finished: Project, context: AgentContext, drive: Drive) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        app.talk.last_said = "A rank of 32 is enough."
        app.talk.transcript.focus()
        await pilot.press("y")
        await pilot.pause()
        assert app.clipboard == "A rank of 32 is enough."

    drive(context, steps)


@pytest.mark.parametrize("key", ["f3", "f5"])
def test_escape_leads_from_a_pane_to_the_chat(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle, key: str
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await pilot.press(key)
        await settle(pilot)
        assert app.workbench.shown != "talk"
        await pilot.press("escape")
        await pilot.pause()
        assert app.workbench.shown == "talk"
        assert app.talk.prompt.has_focus

    drive(context, steps)


def test_a_folder_that_is_none_is_refused_on_the_welcome(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle, tmp_path: Path
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        app.talk.prompt.write(f"/open {tmp_path / 'nowhere'}")
        app.talk.prompt.action_send()
        await pilot.pause()
        await settle(pilot)
        assert isinstance(app.screen, Welcome)
        assert "nowhere" in str(app.screen.query_one("#welcome-error").render())

    drive(context, steps)


def test_a_plan_that_cant_be_written_is_told(
    finished: Project, context: AgentContext, drive: Drive, settle: Settle
) -> None:
    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        finished.config_path.unlink()
        finished.config_path.mkdir()
        app.plan.post_message(app.plan.Saved("steps: 1\n"))
        await pilot.pause()
        await settle(pilot)
        assert "The plan could not be written" in [notice.title for notice in app._notifications]

    drive(context, steps)
