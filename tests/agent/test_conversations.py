"""Several conversations, looking back, undoing, news of runs, the slash commands."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.context import AgentContext, open_context
from agent.session.alerts import Watch
from agent.session.commands import obey
from agent.session.events import Heard, Said
from agent.session.session import Session, open_session
from agent.session.store import last_conversation, use_conversation
from tools.project import Project
from trainer_core.errors import ConfigError
from trainer_core.run_folder import RunStatus, create_run_folder


def test_conversations_of_a_project_are_apart(context: AgentContext, project: Project) -> None:
    import dataclasses

    with open_session(context) as session:
        list(session.begin("my film, 25 steps", until="monitor"))
    with open_session(dataclasses.replace(context, conversation="second look")) as session:
        assert session.state == {}
        list(session.say("what does rank mean?"))
        assert [known.name for known in session.conversations()] == ["second look", "conversation"]
        assert [known.title for known in session.conversations()] == ["what does rank mean?", "my film, 25 steps"]
    assert last_conversation(project.session_path) == "second look"
    use_conversation(project.session_path, "conversation")
    assert open_context(project).conversation == "conversation"
    with open_session(context) as session:
        assert session.pending() is not None


def test_undo_takes_back_decisions_one_by_one(session: Session, project: Project) -> None:
    list(session.begin("my film, 25 steps", until="monitor"))
    list(session.answer(True))
    list(session.answer(False, "use 77 steps"))
    assert '"steps":77' in project.config_path.read_text()
    assert [decision.what for decision in session.history()] == [
        "my film, 25 steps",
        "allowed: captions",
        "declined: plan",
    ]
    session.undo()
    pending = session.pending()
    assert pending is not None
    assert pending.approval == "plan"
    assert '"steps":25' in project.config_path.read_text()
    session.undo()
    assert not project.config_path.exists()
    pending = session.pending()
    assert pending is not None
    assert pending.approval == "captions"
    list(session.answer(True))
    assert '"steps":25' in project.config_path.read_text()


def test_undo_says_when_there_is_nothing(session: Session) -> None:
    with pytest.raises(ConfigError, match="no decision"):
        session.undo()


def test_the_transcript_is_what_was_said(session: Session) -> None:
    list(session.say("what does rank mean?"))
    heard = session.transcript()
    assert heard[0] == Heard("what does rank mean?")
    assert isinstance(heard[1], Said)


def test_commands(session: Session) -> None:
    list(session.say("what does rank mean?"))
    assert obey(session, "model", "")[0].startswith("You talk to builtin.")
    assert "of 500" in obey(session, "budget", "tokens 500")[0]
    assert "of" not in obey(session, "budget", "none")[0]
    assert "what does rank mean?" in obey(session, "history", "")[0]
    assert "conversation (this one)" in obey(session, "sessions", "")[0]
    assert obey(session, "undo", "")[0] == "Undone: what does rank mean?."
    for wrong in ("tokens many", "5", "tokens 0"):
        with pytest.raises(ConfigError):
            obey(session, "budget", wrong)


def test_news_of_runs_is_told_once_and_reaches_the_model(context: AgentContext, project: Project) -> None:
    with open_session(context) as session:
        assert session.alerts() == []
        run = create_run_folder(project.runs_path)
        run.config_path.write_text("model: {model_path: tiny}\n")
        run.write_status(
            RunStatus("diverged", step=7, steps=9, error="The loss is not finite.", started_at=time.time())
        )
        news = session.alerts()
        assert [(alert.level, "diverged" in alert.message) for alert in news] == [("stop", True)]
        assert session.alerts() == []
        list(session.say("help"))
        assert any(message.text.startswith("News:\n<data ") for message in session.state["messages"])
    assert not (project.path / "started").exists()


def test_an_edit_by_hand_is_checked_at_once(session: Session, project: Project) -> None:
    list(session.begin("my film, 25 steps", until="monitor"))
    list(session.answer(True))
    assert session.alerts() == []
    project.config_path.write_text("model: {model_path: tiny}\noptimization: {steps: many}\n")
    (alert,) = session.alerts()
    assert (alert.about, alert.level) == ("config.yaml", "warn")
    assert any("line 2" in line and "steps" in line for line in alert.evidence)
    assert session.alerts() == []


def test_what_was_before_is_no_news(project: Project) -> None:
    run = create_run_folder(project.runs_path)
    run.write_status(RunStatus("failed", step=1, steps=9))
    assert Watch(project).look() == []


def test_the_same_call_again_and_again_ends_the_turn(
    scripted: Callable[..., AgentContext], call: Callable[..., object]
) -> None:
    context = scripted(*[call("inspect_clips") for _ in range(9)])
    with open_session(context) as session:
        events = list(session.say("look"))
    assert len(context.model.replies) == 6  # type: ignore[attr-defined]
    assert any("again and again" in event.text for event in events if isinstance(event, Said))


def test_the_session_file_is_for_its_owner_alone(context: AgentContext, project: Project) -> None:
    with open_session(context) as session:
        list(session.say("help"))
    for path in (project.session_path, Path(str(project.session_path.with_suffix(".lock")))):
        assert path.stat().st_mode & 0o077 == 0
