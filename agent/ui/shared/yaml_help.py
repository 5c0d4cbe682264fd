"""The schema's help for a line of the training YAML: allowed values, reasons, errors. No Textual.

Lines and columns count from 0.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainer_core.errors import ConfigError

_KEY = re.compile(r"^(?P<indent>\s*)(?P<item>- +)?(?P<key>[A-Za-z_][\w.]*)\s*:(?:\s|$)")
_PLACE = re.compile(r"line (\d+), column (\d+):? ?(.*)", re.DOTALL)
_WORD = re.compile(r"[\w.:-]*$")


@dataclass(frozen=True)
class Problem:
    """Something wrong at a place of the text."""

    line: int
    column: int
    message: str


@dataclass(frozen=True)
class Hint:
    """What is known of a line: its dotted key, what is allowed there, the recipe's default, the reason given."""

    key: str
    allowed: str
    default: str
    reason: str


def problems(text: str) -> list[Problem]:
    """Return everything that would stop this YAML from training, in the order of its lines."""
    from trainer_core.config import parse_config
    from trainer_core.errors import LtxError
    from trainer_core.objective import objective_of

    try:
        objective_of(parse_config(text, "").strategy)
    except ConfigError as error:
        found = [_problem(line, text) for line in error.message.split("\n") if line.strip()]
        return sorted(found, key=lambda problem: (problem.line, problem.column))
    except LtxError as error:
        return [Problem(0, 0, str(error))]
    return []


def hint(text: str, line: int) -> Hint | None:
    """Return what is known of the key on `line`; None when there is none."""
    lines = text.split("\n")
    found = _KEY.match(lines[line]) if line < len(lines) else None
    if found is None:
        return None
    path = [*_parents(lines, line, _indent_of(found)), found["key"]]
    _, _, reason = lines[line].partition(" # ")
    in_head = all(one.startswith("#") for one in lines[:line])  # the file's own first words are nobody's reason
    if not reason and not in_head and lines[line - 1].lstrip().startswith("#"):
        reason = lines[line - 1].lstrip("# ")
    entries = [
        (entry["properties"][path[-1]], entry)
        for entry in _entries(path[:-1])
        if path[-1] in entry.get("properties", {})
    ]
    if not entries:
        return Hint(".".join(path), "not a known key", "", reason.strip())
    described, owner = entries[0]
    default = described.get("default")
    default_text = "" if "default" not in described or isinstance(default, dict) else _value(default)
    if path[-1] in owner.get("required", ()):
        default_text = "required"
    allowed = " or ".join(dict.fromkeys(_allowed(each) for each, _ in entries))
    return Hint(".".join(path), allowed, default_text, reason.strip())


def completions(text: str, line: int, column: int) -> list[tuple[str, str]]:
    """Return (what to write in place of the word before the cursor, what it is) for the cursor's place."""
    lines = text.split("\n")
    before = lines[line][:column] if line < len(lines) else ""
    if "#" in before:
        return []
    word = _WORD.search(before)
    start = word[0] if word else ""
    key = _KEY.match(before)
    if key is not None:
        path = [*_parents(lines, line, _indent_of(key)), key["key"]]
        values = [
            value for entry in _entries(path[:-1]) for value in _values(entry.get("properties", {}).get(path[-1]))
        ]
        return [(value, "") for value in dict.fromkeys(values) if value.startswith(start) and value != start]
    lead = re.match(r"\s*(- +)?", before)
    indent = lead.end() if lead else 0
    if before[indent:] != start:
        return []
    parents = _parents(lines, line, indent)
    taken = _siblings(lines, line, indent)
    found: dict[str, str] = {}
    for entry in _entries(parents):
        for name, described in entry.get("properties", {}).items():
            if name.startswith(start) and name not in taken:
                found.setdefault(name, _allowed(described))
    return [(f"{name}: ", allowed) for name, allowed in found.items()]


def word_before(text: str, line: int, column: int) -> int:
    """Return how many characters before the cursor a completion replaces."""
    found = _WORD.search(text.split("\n")[line][:column])
    return len(found[0]) if found else 0


