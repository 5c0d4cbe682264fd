"""Slash commands about the conversation itself, alike in every face; each answers in lines. Their table: slash.py."""

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from agent.session.session import Session
from agent.session.transcript import markdown
from trainer_core.errors import ConfigError
from trainer_core.files import write_text


def obey(session: Session, name: str, argument: str) -> list[str]:
    """Do what the command `name` of OF_SESSION says; return what to show. Raises LtxError when it can't be done."""
    return OF_SESSION[name](session, argument)


def _model(session: Session, name: str) -> list[str]:
    if not name:
        return [f"You talk to {session.model_name}. /model NAME talks to another one, /model builtin to the rules."]
    session.set_model(name)
    return [f"You talk to {session.model_name} from now on."]


def _goal(session: Session, _rest: str) -> list[str]:
    goal = session.project.facts.goal
    return [f"The goal: {goal}" if goal else "No goal is named. /goal TEXT names one."]


def _export(session: Session, file: str) -> list[str]:
    path = Path(file).expanduser() if file else session.project.path / "conversation.md"
    write_text(path, markdown(session.transcript()))
    return [f"The conversation is in {path}."]


def _budget(session: Session, rest: str) -> list[str]:
    """`/budget tokens 50000 money 2`, `/budget none`, `/budget`."""
    if rest:
        parts = rest.split()
        limits: dict[str, float | None] = session.budget.model_dump()
        if parts == ["none"]:
            limits = dict.fromkeys(limits)
        elif len(parts) % 2 or any(part not in limits for part in parts[::2]):
            raise ConfigError(f"/budget {rest} is not understood.", "Say /budget tokens N, /budget money X, or none.")
        else:
            for kind, number in zip(parts[::2], parts[1::2], strict=True):
                limits[kind] = _number(number)
        try:
            session.set_budget(session.budget.model_validate(limits))
        except ValidationError as error:
            raise ConfigError(f"/budget {rest}: {error.errors()[0]['msg']}.", "Say a number above 0.") from error
    spent, budget = session.spent(), session.budget
    tokens = f"{spent.tokens} tokens" + (f" of {budget.tokens}" if budget.tokens else "")
    money = f"{spent.money:.4f}" + (f" of {budget.money:g}" if budget.money else "")
    return [f"Used: {tokens}; money by the settings' prices: {money}."]


def _sessions(session: Session, _rest: str) -> list[str]:
    lines = [
        f"{known.name}{' (this one)' if known.name == session.name else ''}: {known.title or 'nothing said yet'}"
        for known in session.conversations()
    ]
    return [*lines, "Another one: ltx-agent chat --session NAME."]


def _history(session: Session, _rest: str) -> list[str]:
    decisions = session.history()
    if not decisions:
        return ["Nothing was decided yet."]
    return [f"{time.strftime('%H:%M', time.localtime(decision.time))}  {decision.what}" for decision in decisions]


def _undo(session: Session, _rest: str) -> list[str]:
    return session.undo()


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "").replace("_", ""))
    except ValueError as error:
        raise ConfigError(f"{text!r} is no number.", "Say /budget tokens 50000.") from error


OF_SESSION: dict[str, Callable[[Session, str], list[str]]] = {
    "model": _model,
    "goal": _goal,
    "budget": _budget,
    "sessions": _sessions,
    "history": _history,
    "undo": _undo,
    "export": _export,
}
