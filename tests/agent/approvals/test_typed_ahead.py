"""A card reads only what was typed after it was drawn: on a real terminal, through a pipe, and as it stands again."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trainer_core.files import read_jsonl

COMMAND = [sys.executable, "-c", "from agent.cli.main import main; main()"]
PATIENCE_S = 90
CAPTIONS = r"captions right\? \[y/n\] > "
PLAN = r"plan right\? \[y/n\] > "


class Terminal:
    """A child on a pty of its own; `read_until` returns what was written since the last call."""

    def __init__(self, descriptor: int, child: "subprocess.Popen[bytes]") -> None:
        self._descriptor, self.child = descriptor, child

    def read_until(self, pattern: str) -> str:
        text, deadline = "", time.monotonic() + PATIENCE_S
        while not re.search(pattern, text):
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not come:\n{text}"
            if select.select([self._descriptor], [], [], min(left, 1.0))[0]:
                text += os.read(self._descriptor, 65536).decode(errors="replace")
        return text

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())


@pytest.fixture
def clips(real_clips: Path) -> Path:
    for clip in sorted(real_clips.iterdir())[2:]:
        clip.unlink()
    return real_clips


@pytest.fixture
def opened(bare: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    @contextmanager
    def open_terminal(*words: str | Path) -> Iterator[Terminal]:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, "TERM": "screen", "PYTHONPATH": path}
        ours, theirs = pty.openpty()
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
        command = [*COMMAND, *map(str, words), "--llm", "builtin"]
        child = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **streams)
        os.close(theirs)
        try:
            yield Terminal(ours, child)
        finally:
            child.kill()
            child.wait()
            os.close(ours)

    return open_terminal


def test_prepare_acts_on_words_and_takes_no_answer_that_was_typed_ahead(
    clips: Path, tmp_path: Path, opened: Callable[..., Any]
) -> None:
    project = tmp_path / "p"
    with opened("prepare", clips, "--project", project, "--goal", "the look") as terminal:
        terminal.type("yes\nyes\n")
        assert "was left out" in terminal.read_until(CAPTIONS)
        terminal.type("yes but the second caption is wrong, it's a fox\n")
        assert "is yours now: A fox." in terminal.read_until(CAPTIONS)
        terminal.type("ja\n")
        assert "Trained on 2 of 2 clips" in terminal.read_until(PLAN)
        terminal.type("ok, but use 9 steps\n")
        assert "9 steps" in terminal.read_until(PLAN)
        terminal.type("/plan\n")
        terminal.read_until(rf"Commands are for(.|\n)*{PLAN}")
        terminal.type("\n")
        terminal.read_until(PLAN)
        terminal.type("oui\n")
        terminal.read_until("Next: ltx-agent train")
        assert terminal.child.wait(PATIENCE_S) == 0
    assert "steps: 9 " in (project / "config.yaml").read_text()
    assert [row["caption"] for row in read_jsonl(project / "captions.jsonl")][1] == "A fox."


def test_line_mode_takes_no_answer_that_was_typed_ahead_and_no_command_passes_a_card(
    clips: Path, tmp_path: Path, opened: Callable[..., Any]
) -> None:
    project = tmp_path / "p"
    with opened("prepare", clips, "--project", project, "--goal", "the look") as terminal:
        terminal.read_until(CAPTIONS)
        terminal.type("no\n")
        assert terminal.child.wait(PATIENCE_S) == 4
    with opened("chat", project, "--plain") as terminal:
        terminal.read_until(CAPTIONS)
        terminal.type("ok\nyes\nyes\nyes\n")
        assert "was left out" in terminal.read_until(PLAN)
        terminal.type("/plan steps\n")
        terminal.read_until(rf"optimization.steps(.|\n)*{PLAN}")
        terminal.type("/goal image to video\n")
        assert "i2v" in terminal.read_until(PLAN)
        terminal.type("yes?\n")
        terminal.read_until(PLAN)
        terminal.type("/start\n")
        terminal.read_until(PLAN)
        terminal.type("/quit\n")
        assert terminal.child.wait(PATIENCE_S) == 0
    assert not (project / "runs").exists()


@pytest.mark.parametrize("through", ["pipe", "file"])
def test_what_was_written_into_a_pipe_beforehand_answers_no_card(
    clips: Path, tmp_path: Path, ltx: Callable[..., Any], through: str
) -> None:
    command = ["chat", clips, "--plain"]
    if through == "pipe":
        ran = ltx(*command, stdin="the look\nyes\nyes\nyes\nyes\n")
    else:
        (tmp_path / "answers.txt").write_text("the look\nyes\nyes\nyes\nyes\n")
        with (tmp_path / "answers.txt").open() as answers:
            ran = subprocess.run(
                [Path(sys.executable).with_name("ltx-agent"), *command],
                cwd=tmp_path, stdin=answers, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
            )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "Nobody answered `captions`" in ran.stdout
    assert not list(tmp_path.rglob("config.yaml"))
