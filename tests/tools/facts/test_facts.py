"""Answers from a project's files: true of them, named where they come from, that nothing is made yet too."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.draft.change import ChangeArguments, change_config
from tools.draft.draft import DraftArguments
from tools.draft.tool import draft_config
from tools.facts.costs import energy_text
from tools.facts.tool import FactsArguments, Topic, project_facts
from tools.facts.values import reasons_of
from tools.prices import Prices, money_of
from tools.project import Project
from tools.spec import CostLine
from trainer_core.errors import ConfigError

from ..draft.conftest import make_clip, make_project  # noqa: F401 (a fixture)

MakeProject = Callable[..., Project]


def told(project: Project, topic: Topic, name: str | None = None) -> str:
    return "\n".join(project_facts(project, FactsArguments(topic=topic, name=name)).facts)


@pytest.fixture
def planned(make_project: MakeProject) -> Project:  # noqa: F811
    project = make_project(
        [make_clip("a.mp4"), make_clip("b.mp4"), make_clip("c.mp4", status="unusable")], objective="t2v"
    )
    draft_config(project, DraftArguments())
    return project


def test_before_anything_is_made_it_says_so(tmp_path: Path, make_project: MakeProject) -> None:  # noqa: F811
    project = make_project([make_clip("a.mp4")])
    for topic in ("costs", "values"):
        assert re.search(r"no plan|there is none yet", told(project, topic))  # type: ignore[arg-type]
    assert "I made report.json, captions.jsonl" in told(project, "changes")


def test_costs_name_every_kind_and_one_alone(planned: Project) -> None:
    lines = told(planned, "costs").splitlines()
    assert [line.split(":")[0] for line in lines] == ["Time", "Energy", "Memory", "Disk", "Money"]
    assert told(planned, "costs", "energy") == lines[1]


def test_energy_is_an_upper_bound_and_unknown_without_a_gpu() -> None:
    hour = CostLine("time", "an hour", 3600.0, "estimated")
    assert "at most 0.7 kWh" in energy_text(hour, 700.0)
    assert "for each hour" in energy_text(CostLine("time", "?"), 700.0)
    assert "unknown" in energy_text(hour, None)


def test_money_needs_a_price() -> None:
    hour = CostLine("time", "an hour", 3600.0, "estimated")
    assert money_of(hour, Prices(gpu_hour=2.5)).value == 2.5
    assert "no price" in money_of(hour, Prices()).text
    assert "for each hour" in money_of(CostLine("time", "?"), Prices(gpu_hour=2.5)).text


def test_values_have_the_reasons_of_the_config(planned: Project) -> None:
    assert told(planned, "values", "rank").startswith("rank is 8: ")
    assert "steps is " in told(planned, "values")
    with pytest.raises(ConfigError, match="no value called 'flux'"):
        told(planned, "values", "flux")


def test_a_reason_stands_behind_a_value_or_above_its_section() -> None:
    text = "# head\nlora:\n  rank: 8    # few clips\n# why this\noptimization:\n  steps: 60\n"
    found = reasons_of(text)
    assert found["lora.rank"] == ("8", "few clips")
    assert found["optimization"] == ("", "why this")
    assert found["optimization.steps"] == ("60", "")


def test_changes_are_told_with_their_reasons(planned: Project) -> None:
    change_config(planned, ChangeArguments(name="lora.rank", value=16, reason="you said: rank 16"))
    assert "lora.rank: 8 → 16 (you said: rank 16)" in told(planned, "changes")


def test_clips_that_train_and_those_that_do_not(planned: Project) -> None:
    assert "it has 5 frames" in told(planned, "clips")
    one = told(planned, "clips", "3")
    assert one.startswith("c.mp4: unusable")
    assert "left out" in one
    assert "It trains." in told(planned, "clips", "a.mp4")


def test_enough_quotes_folklore_as_such_and_promises_nothing(planned: Project) -> None:
    words = told(planned, "enough")
    assert "folklore" in words
    assert "only the trained result shows" in words


def test_captions_of_all_and_of_one(planned: Project) -> None:
    assert "2 measured" in told(planned, "captions")
    assert told(planned, "captions", "b.mp4") == "b.mp4: What b.mp4 shows."


def test_licences_are_no_advice_and_use_says_where_the_file_goes(planned: Project) -> None:
    assert "not legal advice" in told(planned, "licence")
    assert "models/loras" in told(planned, "use")
