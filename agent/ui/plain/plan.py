"""The training YAML in line mode: read with the reasons, changed value by value or in an editor, taken hunk by hunk."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from agent.approvals.consent import consent_of
from agent.text.sanitize import clean
from agent.ui.plain.face import Face
from agent.ui.plain.shown import say
from agent.ui.shared.hunks import Hunk, hunks, with_hunks
from agent.ui.shared.yaml_help import Hint, hint, problems
from trainer_core.errors import ConfigError
from trainer_core.files import write_text
from trainer_core.yaml_errors import Loader

NO_PLAN = 'There is no plan yet. Say what you want to train, or "/draft".'
_TRAILER = "# drafted-sha256:"


def plan(face: Face, argument: str) -> list[str]:
    """`/plan`, `/plan KEY`, `/plan set KEY VALUE`, `/plan edit`, `/plan changes`."""
    text = plan_text(face)
    if text is None:
        return [NO_PLAN]
    word, _, rest = argument.partition(" ")
    if not argument:
        face.plan_seen = text
        return [*_read_aloud(text), *_judged(text)]
    if word == "set":
        return _set(face, text, rest.strip())
    if argument == "edit":
        return _edit(face, text)
    if argument == "changes":
        return _changes(face, text)
    return _about(text, argument)


def plan_text(face: Face) -> str | None:
    """config.yaml as it stands; None where there is none."""
    path = face.project.config_path
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else None


def news_of_plan(face: Face) -> list[str]:
    """That the plan is another one than the person has seen, said once for each version."""
    text = plan_text(face)
    if face.plan_seen is None or text == face.plan_told:
        if face.plan_seen is None:
            face.plan_seen = text
        face.plan_told = text
        return []
    face.plan_told = text
    count = len(hunks(face.plan_seen, text)) if text is not None else 0
    if not count:
        return []
    places = "one place" if count == 1 else f"{count} places"
    return [f"The plan has changed in {places}: /plan changes goes through them."]


def keys_of(text: str) -> list[str]:
    """The dotted keys of the values in the YAML, in the order of its lines."""
    found = [hint(text, line) for line in range(text.count("\n") + 1)]
    return [known.key for known in found if known is not None and known.allowed != "a section"]


def _read_aloud(text: str) -> list[str]:
    lines = text.rstrip("\n").split("\n")
    width = len(str(len(lines)))
    told = []
    for number, line in enumerate(lines, start=1):
        if line.startswith(_TRAILER) or not line.strip():
            continue
        told.append(f"{number:>{width}}  {_with_reason(line)}")
    return told


def _judged(text: str) -> list[str]:
    found = problems(text)
    if not found:
        return ["The plan is valid. /plan KEY says what a value may be; /plan set KEY VALUE changes it."]
    count = "One problem" if len(found) == 1 else f"{len(found)} problems"
    return [f"{count}; training won't start before that is mended:"] + [
        f"line {problem.line + 1}: {problem.message}" for problem in found
    ]


def _found_key(text: str, name: str) -> tuple[int, Hint]:
    """The line (from 0) and what is known of the key that `name` is, whole or by its end. Raises ConfigError."""
    known = [(line, hint(text, line)) for line in range(text.count("\n") + 1)]
    there = [(line, each) for line, each in known if each is not None]
    exact = [(line, each) for line, each in there if each.key == name]
    found = exact or [(line, each) for line, each in there if each.key.endswith(f".{name}")]
    if not found:
        raise ConfigError(f"The plan has no key {name}.", "/plan shows what it has; Tab completes after /plan set.")
    if len({each.key for _, each in found}) > 1:
        raise ConfigError(f"{name} is several keys: {', '.join(each.key for _, each in found)}.", "Name one in full.")
    return found[0]


def _about(text: str, name: str) -> list[str]:
    line, known = _found_key(text, name)
    written = text.split("\n")[line].partition(" # ")[0].strip()
    lines = [f"{known.key}, line {line + 1}: {written}", f"It may be: {known.allowed}."]
    lines += [f"Default: {known.default}."] if known.default else []
    return [*lines, f"Why it is so: {known.reason}." if known.reason else "config.yaml gives no reason for it."]


def _set(face: Face, text: str, rest: str) -> list[str]:
    """Change one value as the conversation would: checked, shown as a diff, written after a yes."""
    from tools.draft.change import ChangeArguments, change_config, preview_change  # it loads the decoders

    name, _, spelled = rest.partition(" ")
    if not spelled.strip():
        raise ConfigError("/plan set needs a key and a value.", "Say /plan set optimization.steps 500.")
    if not any(known == name for known in keys_of(text)):
        name = _known_name(text, name)
    arguments = ChangeArguments(name=name, value=_value(spelled.strip()))
    preview = preview_change(face.project, arguments)
    if preview is None:
        return [f"{name} is {spelled.strip()} already."]
    for line in _spoken_diff(preview.lines):
        say(f"  {clean(line)}")
    if not face.agrees(preview.question):
        return ["Nothing was changed."]
    result = change_config(face.project, arguments)
    face.plan_seen = face.plan_told = plan_text(face)
    face.settle()
    return [f"{result.name} is {result.after} now; it was {result.before}.", *([result.note] if result.note else [])]


def _known_name(text: str, name: str) -> str:
    """A key by its end; one that the plan leaves to its default must be named in full."""
    return name if "." in name and name not in keys_of(text) else _found_key(text, name)[1].key


def _value(spelled: str) -> Any:
    try:
        return yaml.load(spelled, Loader=Loader)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{spelled!r} is no value of a YAML.", "Say a number, a text, true, false or null."
        ) from error


def _edit(face: Face, text: str) -> list[str]:
    """Open the person's editor on a copy; what it comes back with is gone through hunk by hunk."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor or not sys.stdin.isatty():
        raise ConfigError(
            "There is no editor to open here." if sys.stdin.isatty() else "An editor needs a terminal.",
            "Set EDITOR, or change value by value: /plan set KEY VALUE.",
        )
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "config.yaml"
        copy.write_text(text, encoding="utf-8", errors="surrogateescape")
        command = [*shlex.split(editor), str(copy)]
        try:
            code = subprocess.run(command, check=False).returncode
        except OSError as error:
            raise ConfigError(
                f"{command[0]} can't be started: {error.strerror}.", "Set EDITOR to another one."
            ) from error
        edited = copy.read_text(encoding="utf-8", errors="surrogateescape")
    if code:
        raise ConfigError(f"{command[0]} ended with {code}, so nothing was taken over.", "Leave it without an error.")
    return _take_hunks(face, text, edited, text)


