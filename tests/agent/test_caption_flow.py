"""The spot check in a conversation: real tools, a scripted vision endpoint, and a person who wants it otherwise."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_openai import Answer, ScriptedOpenAI, serving

from agent.context import AgentContext
from agent.planner.chat_model import Planner
from agent.session.events import Asked, Event
from agent.session.session import open_session
from tools.caption.store.captions import read_captions
from tools.project import Project, ProjectFacts

GOOD = (
    "A cyclist rides along a narrow street past parked cars, leans into a slow turn and waves at somebody behind the "
    "camera, then rolls to a stop beside a low stone wall under grey, even daylight while the camera follows, clip"
)


@pytest.fixture
def real_project(tmp_path: Path, cut_footage: Path) -> Project:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(5):
        shutil.copy(cut_footage / "carphone.mp4", clips / f"{number}.mp4")
        with (clips / f"{number}.mp4").open("ab") as file:
            file.write(bytes([number]))
    project = Project(tmp_path / "real")
    project.path.mkdir()
    project.write_facts(ProjectFacts(sources=[str(clips)]))
    return project


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ScriptedOpenAI]:
    with serving() as server:
        monkeypatch.setenv("LTX_AGENT_SETTINGS", str(tmp_path / "none.yaml"))
        monkeypatch.setenv("LTX_AGENT_CAPTION_BASE_URL", server.url)
        monkeypatch.setenv("LTX_AGENT_CAPTION_MODEL", "vision-1")
        server.script = lambda request: Answer(f"{GOOD} {len(server.requests)}.")
        yield server


def asked(events: list[Event]) -> Asked:
    return next(event for event in events if isinstance(event, Asked))


def test_a_person_judges_three_captions_changes_them_and_lets_the_rest_be_written(
    real_project: Project, server: ScriptedOpenAI, heard: Callable[[Iterator[Event]], list[Event]]
) -> None:
    with open_session(AgentContext(real_project, Planner())) as session:
        card = asked(heard(session.begin("the look of my film", until="caption", fixed={}))).question
        assert (card.approval, card.question) == ("captions", "Caption the other 2 clips like these?")
        assert sum(GOOD in line for line in card.details) == 3
        assert {cost.kind for cost in card.costs} == {"time", "memory", "disk", "money"}
        assert len(server.requests) == 3

        again = asked(heard(session.answer(False, "call him a courier", until="caption"))).question
        assert again.approval == "captions"
        assert len(server.requests) == 6
        assert "call him a courier" in server.requests[-1]["messages"][0]["content"]
        assert real_project.facts.caption_notes == ["call him a courier"]

        rest = heard(session.answer(True, until="caption"))
        assert not any(isinstance(event, Asked) for event in rest)  # the person saw what they were like
    assert len(server.requests) == 8
    assert [row.source for row in read_captions(real_project.captions_path)] == ["endpoint"] * 5
