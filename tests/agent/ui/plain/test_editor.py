"""The person's own editor, opened by `/plan edit` on a real terminal, and what comes of its changes."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.project import Project

COMMAND = [sys.executable, "-c", "from agent.cli.main import main; main()", "chat", "--plain", "--llm", "builtin"]
EDITOR = """\
import os, pathlib, sys
assert os.isatty(0) and os.isatty(1)
plan = pathlib.Path(sys.argv[-1])
plan.write_text(plan.read_text().replace("rank: 8 ", "rank: 16 ").replace("steps: 400 ", "steps: 0 "))
"""
PATIENCE_S = 90


def read_until(terminal: int, pattern: str) -> str:
    """Read what is written until `pattern` has come; it is in the failure when it has not."""
    text, deadline = "", time.monotonic() + PATIENCE_S
    while not re.search(pattern, text):
        left = deadline - time.monotonic()
        assert left > 0, f"{pattern!r} did not come:\n{text}"
        if select.select([terminal], [], [], min(left, 1.0))[0]:
            text += os.read(terminal, 65536).decode(errors="replace")
    return text


def test_an_edit_is_gone_through_change_by_change_and_a_mistake_is_asked_about(
    finished: Project, bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "my editor.py"
    script.write_text(EDITOR)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "TERM": "screen", "EDITOR": f"{sys.executable} '{script}'", "PYTHONPATH": path}
    environment.pop("VISUAL", None)
    terminal, ours = pty.openpty()
    child = subprocess.Popen(
        [*COMMAND, str(finished.path)],
        stdin=ours, stdout=ours, stderr=ours, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(ours)
    try:
        read_until(terminal, r"leaves\.(.|\n)*> ")
        os.write(terminal, b"/plan edit\n")
        asked = read_until(terminal, r"Take it\? \[y/n, all, none\] > ")
        assert "Change 1 of 2" in asked
        assert "rank: 16" in asked
        os.write(terminal, b"y\n")
        assert "steps: 0" in read_until(terminal, r"Take it\? \[y/n, all, none\] > ")
        os.write(terminal, b"n\n")
        assert "1 of 2 changes left out." in read_until(terminal, r"Written: (.|\n)*> ")
        os.write(terminal, b"/plan edit\n")
        read_until(terminal, r"Take it\?")
        os.write(terminal, b"all\n")
        assert "line 16: " in read_until(terminal, r"Write it all the same\? \[y/n\] > ")
        os.write(terminal, b"n\n")
        read_until(terminal, r"Nothing was written\.(.|\n)*> ")
        os.write(terminal, b"quit\n")
        assert child.wait(PATIENCE_S) == 0
    finally:
        child.kill()
        child.wait()
        os.close(terminal)
    text = finished.config_path.read_text()
    assert "rank: 16 " in text
    assert "steps: 400 " in text
