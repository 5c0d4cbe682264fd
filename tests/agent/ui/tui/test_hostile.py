"""Names, captions, messages, logs and tool calls that hold terminal escapes: no pane hands one on."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.messages import AIMessage
from textual.pilot import Pilot

from agent.context import AgentContext
from agent.ui.tui.app import LtxApp
from tools.project import Project
from trainer_core.files import read_jsonl, write_json, write_jsonl
from trainer_core.run_folder import RunStatus

Drive = Callable[..., None]
Settle = Callable[[Pilot[None]], Awaitable[None]]
ORDER = "zqorder\x1b]52;c;cm0=\x07\x1b[2J\u202egnp\u2028\x9b31m"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\u2066-\u2069]")


def screen_text(app: LtxApp) -> str:
    """Every character that the screen gives to the terminal as text."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def test_no_pane_hands_an_escape_to_the_terminal(
    finished: Project, scripted: Callable[..., AgentContext], call: Any, drive: Drive, settle: Settle
) -> None:
    report = json.loads(finished.report_path.read_text())
    clip = report["clips"][0]
    clip["path"] = f"{ORDER}.png"
    clip["flags"][0]["message"] = ORDER
    write_json(finished.report_path, report)
    rows = read_jsonl(finished.captions_path)
    rows[0] |= {"path": clip["path"], "caption": ORDER}
    write_jsonl(finished.captions_path, rows)
    finished.config_path.write_text(finished.config_path.read_text() + f"# {ORDER}\n")
    run = finished.runs()[-1]
    run.log_path.write_text(f"{ORDER}\n" * 3)
    run.write_status(RunStatus("failed", step=3, steps=9, started_at=1.0, error=ORDER))
    context = scripted(call("inspect_clips", **{ORDER: ORDER}), AIMessage(ORDER))
    seen: list[str] = []

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        await pilot.press(*"hello", "enter")
        await settle(pilot)
        seen.append(screen_text(app))
        for key in ("f3", "f4", "f5", "f6", "f7"):
            await pilot.press(key)
            await settle(pilot)
            seen.append(screen_text(app))

    drive(context, steps)
    assert [text for text in seen if STEERING.search(text)] == []
    assert sum("zqorder" in text for text in seen) >= 3
