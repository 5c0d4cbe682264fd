"""Pictures of every screen, at three sizes in both themes, compared with those kept beside this file.

`python -m pytest tests/agent/ui/tui/test_snapshots.py --update-snapshots` draws them again; look before you commit.
The files are gzipped SVG (`zcat ltx-dark-80x24-talk.svg.gz > talk.svg`). A difference leaves both in the test's folder.
"""

import asyncio
import gzip
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from agent.context import AgentContext
from agent.ui.tui import discover as finding
from agent.ui.tui.app import LtxApp
from agent.ui.tui.screens.welcome import Welcome
from agent.ui.tui.widgets.entries import Notice
from tools.project import Project

FOLDER = Path(__file__).parent / "snapshots"
SIZES = ((80, 24), (120, 36), (200, 60))
THEMES = ("ltx-dark", "ltx-light")
Settle = Callable[[Pilot[None]], Awaitable[None]]


def stable(svg: str) -> str:
    """Return the picture without what differs from run to run and machine to machine: ids, and paths of this test."""
    text = re.sub(r"terminal-\d+", "terminal", svg)
    return re.sub(r"\s+\n", "\n", text)


@pytest.fixture
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, LtxApp], None]:
    update = request.config.getoption("--update-snapshots")

    def compare(name: str, app: LtxApp) -> None:
        path = FOLDER / f"{name}.svg.gz"
        drawn = stable(app.export_screenshot(title="ltx-agent"))
        if update:
            FOLDER.mkdir(exist_ok=True)
            with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", mtime=0, filename="") as packed:
                packed.write(drawn.encode())
            return
        assert path.exists(), f"{path} is missing: draw it with --update-snapshots"
        kept = gzip.decompress(path.read_bytes()).decode()
        if drawn != kept:
            (tmp_path / f"{name}.drawn.svg").write_text(drawn)
            (tmp_path / f"{name}.kept.svg").write_text(kept)
            raise AssertionError(f"{name} looks different: compare {tmp_path}/{name}.drawn.svg with .kept.svg")

    return compare


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_screens_look_as_they_did(
    context: AgentContext,
    finished: Project,
    drive: Callable[..., None],
    settle: Settle,
    check: Callable[[str, LtxApp], None],
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
) -> None:
    monkeypatch.setattr("agent.approvals.cards._name", lambda path: path.name)  # the folder is another one each time
    finished.report_path.rename(finished.path / "kept")  # so that the talk begins with a look at the clips
    (finished.path / "runs").rename(finished.path / "later")

    async def steps(app: LtxApp, pilot: Pilot[None]) -> None:
        async def shot(what: str, *keys: str) -> None:
            await pilot.press(*keys)
            await pilot.pause()
            await settle(pilot)
            app.clear_notifications()
            for theme in THEMES:
                app.theme = theme
                await pilot.pause()
                check(f"{theme}-{size[0]}x{size[1]}-{what}", app)

        await shot("approval")
        (finished.path / "kept").replace(finished.report_path)
        (finished.path / "later").rename(finished.path / "runs")
        app.watcher.glance()
        for _ in range(3000):  # the conversation looks for news of runs every two seconds
            await pilot.pause(0.01)
            if app.runs and sum("is done at step" in str(notice.content) for notice in app.query(Notice)) == 2:
                break
        else:
            raise AssertionError("the two runs that ended were not told of within thirty seconds")
        await settle(pilot)
        await shot("plan", "f3", "down", "down", "down")
        await shot("curves", "f4", "home", "ctrl+right", "ctrl+right")
        await shot("figures", "g", "f8")
        await shot("clips", "f8", "f5")
        await shot("samples", "f7")
        await shot("run", "f6")
        await shot("keys", "f1")
        await shot("talk", "escape", "f2")

    drive(context, steps, size=size)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_the_welcome_looks_as_it_did(
    bare: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    check: Callable[[str, LtxApp], None],
    size: tuple[int, int],
) -> None:
    here = tmp_path_factory.mktemp("welcome")
    for name in ("rain/a.mp4", "rain/b.mp4", "rain/sound.wav", "stills/1.png"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).touch()
    bare.chdir(here)
    bare.setattr(finding, "_gpu", lambda: "none found: the tiny random model trains on the CPU, to try the whole path")

    async def whole() -> None:
        app = LtxApp(None, "builtin", theme=THEMES[0])
        async with app.run_test(size=size) as pilot:
            for _ in range(500):
                await pilot.pause(0.01)
                if isinstance(app.screen, Welcome) and app.screen.query_one("#welcome-folders").display:
                    break
            await pilot.pause()
            for theme in THEMES:
                app.theme = theme
                await pilot.pause()
                check(f"{theme}-{size[0]}x{size[1]}-welcome", app)

    asyncio.run(whole())
