"""Changing one value of a YAML text in place, every other byte as it was; saying with lines what is wrong in one."""

import json
import re
from typing import Any

import yaml

from tools.draft.annotated import COMMENT_COLUMN, scalar_text
from trainer_core.config import parse_config
from trainer_core.errors import ConfigError, LtxError
from trainer_core.objective import objective_of
from trainer_core.strict import Strict
from trainer_core.yaml_errors import Loader

_WHERE = re.compile(r"line (?P<line>\d+), column (?P<column>\d+)")


class Fault(Strict):
    """Something wrong in a YAML. Lines and columns count from 1; None where it concerns the whole."""

    message: str
    line: int | None = None
    column: int | None = None


def check_text(text: str, name: str = "config.yaml") -> list[Fault]:
    """Return the faults of an edited config, with lines; none when it is valid. For editors that check as one types."""
    try:
        objective_of(parse_config(text, name).strategy)
    except LtxError as error:
        return [_fault(line) for line in error.message.split("\n")]
    return []


def set_value(text: str, name: str, value: Any, reason: str) -> tuple[str, Any]:
    """Return `text` with one value replaced, its comment the new reason, and the value that stood there.

    Raises ConfigError when there is no such section, or when the value is a section itself.
    """
    root = yaml.compose(text, Loader=Loader)
    *sections, key = name.split(".")
    node: Any = root
    for section in sections:
        found = _entry(node, section)
        if found is None or not isinstance(found[1], yaml.MappingNode):
            raise ConfigError(f"config.yaml has no section `{section}` for `{name}`.", "Give a dotted key of it.")
        node = found[1]
    spelled = _spelled(value)
    entry = _entry(node, key)
    if entry is None:
        return _with_new_key(text, node, key, spelled, reason), None
    if isinstance(entry[1], yaml.MappingNode):
        raise ConfigError(f"`{name}` is a section, not a value.", "Name one value in it.")
    start, end = entry[1].start_mark.index, entry[1].end_mark.index
    old = yaml.load(text[start:end] or "null", Loader=Loader)
    if old == value and type(old) is type(value):
        return text, old
    line_end = text.index("\n", end) if "\n" in text[end:] else len(text)
    line_start = text.rfind("\n", 0, start) + 1
    if isinstance(entry[1], yaml.SequenceNode) and not entry[1].flow_style:
        raise ConfigError(f"`{name}` is a list over several lines.", "Edit it in the file itself.")
    return text[:line_start] + _commented(text[line_start:start] + spelled, reason) + text[line_end:], old


def _entry(node: Any, key: str) -> tuple[Any, Any] | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((pair for pair in pairs if pair[0].value == key), None)


def _with_new_key(text: str, section: Any, key: str, spelled: str, reason: str) -> str:
    """Put a key that was left to its default at the head of its section."""
    if not section.value or section.flow_style or not re.fullmatch(r"\w+", key):
        raise ConfigError(f"`{key}` can't be put into a section written on one line.", "Edit it in the file itself.")
    first = section.value[0][0].start_mark
    start = first.index - first.column
    return text[:start] + _commented(f"{' ' * first.column}{key}: {spelled}", reason) + "\n" + text[start:]


def _commented(line: str, reason: str) -> str:
    comment = " ".join(reason.split())
    return (
        f"{line.ljust(COMMENT_COLUMN)} # {comment}".rstrip() if len(line) < COMMENT_COLUMN else f"{line}  # {comment}"
    )


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        raise ConfigError("A section can't be a value.", "Change one value at a time.")
    if isinstance(value, list):
        return f"[{', '.join(_spelled(item) for item in value)}]"
    if not isinstance(value, str):
        return scalar_text(value)
    return "".join(map(_escaped, json.dumps(value, ensure_ascii=False)))


def _escaped(character: str) -> str:
    """A character as YAML's double quotes take it: what no reader shows is written as an escape."""
    code = ord(character)
    return character if character.isprintable() else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _fault(message: str) -> Fault:
    where = _WHERE.search(message)
    if where is None:
        return Fault(message=message)
    return Fault(message=message, line=int(where["line"]), column=int(where["column"]))
