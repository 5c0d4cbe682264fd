"""The whole path in a real terminal, by keys: welcome, clips, captions, plan, approvals, a tiny training to its end.

Once through a terminal emulator of our own process (always), once through tmux (where it is installed). The terminal is
closed while the run trains, and opened again: the run is where it is by then.
"""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyte
import pytest

COLUMNS, LINES = 100, 30
COMMAND = [sys.executable, "-c", "from agent.cli.main import main; main()"]
KEYS = {"enter": "\r", "ctrl+q": "\x11", "f3": "\x1bOR", "f4": "\x1bOS", "f6": "\x1b[17~"}
TMUX_KEYS = {"enter": "Enter", "ctrl+q": "C-q", "f3": "F3", "f4": "F4", "f6": "F6"}
PATIENCE_S = 120


class Terminal(Protocol):
    """What a person has: a screen to read and a keyboard."""

    def text(self) -> str: ...

    def press(self, key: str) -> None: ...


def wait_for(terminal: Terminal, pattern: str, patience_s: float = PATIENCE_S) -> str:
    """Read the screen until `pattern` stands on it; the screen is in the failure."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        text = terminal.text()
        if re.search(pattern, text):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{pattern!r} did not appear in {patience_s:.0f} s. The screen:\n{terminal.text()}")


class PseudoTerminal:
    """A child on a pty whose output goes through a terminal emulator."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(COMMAND[0], COMMAND, environment)
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def text(self) -> str:
        while select.select([self._descriptor], [], [], 0.02)[0]:
            try:
                output = os.read(self._descriptor, 65536)
            except OSError:  # the child has closed its end
                break
            if not output:
                break
            # kitty's keyboard queries, which pyte prints; a terminal that knows none of them ignores them
            self._stream.feed(re.sub(rb"\x1b\[[<>=?][0-9;]*[a-zA-Z$]*[up]", b"", output))
        return "\n".join(self._screen.display)

    def press(self, key: str) -> None:
        os.write(self._descriptor, KEYS.get(key, key).encode())

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does."""
        os.close(self._descriptor)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return
            time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError("the screen outlived its terminal by twenty seconds")


class Tmux:
    """A session of a tmux server of the test's own."""

    def __init__(self, folder: Path, environment: dict[str, str], socket: Path) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", os.devnull]
        size = ["-x", str(COLUMNS), "-y", str(LINES)]
        started = [*self._tmux, "new-session", "-d", *size, "-c", str(folder), *COMMAND]
        subprocess.run(started, check=True, env=environment, timeout=30)

    def text(self) -> str:
        captured = subprocess.run([*self._tmux, "capture-pane", "-p"], capture_output=True, text=True, timeout=30)
        return captured.stdout

    def press(self, key: str) -> None:
        named = [TMUX_KEYS[key]] if key in TMUX_KEYS else ["-l", key]
        subprocess.run([*self._tmux, "send-keys", *named], check=True, timeout=30)

    def hang_up(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, timeout=30)


def press_until(terminal: PseudoTerminal | Tmux, key: str, pattern: str) -> str:
    """Press `key` until `pattern` appears: a busy machine draws a list some time before it has the keys."""
    for _ in range(3):
        terminal.press(key)
        with contextlib.suppress(AssertionError):
            return wait_for(terminal, pattern, 30.0)
    return wait_for(terminal, pattern)


@pytest.fixture
def environment(bare: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("TMUX", "NO_COLOR", "COLORTERM")}
    return {**kept, "TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def whole_path(open_terminal: Callable[[], PseudoTerminal | Tmux], folder: Path) -> str:
    """Press the keys of a first training; return the text of the last screen."""
    terminal = open_terminal()
    try:
        wait_for(terminal, r"real_clips +5 videos")
        press_until(terminal, "enter", r"▌ /.*real_clips")
        terminal.press("the look of my film, 4 steps")
        wait_for(terminal, r"▌ the look of my film, 4 steps")
        terminal.press("enter")
        wait_for(terminal, r"needs your word: captions")
        terminal.press("y")
        wait_for(terminal, r"needs your word: plan")
        terminal.press("y")
        wait_for(terminal, r"needs your word: rehearse")
        terminal.press("y")
        wait_for(terminal, r"needs your word: start")
        terminal.press("f3")
        wait_for(terminal, r"ltx_agent:")
        terminal.press("\x1b")
        wait_for(terminal, r"needs your word: start")
        terminal.press("y")
        wait_for(terminal, r"Training started")
    finally:
        terminal.hang_up()
    terminal = open_terminal()
    try:
        wait_for(terminal, r"✓ done 4/4")
        terminal.press("f4")
        wait_for(terminal, r"Curves · \d{8}")
        wait_for(terminal, r"1 loss")
        terminal.press("f6")
        text = wait_for(terminal, r"last checkpoint")
        terminal.press("ctrl+q")
        (project,) = (folder / "ltx-projects").iterdir()
        (run,) = (path for path in (project / "runs").iterdir() if path.is_dir())
        assert json.loads((run / "status.json").read_text())["state"] == "done"
        assert list((run / "checkpoints").glob("*.safetensors"))
    finally:
        terminal.hang_up()
    return text


@pytest.fixture
def artefact(tmp_path: Path) -> Callable[[str], None]:
    """Keep the captured text of the last screen beside the test's other files."""

    def keep(text: str) -> None:
        (tmp_path / "screen.txt").write_text(text)

    return keep


def test_from_welcome_to_a_trained_adapter_in_a_terminal(
    real_clips: Path, environment: dict[str, str], artefact: Callable[[str], None]
) -> None:
    folder = real_clips.parent
    text = whole_path(lambda: PseudoTerminal(folder, environment), folder)
    artefact(text)
    assert "✓ done" in text
    assert "folder" in text


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed; the pty test drives the same keys")
def test_from_welcome_to_a_trained_adapter_in_tmux(
    real_clips: Path, environment: dict[str, str], artefact: Callable[[str], None]
) -> None:
    folder = real_clips.parent
    with short_folder() as sockets:
        text = whole_path(lambda: Tmux(folder, environment, sockets / "s"), folder)
    artefact(text)
    assert "✓ done" in text


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for tmux's socket: a socket's path may not be long."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="lt") as name:
        yield Path(name)
