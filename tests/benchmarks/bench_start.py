"""How long `ltx-agent --help` takes, against a Python that imports typer: whole processes, in turn."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROUNDS = 15
TARGET = 1.5


def seconds(command: list[str], folder: Path) -> float:
    begin = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


@pytest.mark.bench
def test_start_of_help(tmp_path: Path, record_ratio: Callable[..., None]) -> None:
    help_command = [str(Path(sys.executable).parent / "ltx-agent"), "--help"]
    typer_command = [sys.executable, "-c", "import typer"]
    pairs = [(seconds(help_command, tmp_path), seconds(typer_command, tmp_path)) for _ in range(ROUNDS)]
    ours, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    record_ratio("start of `ltx-agent --help` / python + import typer", ours / bare, TARGET, f"median of {ROUNDS}")
