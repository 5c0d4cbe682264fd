"""The graph: the four nodes in order, jumps, approvals, errors, and what a scripted model can and can't do."""

from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from agent.context import AgentContext
from agent.session.events import Asked, Called, Progressed, Returned, Said
from agent.session.session import Session, open_session
from prompts.fence import unfence
from tools.project import Project


def called(events: list[Any]) -> list[str]:
    return [event.tool for event in events if isinstance(event, Called)]


def asked(events: list[Any]) -> str | None:
    return next((event.question.approval for event in events if isinstance(event, Asked)), None)


def test_the_whole_way_with_the_planner(session: Session, project: Project) -> None:
    events = list(session.begin("animate my photos, 500 steps", until="monitor"))
    assert called(events) == ["inspect_clips", "caption_clips"]
    assert Progressed("clips", 1, 2) in events
    assert asked(events) == "captions"
    events = list(session.answer(True))
    assert called(events) == ["draft_config"]
    assert asked(events) == "plan"
    events = list(session.answer(True))
    assert asked(events) == "start"
    assert not (project.path / "started").exists()
    list(session.answer(True))
    assert (project.path / "started").read_text() == "x"
    assert session.pending() is None
    assert session.state["artifacts"]["config"] == "config.yaml"


def test_prepare_ends_with_the_draft(session: Session) -> None:
    list(session.begin("the look of my film", until="draft"))
    list(session.answer(True))
    events = list(session.answer(True))
    assert called(events) == []
    assert session.pending() is None
    assert session.state["stage"] == "draft"


def test_an_approval_is_for_one_start(session: Session, project: Project) -> None:
    list(session.begin("the look of my film", until="monitor"))
    for _ in range(3):
        list(session.answer(True))
    assert asked(list(session.say("start"))) == "start"
    assert (project.path / "started").read_text() == "x"


def test_declining_starts_nothing(session: Session, project: Project) -> None:
    list(session.begin("the look of my film", until="monitor"))
    list(session.answer(True))
    list(session.answer(True))
    events = list(session.answer(False))
    assert "Nothing was started" in next(event.text for event in events if isinstance(event, Said))
    assert not (project.path / "started").exists()


def test_declining_a_plan_with_words_changes_it(session: Session, project: Project) -> None:
    list(session.begin("the look of my film", until="monitor"))
    list(session.answer(True))
    events = list(session.answer(False, "use 77 steps"))
    assert '"steps":77' in project.config_path.read_text()
    assert asked(events) == "plan"


def test_declined_captions_wait_for_corrections(session: Session) -> None:
    list(session.begin("the look of my film", until="monitor"))
    events = list(session.answer(False, "they are dull"))
    assert called(events) == []
    assert asked(events) == "captions"
    assert called(list(session.answer(False))) == []
    assert session.pending() is None
    assert asked(list(session.say("go on"))) == "captions"


def test_what_was_approved_needs_no_second_approval(session: Session) -> None:
    list(session.begin("the look of my film", until="draft"))
    list(session.answer(True))
    list(session.answer(True))
    assert asked(list(session.begin("the look of my film", until="draft"))) is None
    assert asked(list(session.begin("the look of my film, 40 steps", until="draft"))) == "change"


def test_words_that_nobody_understands_do_nothing(session: Session, project: Project) -> None:
    list(session.begin("the look of my film", until="monitor"))
    for approved in (True, True, False):
        list(session.answer(approved))
    events = list(session.say("blorb"))
    assert called(events) == []
    assert not (project.path / "started").exists()


def test_a_tool_error_reaches_the_person_and_the_state(session: Session, project: Project) -> None:
    (project.path / "no-clips").touch()
    events = list(session.begin("the look of my film", until="draft"))
    assert Returned("inspect_clips", None, "The folder holds no clip. Put one in.") in events
    assert session.state["error"] == {"message": "The folder holds no clip.", "hint": "Put one in.", "exit_code": 3}
    (project.path / "no-clips").unlink()
    assert asked(list(session.say("go on"))) == "captions"
    assert session.state["error"] is None


def test_the_same_error_twice_ends_the_turn(scripted: Callable[..., AgentContext], call: Any, project: Project) -> None:
    (project.path / "no-clips").touch()
    context = scripted(call("inspect_clips"), call("inspect_clips"), AIMessage("never asked"))
    with open_session(context) as session:
        events = list(session.begin("the look of my film", until="draft"))
    assert Said("The folder holds no clip. Put one in.") in events
    assert len(context.model.replies) == 1  # type: ignore[attr-defined]