def _changes(face: Face, text: str) -> list[str]:
    if face.plan_seen is None:
        face.plan_seen = text
    return _take_hunks(face, face.plan_seen, text, text)


def _take_hunks(face: Face, old: str, new: str, on_disk: str) -> list[str]:
    """Ask for each change whether it shall be; write what comes of it when that is not on disk yet."""
    found = hunks(old, new)
    if not found:
        return ["Nothing has changed since you last looked."]
    taken: set[int] = set()
    rest: bool | None = None
    for number, hunk in enumerate(found):
        for line in _hunk_lines(hunk, number, len(found)):
            say(line)
        take = rest
        if take is None:
            face.terminal.forget()
            words = (face.terminal.ask("Take it? [y/n, all, none]") or "none").lower()
            rest = {"all": True, "none": False}.get(words)
            take = rest if rest is not None else consent_of(words) == "yes"
        if take:
            taken.add(number)
    chosen = with_hunks(old, new, taken)
    left = len(found) - len(taken)
    told = [f"{left} of {len(found)} changes left out." if left else "All changes taken."]
    if chosen != on_disk:
        wrong = problems(chosen)
        for line in _judged(chosen) if wrong else []:
            say(line)
        if wrong and not face.agrees("Write it all the same?"):
            return ["Nothing was written."]
        write_text(face.project.config_path, chosen)
        told.append(f"Written: {face.project.config_path}.")
    face.plan_seen = face.plan_told = chosen
    face.settle()
    return told


def _hunk_lines(hunk: Hunk, number: int, count: int) -> list[str]:
    lines = [f"Change {number + 1} of {count}, {hunk.title}:"]
    lines += [f"  was: {clean(_with_reason(line).strip())}" for line in hunk.before] or ["  was: nothing"]
    return lines + ([f"  now: {clean(_with_reason(line).strip())}" for line in hunk.after] or ["  now: nothing"])


def _with_reason(line: str) -> str:
    """A line of the YAML with its comment as words."""
    written, _, reason = line.partition(" # ")
    return f"{written.rstrip()}   why: {reason.strip()}" if reason and written.strip() else line


def _spoken_diff(lines: list[str]) -> list[str]:
    """The changed lines of a unified diff, and what else is said below it, without signs that are easily unheard."""
    signs = {"-": "was:", "+": "now:"}
    told = []
    for line in lines:
        if line[:1] in signs and line[:4] not in ("--- ", "+++ "):
            told.append(f"{signs[line[0]]} {_with_reason(line[1:]).strip()}")
        elif line[:1] not in (" ", "@", "-", "+"):
            told.append(line)
    return told
