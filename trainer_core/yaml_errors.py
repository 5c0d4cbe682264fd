"""Reading YAML so that `1e-4` is a number, and saying where in the file a problem is. No torch."""

import difflib
import re
from typing import Any

import yaml
from pydantic import BaseModel

from trainer_core.errors import ConfigError


class Loader(yaml.SafeLoader):
    """YAML's safe loader, reading `1e-4` as a number as YAML 1.2 does (1.1 asks for a dot)."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def refuse_duplicates(node: yaml.Node | None, name: str, above: tuple[int, ...] = ()) -> None:
    """Raise ConfigError for a key that stands twice in a mapping and for a section that contains itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return
    mark = node.start_mark
    if id(node) in above:
        raise ConfigError(
            f"{name}, line {mark.line + 1}: a section contains itself.", "Remove the alias (*name) in it."
        )
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                mark = key.start_mark
                raise ConfigError(
                    f"{name}, line {mark.line + 1}, column {mark.column + 1}: `{key.value}` stands twice in a section.",
                    "Keep one of them.",
                )
            seen.add(key.value)
            refuse_duplicates(value, name, (*above, id(node)))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            refuse_duplicates(item, name, (*above, id(node)))


def describe(problem: Any, root: yaml.Node | None, name: str, model: type[BaseModel]) -> str:
    """One line for one pydantic problem: where in the file, which key, what is wrong, the nearest known key."""
    node, mark, keys = root, root.start_mark if root else None, []
    for part in problem["loc"]:
        found = _child(node, part)
        if found is None:
            if problem["type"] == "missing" and part == problem["loc"][-1]:
                keys.append(str(part))
            continue  # a discriminator's tag is part of pydantic's location, not of the file
        node, mark = found
        keys.append(str(part))
    message = problem["msg"].removeprefix("Value error, ")
    if not keys:
        mark = _named_in(message, root) or mark
    where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
    key = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        known = _known_keys(problem["loc"], model)
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        known_text = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(sorted(known))}."
        return f"{where}: `{key}` is not a known key; {known_text}"
    if problem["type"] == "missing":
        return f"{where}: `{key}` is required."
    given = problem.get("input")
    seen = f" (given: {given!r})" if isinstance(given, (str, int, float, bool)) else ""
    return f"{where}: `{key}`: {message}{seen}." if key else f"{where}: {message}."


def _named_in(message: str, root: yaml.Node | None) -> yaml.Mark | None:
    """The place of the first dotted key that `message` names, as deep as the file has it."""
    deepest = None
    for path in re.findall(r"[a-z_]\w*(?:\.[a-z_]\w*)+", message):
        node = root
        for part in path.split("."):
            found = _child(node, part)
            if found is None:
                break
            node, deepest = found
        if deepest is not None:
            return deepest
    return deepest


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Mark] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return value, key.start_mark
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part].start_mark
    return None


def _known_keys(location: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    """The keys allowed where `location`'s last part stands, found by following the JSON schema."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def options(entry: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in entry:
            return options(definitions[entry["$ref"].rsplit("/", 1)[-1]])
        branches = entry.get("anyOf", []) + entry.get("oneOf", [])
        return [found for branch in branches for found in options(branch)] if branches else [entry]

    entries = options(schema)
    for part in location[:-1]:
        if isinstance(part, int):
            entries = [found for entry in entries if "items" in entry for found in options(entry["items"])]
            continue
        inside = [entry["properties"][part] for entry in entries if part in entry.get("properties", {})]
        if inside:
            entries = [found for entry in inside for found in options(entry)]
        else:
            tagged = [e for e in entries if _tag(e) == part]
            entries = tagged or entries
    return sorted({key for entry in entries for key in entry.get("properties", {})})


def _tag(entry: dict[str, Any]) -> Any:
    properties = entry.get("properties", {})
    return (properties.get("type") or properties.get("name") or {}).get("const")


def one_line(text: str) -> str:
    """Return `text` with every run of blanks and newlines as one blank."""
    return " ".join(text.split())