def test_a_node_binds_its_own_tools_alone(scripted: Callable[..., AgentContext], call: Any) -> None:
    context = scripted(call("inspect_clips"), AIMessage("Two clips."), call("run_status"), AIMessage("I can't here."))
    with open_session(context) as session:
        list(session.begin("the look of my film", until="monitor"))
        refused = session.state["messages"][-2]
    assert context.model.bound[0] == ["inspect_clips", "go_to"]  # type: ignore[attr-defined]
    assert context.model.bound[2] == ["caption_clips", "go_to"]  # type: ignore[attr-defined]
    assert isinstance(refused, ToolMessage)
    assert refused.status == "error"
    assert "no tool 'run_status'" in refused.text


def test_wrong_arguments_come_back_as_an_error(scripted: Callable[..., AgentContext], call: Any) -> None:
    context = scripted(
        call("go_to", stage="draft"),
        call("draft_config", steps=0, colour="red"),
        call("draft_config"),
        AIMessage("Done."),
    )
    with open_session(context) as session:
        list(session.begin("the look of my film", until="draft"))
        answer = next(m for m in session.state["messages"] if isinstance(m, ToolMessage) and m.status == "error")
    assert "steps" in answer.text
    assert "colour" in answer.text


def test_arguments_that_are_no_json_are_answered(scripted: Callable[..., AgentContext]) -> None:
    broken = {"name": "inspect_clips", "args": "{oops", "id": "b1", "error": "no JSON", "type": "invalid_tool_call"}
    context = scripted(AIMessage("", invalid_tool_calls=[broken]), AIMessage("I give up."))
    with open_session(context) as session:
        list(session.begin("the look of my film", until="draft"))
        answer = session.state["messages"][-2]
    assert isinstance(answer, ToolMessage)
    assert answer.tool_call_id == "b1"
    assert "not a JSON object" in answer.text


def test_the_command_line_wins_over_the_model(
    scripted: Callable[..., AgentContext], call: Any, project: Project
) -> None:
    context = scripted(call("go_to", stage="draft"), call("draft_config", objective="i2v", steps=5), AIMessage("Done."))
    with open_session(context) as session:
        list(session.begin("the look of my film", until="draft", fixed={"objective": "t2v", "captioner": "measured"}))
    assert '"objective":"t2v"' in project.config_path.read_text()
    assert '"steps":5' in project.config_path.read_text()


def test_prepare_never_reaches_training(scripted: Callable[..., AgentContext], call: Any, project: Project) -> None:
    context = scripted(call("go_to", stage="monitor"), AIMessage("Then not."))
    with open_session(context) as session:
        list(session.begin("the look of my film", until="draft"))
        assert session.pending() is None
        assert session.state["stage"] == "inspect"


def test_a_model_that_goes_round_in_circles_is_stopped(scripted: Callable[..., AgentContext], call: Any) -> None:
    context = scripted(*[call("go_to", stage=stage) for _ in range(40) for stage in ("caption", "inspect")])
    with open_session(context) as session:
        events = list(session.begin("the look of my film", until="draft"))
    assert called(events) == ["go_to"] * 5
    assert "again and again" in next(event.text for event in events if isinstance(event, Said))


def test_results_stand_in_a_fence_and_the_state_in_the_prompt(scripted: Callable[..., AgentContext], call: Any) -> None:
    context = scripted(call("inspect_clips"), AIMessage("Two."), AIMessage("No captions."))
    with open_session(context) as session:
        list(session.begin("a goal", until="draft"))
    seen = context.model.seen[1]  # type: ignore[attr-defined]
    assert isinstance(seen[0], SystemMessage)
    assert '"goal": "a goal"' in (unfence("state", seen[0].text) or "")
    assert '"clips": 2' in (unfence("data", seen[-1].text) or "")


def test_the_models_turn_never_follows_its_own_words(scripted: Callable[..., AgentContext], call: Any) -> None:
    replies = [call("inspect_clips"), AIMessage("Two."), call("caption_clips"), AIMessage("One caption.")]
    context = scripted(*replies, call("draft_config"), AIMessage("A plan."))
    with open_session(context) as session:
        list(session.begin("the look of my film", until="draft"))
        list(session.answer(True))
    for messages in context.model.seen:  # type: ignore[attr-defined]
        assert isinstance(messages[-1], HumanMessage | ToolMessage)
