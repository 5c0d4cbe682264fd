"""Slash commands: what a person does with the conversation itself, in every face alike. Each answers in lines."""

import time
from collections.abc import Callable

from pydantic import ValidationError

from agent.session import Session
from trainer_core.errors import ConfigError


def is_command(words: str) -> bool:
    """Whether `words` are for the program: a slash and one of its commands, not a path."""
    return words.startswith("/") and words[1:].split(" ", 1)[0] in _COMMANDS


def obey(session: Session, words: str) -> list[str]:
    """Do what the command says; return what to show. Raises ConfigError when it can't be done."""
    name, _, rest = words[1:].partition(" ")
    return _COMMANDS[name][0](session, rest.strip())


def _model(session: Session, name: str) -> list[str]:
    if name:
        session.set_model(name)
    return [f"You talk to {session.model_name}."]


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


def _sessions(session: Session, rest: str) -> list[str]:  # noqa: ARG001 (a command's signature)
    lines = [
        f"{'→' if known.name == session.name else ' '} {known.name}: {known.title or 'nothing said yet'}"
        for known in session.conversations()
    ]
    return [*lines, "Another one: ltx-agent chat --session NAME."]


def _history(session: Session, rest: str) -> list[str]:  # noqa: ARG001
    decisions = session.history()
    if not decisions:
        return ["Nothing was decided yet."]
    return [f"{time.strftime('%H:%M', time.localtime(decision.time))}  {decision.what}" for decision in decisions]


def _undo(session: Session, rest: str) -> list[str]:  # noqa: ARG001
    return session.undo()


def _help(session: Session, rest: str) -> list[str]:  # noqa: ARG001
    return [f"/{name:<9} {told}" for name, (_, told) in _COMMANDS.items()]


def _number(text: str) -> float:
    try:
        return float(text.replace(",", "").replace("_", ""))
    except ValueError as error:
        raise ConfigError(f"{text!r} is no number.", "Say /budget tokens 50000.") from error


_COMMANDS: dict[str, tuple[Callable[[Session, str], list[str]], str]] = {
    "model": (_model, "NAME or builtin: who you talk to"),
    "budget": (_budget, "tokens N, money X, or none: what it may spend; alone: what it has spent"),
    "sessions": (_sessions, "the conversations of this project"),
    "history": (_history, "what you said and allowed"),
    "undo": (_undo, "take back the last of it; files of the plan come back, runs go on"),
    "help": (_help, "this list"),
}
