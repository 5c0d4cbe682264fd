"""Changing one value: in place, checked with lines, with a diff before it and a ledger after it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tools.draft.change import ChangeArguments, change_config, preview_change
from tools.draft.draft import DraftArguments
from tools.draft.edit import check_text, set_value
from tools.draft.experiments import recorded_changes
from tools.draft.tool import draft_config, preview_draft
from tools.monitor.experiments import ExperimentsArguments, list_experiments
from tools.project import Project
from trainer_core.config import load_config
from trainer_core.errors import ConfigError
from trainer_core.run_folder import RunStatus, create_run_folder
from trainer_core.yaml_errors import Loader

from .conftest import make_clip

MakeProject = Callable[..., Project]
TEXT = "a: 1  # one\nlora:\n  rank: 8   # the rank\n  names: [x, y]\noptimization: {steps: 3}\n"


@pytest.fixture
def drafted(make_project: MakeProject) -> Project:
    project = make_project([make_clip(f"{name}.mp4") for name in "abcd"])
    draft_config(project, DraftArguments())
    return project


def change(project: Project, name: str, value: Any) -> Any:
    return change_config(project, ChangeArguments(name=name, value=value, reason="because"))


def test_what_follows_from_a_value_follows(drafted: Project) -> None:
    result = change(drafted, "lora.rank", 16)
    config = load_config(drafted.config_path)
    assert config.lora is not None
    assert (config.lora.rank, config.lora.alpha) == (16, 16)
    assert (result.before, result.after) == (8, 16)
    assert any(line.startswith("+") and "rank: 16" in line for line in result.diff)
    assert "16" in drafted.plan_path.read_text()


def test_a_persons_edit_stays_when_another_value_changes(drafted: Project) -> None:
    path = drafted.config_path
    path.write_text(path.read_text().replace("seed: 42", "seed: 7  # mine"))
    before = path.read_text()
    change(drafted, "optimization.steps", 90)
    after = path.read_text()
    assert "seed: 7  # mine" in after
    changed = [line for line in after.split("\n") if line not in before.split("\n")]
    assert len(changed) == 1
    assert "steps: 90" in changed[0]
    assert load_config(path).optimization.steps == 90


def test_what_was_asked_for_stays_in_the_next_draft(drafted: Project) -> None:
    change(drafted, "optimization.steps", 90)
    draft_config(drafted, DraftArguments(objective="i2v"))
    config = load_config(drafted.config_path)
    assert (config.optimization.steps, config.ltx_agent.objective) == (90, "i2v")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("optimization.steps", 0, "greater than or equal to 1"),
        ("optimization.stepps", 5, "did you mean `steps`"),
        ("training_strategy.video.is_generated", False, "isn't changed alone"),
        ("optimization.learning_rate", "fast", "learning_rate"),
    ],
)
def test_a_wrong_change_is_refused_before_anything_is_written(
    drafted: Project, name: str, value: Any, says: str
) -> None:
    before = drafted.config_path.read_text(), drafted.facts
    with pytest.raises(ConfigError, match=says):
        change(drafted, name, value)
    assert (drafted.config_path.read_text(), drafted.facts) == before


def test_the_preview_is_the_change(drafted: Project) -> None:
    preview = preview_change(drafted, ChangeArguments(name="optimization.steps", value=90))
    assert preview is not None
    assert load_config(drafted.config_path).optimization.steps == 60
    assert change(drafted, "optimization.steps", 90).diff == preview.lines
    assert preview_change(drafted, ChangeArguments(name="optimization.steps", value=90)) is None


def test_drafting_over_an_edit_asks_to_overwrite(drafted: Project) -> None:
    assert preview_draft(drafted, DraftArguments()) is None
    drafted.config_path.write_text(drafted.config_path.read_text().replace("seed: 42", "seed: 7"))
    preview = preview_draft(drafted, DraftArguments())
    assert preview is not None
    assert preview.approval == "overwrite"
    assert any(line.startswith("-seed: 7") for line in preview.lines)


def test_the_ledger_and_the_runs_tell_what_changed(drafted: Project) -> None:
    for steps in (60, 90):
        change(drafted, "optimization.steps", steps)
        run = create_run_folder(drafted.runs_path)
        run.config_path.write_text(drafted.config_path.read_text())
        run.write_status(RunStatus("done", step=steps, steps=steps))
    change(drafted, "lora.rank", 4)
    result = list_experiments(drafted, ExperimentsArguments())
    assert [[change.name for change in experiment.changed] for experiment in result.experiments] == [
        [],
        ["optimization.steps"],
    ]
    assert [change.name for change in result.changed_since] == ["lora.rank"]
    assert [row["name"] for row in recorded_changes(drafted)] == ["optimization.steps", "lora.rank"]
    assert "told apart" in change(drafted, "optimization.learning_rate", 1e-4).note


def test_an_editor_is_told_the_lines(drafted: Project) -> None:
    text = drafted.config_path.read_text()
    assert check_text(text) == []
    line = next(number for number, content in enumerate(text.split("\n"), 1) if content.strip().startswith("steps:"))
    found = check_text(text.replace("steps: 60", "steps: many"))
    assert [(fault.line, "steps" in fault.message) for fault in found] == [(line, True)]


@pytest.mark.parametrize(
    ("name", "value", "becomes"),
    [
        ("a", 2, "a: 2"),
        ("lora.rank", 5e-05, "  rank: 5.0e-05"),
        ("lora.names", ["z"], '  names: ["z"]'),
        ("lora.rank", None, "  rank: null"),
        ("lora.new", "yes", '  new: "yes"'),
    ],
)
def test_one_line_changes(name: str, value: Any, becomes: str) -> None:
    text, _ = set_value(TEXT, name, value, "why")
    changed = [line for line in text.split("\n") if line not in TEXT.split("\n")]
    assert len(changed) == 1
    assert changed[0].startswith(becomes)
    assert changed[0].endswith("# why")


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text(), st.none()))
def test_any_value_reads_back_as_itself(value: Any) -> None:
    text, _ = set_value(TEXT, "lora.rank", value, "a reason: with # marks\nand lines")
    found = yaml.load(text, Loader=Loader)
    assert found["lora"]["rank"] == value
    assert (found["a"], found["optimization"], found["lora"]["names"]) == (1, {"steps": 3}, ["x", "y"])
    assert json.dumps(found)
