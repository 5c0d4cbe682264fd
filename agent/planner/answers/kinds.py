"""The answer to each kind of question: one function a kind, from the words and the state to words or a tool call."""

from collections.abc import Callable
from functools import partial
from typing import Any

from agent.planner.answers import assistant, project, work
from agent.planner.calls import Call, live_run
from agent.planner.questions import QuestionKind

Answer = Callable[[str, dict[str, Any]], str | Call]


def answer_to(kind: QuestionKind, words: str, state: dict[str, Any]) -> str | Call:
    """Answer a question of this kind."""
    return _ANSWERS[kind](words, state)


def _duration(words: str, state: dict[str, Any]) -> str | Call:
    return ("run_status", {}) if live_run(state) else project.duration(words)


def _from_project(answer: Callable[[str], Call]) -> Answer:
    return lambda words, _state: answer(words)


def _from_state(answer: Callable[[dict[str, Any]], str | Call]) -> Answer:
    return lambda _words, state: answer(state)


_ANSWERS: dict[QuestionKind, Answer] = {
    "cost": _from_project(project.costs),
    "duration": _duration,
    "why": _from_project(project.values),
    "changed": _from_project(project.changes),
    "clips": _from_project(project.clips),
    "captions": _from_project(project.captions),
    "enough": _from_project(project.enough),
    "use": _from_project(project.use),
    "commercial": _from_project(project.licence),
    "next": _from_state(work.next_step),
    "files": _from_state(work.files),
    "model": _from_state(work.model),
    "trigger": _from_state(work.trigger),
    "quality": _from_state(work.quality),
    "status": _from_state(work.status),
    "details": _from_state(work.status),
    "privacy": _from_state(assistant.privacy),
    "who": _from_state(partial(assistant.about_itself, "who")),
    "abilities": _from_state(partial(assistant.about_itself, "help")),
    "languages": _from_state(partial(assistant.about_itself, "languages")),
    "undoing": _from_state(partial(assistant.about_itself, "undoing")),
    "what_if": _from_state(partial(assistant.about_itself, "what_if")),
    "background": _from_state(partial(assistant.about_itself, "background")),
    "promise": _from_state(partial(assistant.about_itself, "promise")),
    "greeting": _from_state(partial(assistant.about_itself, "greeting")),
    "thanks": _from_state(partial(assistant.about_itself, "thanks")),
    "off_topic": _from_state(partial(assistant.about_itself, "off_topic")),
}