def _problem(message: str, text: str) -> Problem:
    found = _PLACE.search(message)
    if found is None:
        return Problem(0, 0, message.removeprefix(": ").removeprefix(", "))
    said = found[3].strip() or message
    if "not valid YAML" in message:
        said = (
            "not valid YAML: "
            + re.sub(r'\s*in "<unicode string>", line \d+, column \d+:?', "", message).split(":", 1)[1]
        )
        last = list(_PLACE.finditer(message))[-1]
        line = int(re.findall(r"line (\d+), column (\d+)", message)[-1][0]) if last else int(found[1])
        return Problem(min(line, text.count("\n") + 1) - 1, 0, " ".join(said.split()))
    return Problem(int(found[1]) - 1, int(found[2]) - 1, said)


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    from trainer_core.config import TrainingConfig

    return TrainingConfig.model_json_schema()


def _options(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The branches of a schema entry, references followed."""
    if "$ref" in entry:
        return _options(_schema()["$defs"][entry["$ref"].rsplit("/", 1)[-1]])
    branches = entry.get("anyOf", []) + entry.get("oneOf", [])
    return [found for branch in branches for found in _options(branch)] if branches else [entry]


def _entries(path: list[str]) -> list[dict[str, Any]]:
    """The schema entries of the mapping at `path`; items of a list are looked through."""
    entries = _options(_schema())
    for part in path:
        inside = [entry["properties"][part] for entry in entries if part in entry.get("properties", {})]
        entries = [found for entry in inside for found in _options(entry)]
        entries = [found for entry in entries for found in (_options(entry["items"]) if "items" in entry else [entry])]
    return entries


def _indent_of(found: re.Match[str]) -> int:
    return len(found["indent"]) + len(found["item"] or "")


def _parents(lines: list[str], line: int, indent: int) -> list[str]:
    """The keys above `line` that are less and less indented."""
    path: list[str] = []
    for above in reversed(lines[:line]):
        found = _KEY.match(above)
        if found is not None and _indent_of(found) < indent:
            # a list item's key stands in its parent's list, at the indent of its dash
            indent = len(found["indent"]) if found["item"] else _indent_of(found)
            if found["item"] and _indent_of(found) >= indent + 1 and not above.rstrip().endswith(":"):
                continue
            path.insert(0, found["key"])
    return path


def _siblings(lines: list[str], line: int, indent: int) -> set[str]:
    """The keys that stand in the same mapping already."""
    taken: set[str] = set()
    for step, block in ((-1, range(line - 1, -1, -1)), (1, range(line + 1, len(lines)))):
        for number in block:
            text = lines[number]
            if not text.strip() or text.lstrip().startswith("#"):
                continue
            found = _KEY.match(text)
            depth = _indent_of(found) if found else len(text) - len(text.lstrip())
            if depth < indent:
                break
            if found is not None and depth == indent:
                taken.add(found["key"])
                if found["item"]:
                    if step == 1:
                        taken.discard(found["key"])
                    break
    return taken


def _values(described: dict[str, Any] | None) -> list[str]:
    if described is None:
        return []
    values: list[str] = []
    for entry in [described, *_options(described)]:
        values += [_value(value) for value in entry.get("enum", [])]
        if "const" in entry:
            values.append(_value(entry["const"]))
        if entry.get("type") == "boolean":
            values += ["true", "false"]
        if entry.get("type") == "null":
            values.append("null")
    return values


def _allowed(described: dict[str, Any]) -> str:
    texts = []
    for entry in _options(described):
        if "enum" in entry:
            texts.append(", ".join(_value(value) for value in entry["enum"]))
        elif "const" in entry:
            texts.append(_value(entry["const"]))
        elif "properties" in entry:
            texts.append("a section")
        else:
            texts.append(_kind(entry))
    return " or ".join(dict.fromkeys(text for text in texts if text))


def _kind(entry: dict[str, Any]) -> str:
    kind = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}.get(
        entry.get("type", ""), {"null": "null", "array": "a list", "object": "a section"}.get(entry.get("type", ""), "")
    )
    low = entry.get("minimum", entry.get("exclusiveMinimum"))
    high = entry.get("maximum", entry.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f"{kind} from {low:g} to {high:g}"
    if low is not None:
        return f"{kind} {'above' if 'exclusiveMinimum' in entry else 'from'} {low:g}"
    return kind


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
