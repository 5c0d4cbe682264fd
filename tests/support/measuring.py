"""What several benchmarks measure with: seconds, pairs in turn, peak memory of a process of its own."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def timed(run: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def processor_s(run: Callable[[], object]) -> float:
    """Processor seconds of one call, those of the processes that it started and waited for included."""

    def spent() -> float:
        used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

    before = spent()
    run()
    return spent() - before


def lower_quartile(seconds: list[float]) -> float:
    """What a call takes when nothing else disturbs the machine: more repeatable than the median."""
    return statistics.quantiles(seconds, n=4)[0]


def in_turn(ours: Callable[[], object], bare: Callable[[], object], repeats: int) -> tuple[float, float]:
    """(ratio of ours to bare, seconds of ours): lower quartiles over `repeats` pairs, one after the other.

    Both orders take turns: what one leaves in the caches, the other finds.
    """
    pairs = []
    for number in range(repeats):
        first, second = (ours, bare) if number % 2 else (bare, ours)
        seconds = {first: timed(first), second: timed(second)}
        pairs.append((seconds[ours], seconds[bare]))
    ours_s, bare_s = (lower_quartile([pair[side] for pair in pairs]) for side in (0, 1))
    return ours_s / bare_s, ours_s


def in_a_child(script: str, *arguments: str) -> list[str]:
    """The last line's words of `script` run as a process of its own, which sees this checkout."""
    seen = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])
    done = subprocess.run(
        [sys.executable, script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": seen},
    )
    return done.stdout.splitlines()[-1].split()


def forget_peak() -> None:
    """Let VmHWM, the peak of this process's resident memory, count from here."""
    Path("/proc/self/clear_refs").write_text("5")


def kibibytes(name: str) -> int:
    """A figure of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
