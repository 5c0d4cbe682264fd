"""The words of docstrings: they begin with what a thing is or does."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent
PRODUCT = sorted(path for part in ("agent", "tools", "trainer_core", "prompts") for path in (HERE / part).rglob("*.py"))
QUESTION_WORDS = frozenset({"what", "which", "how", "whether", "where", "who", "whose", "when", "why"})


def first_word(docstring: str) -> str:
    """First word in lower case, without the punctuation around it."""
    return docstring.split()[0].strip("\"'`.,:;").lower()


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(HERE)))
def test_a_module_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree)
    if docstring is None:
        assert not tree.body, f"{path} has code and no docstring"
        return
    assert first_word(docstring) not in QUESTION_WORDS, docstring.splitlines()[0]


BEING_WRITTEN = ("agent/approvals/", "agent/planner/", "agent/ui/")
"""Rooms whose functions still ask questions; their modules don't."""


def public_docstrings(tree: ast.Module) -> list[str]:
    """Docstrings of public functions and classes, methods too."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds) and not node.name.startswith("_")]
    return [docstring for node in nodes if (docstring := ast.get_docstring(node))]


@pytest.mark.parametrize(
    "path",
    [path for path in PRODUCT if not path.relative_to(HERE).as_posix().startswith(BEING_WRITTEN)],
    ids=lambda path: str(path.relative_to(HERE)),
)
def test_a_function_says_what_it_does(path):
    docstrings = public_docstrings(ast.parse(path.read_text(encoding="utf-8")))
    assert [text.splitlines()[0] for text in docstrings if first_word(text) in QUESTION_WORDS] == []


HABITS = (
    r"\banew\b",
    r"\bshall\b",
    r"\bfew bits\b",
    r"\bof others\b",
    r"(?:s|frame|width|once|twice|few) a second\b",
    r"\bthe person\b",
)
"""Words that a reader stumbles over: say again, is to, quantised, of other files, per second, the user."""
TEXTS = sorted((HERE / "prompts").glob("*.md")) + sorted(HERE.glob("t*/**/*.jinja"))
OLD_WORDS = {"agent/session/events.py", "prompts/planner.md"}
"""What conversations that are stored already begin with, and the built-in planner's replies."""


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in [*PRODUCT, *TEXTS]
        if not path.relative_to(HERE).as_posix().startswith(BEING_WRITTEN)
        and path.relative_to(HERE).as_posix() not in OLD_WORDS
    ],
    ids=lambda path: str(path.relative_to(HERE)),
)
def test_texts_use_plain_words(path):
    text = path.read_text(encoding="utf-8")
    found = [match for habit in HABITS for match in re.findall(rf".*{habit}.*", text, flags=re.IGNORECASE)]
    assert found == []
