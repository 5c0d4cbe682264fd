"""The house's order: names that are used once, one strict base, one signature, documents that name real files."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent
PRODUCT = sorted(path for part in ("agent", "tools", "trainer_core", "prompts") for path in (HERE / part).rglob("*.py"))
FOREIGN_SIGNATURES = {
    "agent/planner/chat_model.py",
    "tools/draft/annotated.py",
    "trainer_core/model/ltx.py",
    "trainer_core/model/quantize.py",
}
"""Files with functions that a library calls by its own argument names."""


def test_no_two_classes_have_one_name():
    found = defaultdict(list)
    for path in PRODUCT:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(path.relative_to(HERE)))
    assert not {name: files for name, files in found.items() if len(files) > 1}


def test_one_base_refuses_unknown_keys():
    files = {str(path.relative_to(HERE)) for path in PRODUCT if 'extra="forbid"' in path.read_text(encoding="utf-8")}
    assert files == {"trainer_core/strict.py"}


def test_unused_arguments_say_so_by_their_name():
    silenced = {str(path.relative_to(HERE)) for path in PRODUCT if "noqa: ARG" in path.read_text(encoding="utf-8")}
    assert silenced == FOREIGN_SIGNATURES


def files_named(document: str) -> list[str]:
    """Return the paths in backticks that `document` has of this repository: from its top, or of a Python file."""
    text = (HERE / document).read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    tops = ("agent/", "tools/", "trainer_core/", "prompts/", "tests/", "examples/")
    words = {word.rstrip(".,;:") for span in spans for word in span.split()}
    return sorted(word.split("::")[0] for word in words if word.startswith(tops) or re.fullmatch(r"[\w/*.]+\.py", word))


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_documents_name_files_that_exist(document):
    named = files_named(document)
    assert len(named) > 20
    there = [
        path.relative_to(HERE).as_posix()
        for top in ("agent", "tools", "trainer_core", "prompts", "tests", "examples")
        for path in (HERE / top).rglob("*")
        if "__pycache__" not in path.parts
    ]

    def is_there(name: str) -> bool:
        pattern = re.sub(r"\\\*|[A-Z]{4,}", "[^/]+", re.escape(name.rstrip("/")))
        return any(re.search(rf"(^|/){pattern}$", path) for path in there)

    assert [name for name in named if not is_there(name)] == []
