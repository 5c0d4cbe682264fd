"""Every scenario, with the built-in planner, holds in full."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.planner.chat_model import Planner

HERE = Path(__file__).parent


def _runner() -> Any:
    spec = importlib.util.spec_from_file_location("scenario_run", HERE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


RUNNER = _runner()
SCENARIOS = RUNNER.scenarios()


def test_there_are_at_least_sixty_with_names_of_their_own() -> None:
    names = [scenario.name for scenario in SCENARIOS]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_scenario(scenario: Any, tmp_path: Path) -> None:
    score = RUNNER.play(scenario, Planner(), tmp_path)
    assert score.passed
    assert score.failures == []
