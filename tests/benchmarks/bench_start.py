"""How long `ltx-agent --help` and `plan-memory` take, against a Python that imports what they need: whole processes."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROUNDS = 15
TARGET = 1.5
PLAN_LIMIT_S = 2.0


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


@pytest.mark.bench
def test_start_of_plan_memory(tmp_path: Path, record_ratio: Callable[..., None]) -> None:
    plan_command = [str(Path(sys.executable).parent / "ltx-agent"), "plan-memory", "--objective", "t2v", "--json"]
    bare_command = [sys.executable, "-P", "-c", "import typer, yaml, pydantic, trainer_core.config"]
    pairs = [(seconds(plan_command, tmp_path), seconds(bare_command, tmp_path)) for _ in range(ROUNDS)]
    ours, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    note = f"median of {ROUNDS} whole processes, {ours:.2f} s"
    record_ratio("plan-memory / python + its imports", ours / bare, None, f"{note}; {bare:.2f} s of it are imports")
    record_ratio("plan-memory against its two seconds", ours / PLAN_LIMIT_S, 1.0, note)
