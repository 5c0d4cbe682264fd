"""Record a session of the full screen as a picture: clips made by script → talk → approvals → a tiny training.

    python examples/tui_picture.py [OUT.svg]

It presses the keys a person would, with the real tools and the tiny random model on the CPU, and keeps the last screen.
"""

import asyncio
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

from make_clips import make_clips

if TYPE_CHECKING:
    from textual.pilot import Pilot

SIZE = (150, 42)
STEPS = 120
PATIENCE_S = 900


async def record(out: Path) -> None:
    """Drive the app from an empty project to an ended run and write its screen to `out`."""
    from agent.session.projects import project_of
    from agent.ui.tui.app import LtxApp

    with tempfile.TemporaryDirectory() as name:
        clips = Path(name) / "shapes"
        make_clips(clips, count=6)
        project = project_of(clips, Path(name) / "shapes-project", goal=f"the look of these shapes, {STEPS} steps")
        app = LtxApp(project.path, "builtin", theme="ltx-dark")
        async with app.run_test(size=SIZE) as pilot:
            for approval in ("captions", "plan", "rehearse", "start"):
                await until(
                    pilot, lambda wanted=approval: app.talk.card is not None and app.talk.card.approval == wanted
                )
                await pilot.press("y")
            await until(pilot, lambda: app.observed.seen and latest(app).status.state in ("done", "failed", "diverged"))
            app.chat.say("is it working?")
            await pilot.press("f4", "2")
            await until(pilot, lambda: app.is_settled and "step" in app.talk.last_said)
            app.workbench.show("plan")
            await pilot.press(*["down"] * 13)
            app.clear_notifications()
            await pilot.pause(0.5)
            out.write_text(without_outside_fonts(app.export_screenshot(title="ltx-agent")), encoding="utf-8")
            app.close_threads(wait_s=10)


def latest(app: Any) -> Any:
    return app.observed.seen[app.runs[-1]]


async def until(pilot: "Pilot[None]", is_so: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_S} s")
        await pilot.pause(0.1)
    await pilot.pause()


def without_outside_fonts(svg: str) -> str:
    """Return the picture without the addresses of fonts, which a page that shows it would not load."""
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    return re.sub(r"font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, monospace", svg)


if __name__ == "__main__":
    asyncio.run(record(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tui.svg"))
