"""The app over a project in a terminal of the test's own."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from finished_project import append_rows, metrics_row
from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from agent.context import AgentContext
from agent.ui.tui.app import LtxApp


@pytest.fixture
def rows() -> Callable[..., dict[str, Any]]:
    return metrics_row


@pytest.fixture
def append() -> Callable[[Path, list[dict[str, Any]]], None]:
    return append_rows


OpenApp = Callable[..., LtxApp]


@pytest.fixture
def app_of(bare: pytest.MonkeyPatch) -> OpenApp:
    """`app_of(context, theme=…)`: the app over this context's project, answered by this context."""

    def make(context: AgentContext, theme: str = "ltx-dark") -> LtxApp:
        return LtxApp(context.project.path, "builtin", theme=theme, open_context=lambda *_: context)

    return make


Settle = Callable[[Pilot[None]], Awaitable[None]]


@pytest.fixture
def settle() -> Settle:
    """Wait until the conversation is open, no turn goes on, and every worker has ended."""

    async def wait(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, LtxApp)
        for _ in range(1000):
            await pilot.pause()
            if app.is_settled:
                break
            await asyncio.sleep(0.01)
        else:
            raise AssertionError(f"the app did not come to rest within ten seconds: {app.under_way}")
        for _ in range(10):
            with contextlib.suppress(WorkerCancelled):  # a newer one of its kind took its place
                await app.workers.wait_for_complete()
                break
        await pilot.pause()

    return wait


@pytest.fixture
def drive(app_of: OpenApp, settle: Settle) -> Callable[..., None]:
    """`drive(context, steps, size=…)`: open the app, let it come to rest, run the coroutine `steps(app, pilot)`."""

    def run(
        context: AgentContext,
        steps: Callable[[LtxApp, Pilot[None]], Awaitable[None]],
        size: tuple[int, int] = (120, 36),
        theme: str = "ltx-dark",
    ) -> None:
        async def whole() -> None:
            app = app_of(context, theme)
            async with app.run_test(size=size) as pilot:
                try:
                    await settle(pilot)
                    await steps(app, pilot)
                finally:
                    assert app.close_threads(wait_s=10)

        asyncio.run(whole())

    return run
