"""Every card that can come up states what a yes costs: time, memory, disk and money, each known, nothing or unknown.

The tools are taken from their own declarations: one that gets an approval and no way to its card here fails.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hub_of_models import model_hub
from scripted_openai import Answer, serving

from agent.approvals import cards
from agent.approvals.cards import call_card, cost_lines
from agent.llm.settings import Prices, Settings
from agent.session.events import Question
from tools.caption.tool import CaptionArguments, caption_clips, caption_rest
from tools.draft.draft import DraftArguments
from tools.draft.tool import draft_config
from tools.inspect.remedies.tool import RemedyArguments, remedy_clips
from tools.inspect.tool import InspectArguments, inspect_clips
from tools.project import Project, ProjectFacts
from tools.registry import node_tools
from tools.spec import CostKind, Preview
from trainer_core.run_folder import RunStatus, create_run_folder

APPROVED = {tool.name: tool for tools in node_tools().values() for tool in tools if tool.needs_approval is not None}
KINDS = set(get_args(CostKind))
MODEL = "tests/small"
CAPTIONS = {"caption_rest": {}, "fix_captions": {"rewrite": True}, "download_captioner": {"model": MODEL}}
"""Tools whose card comes up between the spot check and the rest, with their arguments."""
REST: dict[str, dict[str, Any]] = {
    "remedy_clips": {"remedy": "trim", "clips": ["bikes_1.mp4"], "start_s": 0.5},
    "undo_remedies": {"clips": ["bikes_2.mp4"]},
    "make_inputs": {"column": "reference_video", "kind": "edges"},
    "draft_config": {"steps": 77},
    "change_config": {"name": "optimization.steps", "value": 78},
    "rehearse_training": {},
    "start_training": {},
    "resume_training": {},
    "export_adapter": {"overwrite": True},
    "push_to_hub": {"repo_id": "owner/name"},
}


def card_of(project: Project, name: str, arguments: dict[str, Any], settings: Settings) -> Question:
    tool = APPROVED[name]
    card = call_card(tool, tool.arguments.model_validate(arguments), project, [], settings)
    assert card is not None, f"{name} asks nothing with {arguments}"
    return card


@pytest.fixture(scope="module", params=[None, 2.5], ids=["no price", "a price"])
def walked(
    request: pytest.FixtureRequest, cut_footage: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, dict[str, Question]]:
    """A project of real clips, and the card of every tool in the state of the work in which it comes up."""
    settings = Settings(prices=Prices(gpu_hour=request.param))
    folder = tmp_path_factory.mktemp("cards")
    project = Project(folder / "project")
    project.path.mkdir()
    shutil.copytree(cut_footage, folder / "clips")
    (folder / "model").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(bytes(1000))
    project.write_facts(ProjectFacts(sources=[str(folder / "clips")]))
    with serving() as server, model_hub(MODEL, folder / "model") as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTX_AGENT_SETTINGS", str(folder / "none.yaml"))
        patch.setenv("LTX_AGENT_CAPTION_BASE_URL", server.url)
        patch.setenv("LTX_AGENT_CAPTION_MODEL", "vision-1")
        patch.setattr("huggingface_hub.hf_api.api.endpoint", hub.url)
        patch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        server.script = lambda _: Answer("The same.")
        inspect_clips(project, InspectArguments())
        caption_clips(project, CaptionArguments())
        found = {name: card_of(project, name, given, settings) for name, given in CAPTIONS.items()}
        caption_rest(project, CaptionArguments())
    remedy_clips(project, RemedyArguments(remedy="trim", clips=["bikes_2.mp4"], start_s=0.5))
    draft_config(project, DraftArguments(steps=9))
    run = create_run_folder(project.runs_path)
    shutil.copy(project.config_path, run.config_path)
    run.write_status(RunStatus("failed", step=3, steps=9, started_at=1.0))
    (run.path / "export").mkdir()
    (run.path / "export" / "README.md").write_text("An adapter.")
    found |= {name: card_of(project, name, given, settings) for name, given in REST.items()}
    return project, found


def test_every_tool_that_asks_states_all_four_costs(walked: tuple[Project, dict[str, Question]]) -> None:
    _, found = walked
    assert set(found) == set(APPROVED), "give the new tool's arguments, so that its card is looked at"
    for name, card in found.items():
        told = {cost.kind: cost for cost in card.costs}
        assert set(told) == KINDS, name
        assert all(len(cost.text) > 5 for cost in card.costs), name
        assert all(cost.basis == "unknown" for cost in card.costs if cost.value is None), name
        shown = "\n".join(cost_lines(card.costs))
        assert all(kind in shown for kind in KINDS), name


def test_the_reviews_and_the_fall_back_state_them_too(walked: tuple[Project, dict[str, Question]]) -> None:
    project, _ = walked
    error = {"message": "It failed.", "hint": "", "exit_code": 6}
    made = [cards.captions_card(project), cards.inputs_card(project), cards.plan_card(project)]
    made.append(cards.fallback_card(error))
    assert len(made) + 1 == sum(name.endswith("_card") for name in vars(cards)), "call_card is looked at above"
    for card in made:
        assert {cost.kind for cost in card.costs} == KINDS, card.approval


@pytest.mark.parametrize("name", APPROVED)
def test_what_a_tool_does_not_say_is_unknown(walked: tuple[Project, dict[str, Question]], name: str) -> None:
    """A tool without a preview, or with one that names no cost, still has no card that leaves one out."""
    project, _ = walked
    arguments = APPROVED[name].arguments.model_construct()
    for preview in (None, lambda *_: Preview("Do it?", [])):
        card = call_card(replace(APPROVED[name], preview=preview), arguments, project, [], Settings())
        assert card is not None
        assert {cost.kind: cost.basis for cost in card.costs} == dict.fromkeys(KINDS, "unknown")
