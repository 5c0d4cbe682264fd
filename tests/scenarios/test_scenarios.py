"""The built-in planner: every conversation holds in full, and of the goals nearly all become what was meant."""

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


RIGHT = 0.95
"""The share of the goals that become the objective that was meant, or a question that names it."""
SILENTLY_WRONG = 0.02
"""The share that may become another plan without a question."""


def test_there_are_at_least_two_hundred_with_names_of_their_own() -> None:
    names = [one.name for one in (*SCENARIOS, *RUNNER.goals())]
    assert len(names) >= 200
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_scenario(scenario: Any, tmp_path: Path) -> None:
    score = RUNNER.play(scenario, Planner(), tmp_path)
    assert score.passed
    assert score.failures == []


def test_goals_become_what_was_meant(tmp_path: Path) -> None:
    scores = [RUNNER.play_goal(goal, Planner(), tmp_path / str(index)) for index, goal in enumerate(RUNNER.goals())]
    table = "\n".join(RUNNER.confusion(scores))
    wrong = "\n".join(f"{score.name}: {score.failures}" for score in scores if score.failures)
    told = f"{table}\n{wrong}"
    assert sum(not score.failures for score in scores) >= RIGHT * len(scores), told
    assert sum(score.is_silently_wrong for score in scores) <= SILENTLY_WRONG * len(scores), told
