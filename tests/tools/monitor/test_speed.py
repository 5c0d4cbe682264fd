"""What is slow or stands still is said in words, with the measured values."""

from typing import Any

import pytest

from tools.monitor.speed import measure_speed
from trainer_core.run_folder import RunStatus

RUNNING = RunStatus("running", stage="training", started_at=0.0)


def rows(*stretches: tuple[int, dict[str, float]]) -> list[dict[str, Any]]:
    usual = {"data": 0.01, "forward": 0.3, "backward": 0.6, "optimizer": 0.09}
    seconds = [{**usual, **changed} for count, changed in stretches for _ in range(count)]
    return [{"step": index + 1, "time_s": float(index + 1), "step_s": one} for index, one in enumerate(seconds)]


@pytest.mark.parametrize(
    ("stretches", "remark"),
    [
        ([(100, {"data": 0.8})], "data takes 45% of a step: the step waits for the loader"),
        ([(100, {"optimizer": 0.9})], "optimizer takes 50% of a step"),
        (
            [(100, {}), (40, {"backward": 3.0})],
            "a step takes 3.4 s, 3.4 times what it took at first (1 s), mostly in backward",
        ),
        ([(100, {})], None),
        ([(5, {"forward": 60.0}), (100, {})], None),
    ],
)
def test_a_slow_part_is_named(stretches: list[tuple[int, dict[str, float]]], remark: str | None) -> None:
    measured = rows(*stretches)
    found = measure_speed(measured, RUNNING, now=measured[-1]["time_s"] + 1).remarks
    assert found == [] if remark is None else remark in found[0]


def test_a_standstill_says_since_when() -> None:
    found = measure_speed(rows((100, {})), RUNNING, now=100.0 + 240).remarks
    assert found[0].startswith("no step for 240 s; a step usually takes 1 s")
    assert measure_speed(rows((100, {})), RUNNING, now=100.0 + 30).remarks == []
    assert measure_speed(rows((100, {})), RunStatus("done"), now=1e9).remarks == []


def test_nothing_measured_says_nothing() -> None:
    assert measure_speed([], RunStatus("queued")).step_s == {}
