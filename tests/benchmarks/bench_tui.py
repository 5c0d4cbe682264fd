"""The screen: its first paint, a key press under a long live run, what it costs at rest, what it keeps in memory."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest

from agent.ui.shared.curves.reader import MetricsReader
from tools.project import Project, ProjectFacts
from trainer_core.run_folder import RunFolder, RunStatus

RecordRatio = Callable[..., None]
pytestmark = pytest.mark.bench

ROWS = 1_000_000
STARTS = 7
PRESSES = 120
REST_S = 20.0
LIVE_HZ = 2
PROCESSES = 3
FIRST_PAINT = b"F2 "
"""Stands in the line of tabs, which is part of the first frame."""
IMPORT = "import textual.app, textual.screen; from textual.widgets import Footer, Markdown, Static, TextArea"


def best_of(count: int, measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(count))


def seconds_to_import() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORT], check=True)
    return time.perf_counter() - started


def seconds_to_first_paint(folder: Path) -> float:
    """Start the command on a pty and wait for its first frame."""
    started = time.perf_counter()
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        environment = {**os.environ, "TERM": "xterm-256color"}
        os.execvpe(sys.executable, [sys.executable, "-c", "from agent.cli.main import main; main()"], environment)
    seen = b""
    while FIRST_PAINT not in seen and select.select([descriptor], [], [], 60)[0]:
        seen += os.read(descriptor, 65536)
    taken = time.perf_counter() - started
    os.close(descriptor)
    os.waitpid(pid, 0)
    assert FIRST_PAINT in seen
    return taken


def project_with_run(path: Path, rows: int, *, live: bool) -> Project:
    """A project with a plan-less run of `rows` steps; live ones lean on this process."""
    path.mkdir()
    project = Project(path)
    project.write_facts(ProjectFacts(sources=[str(path)]))
    run = RunFolder(project.runs_path / "20260101-000000")
    run.path.mkdir(parents=True)
    with run.metrics_path.open("w") as file:
        for step in range(1, rows + 1):
            file.write(json.dumps(row(step)) + "\n")
    status = RunStatus("running" if live else "done", step=rows, steps=2 * rows, pid=os.getpid())
    run.write_status(status if not live else RunStatus(**{**vars(status), "lease_expires_at": time.time() + 3600}))
    return project


def row(step: int) -> dict[str, Any]:
    loss = 0.4 + 1 / (1 + step / 1e4) + (step * 7919 % 1000) / 4000
    spent = {"data": 0.02, "forward": 0.31, "backward": 0.62, "optimizer": 0.04}
    return {
        "step": step, "time_s": step, "epoch": 0, "loss": loss, "loss_video": loss / 2, "loss_audio": loss / 2,
        "sigma_video": 0.5, "sigma_audio": 0.5, "lr": 1e-4, "grad_norm": 0.5, "step_s": spent, "memory_bytes": 1,
        "samples_seen": step, "clips": [],
    }  # fmt: skip


@pytest.fixture(scope="module")
def long_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return project_with_run(tmp_path_factory.mktemp("bench") / "long", ROWS, live=True)


def test_first_paint_against_importing_textual(record_ratio: RecordRatio, tmp_path: Path) -> None:
    imported = best_of(STARTS, seconds_to_import)
    painted = best_of(STARTS, lambda: seconds_to_first_paint(tmp_path))
    note = (
        f"first frame {painted * 1e3:.0f} ms, a process that imports Textual {imported * 1e3:.0f} ms, best of {STARTS}"
    )
    record_ratio("TUI: start to first paint", painted / imported, target=1.5, note=note)


async def press_to_paint(app: Any, keys: list[str], ready: Callable[[Any], bool]) -> list[float]:
    """Seconds from each key press to the end of the frame that follows it."""
    taken = []
    async with app.run_test(size=(120, 36)) as pilot:
        while not ready(app):
            await pilot.pause(0.05)
        painted = asyncio.Event()
        display = app._display

        def displayed(*arguments: Any) -> None:
            display(*arguments)
            painted.set()

        app._display = displayed
        for number in range(PRESSES):
            painted.clear()
            started = time.perf_counter()
            app.post_message(key_event(keys[number % len(keys)]))
            await asyncio.wait_for(painted.wait(), timeout=5)
            taken.append(time.perf_counter() - started)
            await asyncio.sleep(0.02)
        if hasattr(app, "close_threads"):
            app.close_threads(wait_s=5)
    return taken


def key_event(key: str) -> Any:
    from textual.events import Key

    return Key(key, key if len(key) == 1 else None)


def empty_app() -> Any:
    """The least that answers a key with a paint: a counter."""
    from textual.app import App, ComposeResult
    from textual.widgets import Static

    class Empty(App[None]):
        count = 0

        def compose(self) -> ComposeResult:
            yield Static("0")

        def on_key(self) -> None:
            self.count += 1
            self.query_one(Static).update(str(self.count))

    return Empty()


def tui_app(project: Project) -> Any:
    from agent.context import AgentContext
    from agent.planner.chat_model import Planner
    from agent.ui.tui.app import LtxApp

    return LtxApp(
        project.path, "builtin", theme="ltx-dark", open_context=lambda *_: AgentContext(project, Planner(), {})
    )


def has_read(app: Any) -> bool:
    seen = next(iter(app.observed.seen.values()), None)
    if seen is None or seen.read_bytes < seen.total_bytes or not app.chat.model:
        return False
    app.workbench.show("curves")
    return True


def test_key_press_to_paint_under_a_live_run(record_ratio: RecordRatio, long_project: Project) -> None:
    path = long_project.runs()[0].metrics_path
    ended = threading.Event()

    def write() -> None:
        step = ROWS
        with path.open("a") as file:
            while not ended.wait(0.1):
                step += 1
                file.write(json.dumps(row(step)) + "\n")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        ours = asyncio.run(
            press_to_paint(tui_app(long_project), ["left", "right", "plus", "minus", "full_stop"], has_read)
        )
    finally:
        ended.set()
        writer.join()
    theirs = asyncio.run(press_to_paint(empty_app(), ["a"], lambda app: app.is_running))
    mine, empty = p95(ours), p95(theirs)
    note = f"p95 {mine * 1e3:.1f} ms (target 50) with {ROWS:,} rows of a live run, an empty app {empty * 1e3:.1f} ms"
    record_ratio("TUI: key press to paint", mine / empty, target=3.0, note=note)


def p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]


def test_at_rest(record_ratio: RecordRatio, tmp_path: Path) -> None:
    """Processor time at rest, of an ended run, as a share of one core."""
    project = project_with_run(tmp_path / "rest", 1000, live=False)

    async def rest() -> float:
        app = tui_app(project)
        async with app.run_test(size=(120, 36)) as pilot:
            while not has_read(app):
                await pilot.pause(0.05)
            await asyncio.sleep(2)
            before = processor_s()
            await asyncio.sleep(REST_S)
            used = processor_s() - before
            app.close_threads(wait_s=5)
        return used

    used = asyncio.run(rest())
    note = f"{used * 1e3:.0f} ms of processor time in {REST_S:.0f} s at rest"
    record_ratio("TUI: processor at rest, share of a core", used / REST_S, target=0.01, note=note)


def processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def test_memory_of_a_long_run(record_ratio: RecordRatio, long_project: Project, tmp_path: Path) -> None:
    short = project_with_run(tmp_path / "short", 20_000, live=False)

    def kept(project: Project) -> int:
        tracemalloc.start()
        reader = MetricsReader(project.runs()[0].metrics_path)
        while reader.read():
            pass
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        reader.close()
        return size

    long_bytes, short_bytes = kept(long_project), kept(short)
    note = f"{long_bytes / 1e6:.1f} MB for {ROWS:,} rows, {short_bytes / 1e6:.1f} MB for 20,000"
    record_ratio("TUI: memory of 1M rows against 20k", long_bytes / short_bytes, target=1.1, note=note)


class ScreenProcess:
    """The whole command over a project, in a process of its own on a pty that is read all the while."""

    def __init__(self, project: Project) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            command = [sys.executable, "-c", "from agent.cli.main import main; main()", "chat", str(project.path)]
            os.execvpe(command[0], command, {**os.environ, "TERM": "xterm-256color"})
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        self._reader = threading.Thread(target=self._drain)
        self._reader.start()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):  # the child has closed its end
            while os.read(self._descriptor, 65536):
                pass

    def close(self) -> None:
        os.kill(self.pid, signal.SIGHUP)
        os.waitpid(self.pid, 0)
        self._reader.join()
        os.close(self._descriptor)

    def processor_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def wait_until_read(self, size: int) -> None:
        """Wait until at least `size` bytes are read and the processor has rested."""
        deadline = time.monotonic() + 300
        used = -1.0
        while time.monotonic() < deadline:
            before, used = used, self.processor_s()
            text = Path(f"/proc/{self.pid}/io").read_text()
            if int(text.split()[1]) >= size and 0 <= used - before < 0.1:
                return
            time.sleep(2)
        raise AssertionError("the screen has not read its run and come to rest within five minutes")


@pytest.mark.timeout(900)
def test_beside_a_live_run(record_ratio: RecordRatio, tmp_path: Path) -> None:
    """Processor time of the whole process, as a share of one core, while a run writes two rows a second."""
    project = project_with_run(tmp_path / "live", 1000, live=True)
    path = project.runs()[0].metrics_path
    shown = ScreenProcess(project)
    try:
        shown.wait_until_read(path.stat().st_size)
        before, started, step = shown.processor_s(), time.monotonic(), 1000
        while time.monotonic() < started + REST_S:
            step += 1
            with path.open("a") as file:
                file.write(json.dumps(row(step)) + "\n")
            time.sleep(1 / LIVE_HZ)
        used, taken = shown.processor_s() - before, time.monotonic() - started
    finally:
        shown.close()
    note = f"{used * 1e3:.0f} ms of processor time in {taken:.0f} s, {LIVE_HZ} rows a second, the talk in front"
    record_ratio("TUI: processor beside a live run, share of a core", used / taken, target=0.05, note=note)


@pytest.mark.timeout(1800)
def test_memory_of_the_whole_process(record_ratio: RecordRatio, long_project: Project, tmp_path: Path) -> None:
    """Resident memory of the whole command once a run is read: its length must not show."""
    short = project_with_run(tmp_path / "short", 20_000, live=True)

    def resident(project: Project) -> int:
        shown = ScreenProcess(project)
        try:
            shown.wait_until_read(project.runs()[0].metrics_path.stat().st_size)
            return shown.resident_bytes()
        finally:
            shown.close()

    pairs = [(resident(long_project), resident(short)) for _ in range(PROCESSES)]
    long_bytes, short_bytes = (median(sizes) for sizes in zip(*pairs, strict=True))
    note = f"{long_bytes / 1e6:.0f} MB for {ROWS:,} rows, {short_bytes / 1e6:.0f} MB for 20,000, median of {PROCESSES}"
    record_ratio("TUI: memory of the whole process, 1M rows against 20k", long_bytes / short_bytes, 1.1, note)
