"""The words of the trade in plain English: found by name, by another name, by spelling, by meaning."""

import difflib
import re
from functools import cache
from pathlib import Path

import yaml

from agent.planner.meaning import nearest
from trainer_core.strict import Strict

CLOSE_SPELLING = 0.82
MEANT = 0.35
"""How much a description must mean a term to be taken for it."""
NEAREST_SHOWN = 2


class Term(Strict):
    """One word: what it says, and what else people call it."""

    also: list[str] = []
    says: str


@cache
def terms() -> dict[str, Term]:
    """Every term by its name."""
    read = yaml.safe_load((Path(__file__).parent / "glossary.yaml").read_text(encoding="utf-8"))
    return {name: Term.model_validate(term) for name, term in read.items()}


def is_known(name: str) -> bool:
    """Whether `name` is a term, another name of one, or one of them misspelled."""
    return _found(name) is not None


def explain(name: str) -> str | None:
    """What `name` means; None where the glossary has nothing of the kind."""
    found = _found(name)
    return f"{found.capitalize()}: {terms()[found].says}" if found else None


def nearest_terms(name: str) -> list[str]:
    """The terms that `name` may have meant, the nearest first; empty where nothing is near."""
    spelled = difflib.get_close_matches(_bare(name), list(_names()), NEAREST_SHOWN, 0.6)
    return list(dict.fromkeys(_names()[one] for one in spelled))


def meant_term(question: str) -> str | None:
    """The explanation of the term that `question` describes without its name; None where none is clear."""
    found = nearest(question, kind="term")
    if not found or found[0].score < MEANT or found[0].label not in terms():
        return None
    return f"{found[0].label.capitalize()}: {terms()[found[0].label].says}"


def _found(name: str) -> str | None:
    bare = _bare(name)
    for one in (bare, bare.removesuffix("s"), bare.removesuffix("es")):
        if one in _names():
            return _names()[one]
    close = difflib.get_close_matches(bare, list(_names()), 1, CLOSE_SPELLING) if len(bare) > 3 else []
    return _names()[close[0]] if close else None


def _bare(name: str) -> str:
    bare = " ".join(re.sub(r"[^\w]+", " ", name.lower().replace("_", " ")).split())
    return re.sub(r"^(?:a|an|the|my|this|that|your) | (?:mean|means|exactly|again|here|for)$", "", bare)


@cache
def _names() -> dict[str, str]:
    """Every name, alias included, and the term it stands for."""
    return {_bare(alias): name for name, term in terms().items() for alias in (name, *term.also)}
