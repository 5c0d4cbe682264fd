"""The slash commands: one table for the parsing, completion and help of both faces. No Textual, no cost to import."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Command:
    """`/name argument`; `calls` is the tool that it calls, without asking the model.

    `in_lines` is what line mode takes besides, where the full screen has a pane and its keys.
    """

    name: str
    description: str
    argument: str = ""
    calls: str = ""
    in_lines: str = ""


COMMANDS: tuple[Command, ...] = (
    Command("help", "keys and commands of where you are"),
    Command("talk", "show the conversation"),
    Command("plan", "show the training YAML", in_lines="[KEY | set KEY VALUE | edit | changes]"),
    Command("curves", "show the curves of a run", in_lines="[RUN]"),
    Command(
        "clips",
        "show the clips with their flags and captions",
        in_lines="[PAGE | WORDS | show CLIP | caption CLIP TEXT | reviewed CLIP | open CLIP]",
    ),
    Command("run", "show the run: state, time left, verdict", in_lines="[RUN]"),
    Command("samples", "show what the run has generated", in_lines="[NUMBER]"),
    Command("inspect", "look at the clips again", calls="inspect_clips"),
    Command("caption", "caption the clips", calls="caption_clips"),
    Command("draft", "draft the plan again", calls="draft_config"),
    Command("start", "start training, after an approval", calls="start_training"),
    Command("stop", "stop the run after its current step; it saves first", calls="stop_training"),
    Command("status", "ask how the run goes", calls="run_status"),
    Command("history", "what you said and allowed"),
    Command("undo", "take back the last decision and the plan files it changed"),
    Command("model", "talk to another model: builtin, or a name at the endpoint", "NAME"),
    Command("budget", "what the model has spent, and may: tokens N, money X, none", "[LIMITS]"),
    Command("sessions", "the conversations of this project"),
    Command("goal", "say what the adapter is to learn", "TEXT"),
    Command("compare", "compare the curves with those of another run", "[RUN]"),
    Command("open", "open another project, or a folder of clips", "FOLDER"),
    Command("copy", "copy the last answer"),
    Command("export", "write the conversation into a Markdown file", "[FILE]"),
    Command("theme", "switch between the dark and the light theme"),
    Command("quit", "leave; a run that trains goes on"),
)
BY_NAME = {command.name: command for command in COMMANDS}


@dataclass(frozen=True)
class Parsed:
    """A slash command as typed; `command` is None when there is none of this name."""

    name: str
    argument: str
    command: Command | None


_UNDO = re.compile(
    r"\W*(?:(?:no|oh|ok|okay|wait|please|sorry|can you|could you|let'?s|and|now)[\s,]+)*(?:"
    r"undo(?: (?:that|it|this|the last(?: (?:one|change|thing|step|decision))?|my last change))?"
    r"|(?:take|turn|roll) (?:that|it|this|the last (?:change|one|thing)|what you just did) back(?: again)?"
    r"|(?:take|roll) back (?:that|it|the last (?:change|one|thing|decision))"
    r"|(?:revert|reverse) (?:that|it|this|the last (?:change|one|thing))|go back(?: to (?:how it was|before))?|revert"
    r"|(?:mach|mache|nimm) (?:das|es|die letzte änderung) (?:rückgängig|zurück)|rückgängig"
    r"|deshaz(?:lo)?(?: eso)?|deshacer|annule(?:r)?(?: ça)?|annulla|desfaz(?:er)?(?: isso)?"
    r"|元に戻して|取り消して|撤销|撤回"
    r")(?: again| please| bitte)?\W*",
    re.IGNORECASE,
)
"""The words for /undo, as a whole utterance."""


def parse(words: str) -> Parsed | None:
    """Return the slash command that `words` are; None when they are something to say.

    "undo that" in words is /undo; a path such as /home/me/clips is something to say.
    """
    if _UNDO.fullmatch(words.replace("’", "'")):
        return Parsed("undo", "", BY_NAME["undo"])
    if not words.startswith("/") or "\n" in words:
        return None
    name, _, argument = words[1:].partition(" ")
    if "/" in name or (name not in BY_NAME and Path(words.split()[0]).exists()):
        return None
    return Parsed(name, argument.strip(), BY_NAME.get(name))


def unknown(parsed: Parsed) -> str:
    """Return the reply to a command that doesn't exist."""
    return f"There is no command /{parsed.name}. There are: {', '.join(f'/{command.name}' for command in COMMANDS)}."


def completions(words: str, *, runs: Sequence[str] = (), models: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return (whole text, description) for what `words` could become."""
    if not words.startswith("/") or "\n" in words:
        return []
    name, space, argument = words[1:].partition(" ")
    if not space:
        return [
            (f"/{command.name}{' ' if command.argument else ''}", command.description)
            for command in COMMANDS
            if command.name.startswith(name) or _abbreviates(name, command.name)
        ]
    if name == "compare":
        return [(f"/compare {run}", "run") for run in runs if run.startswith(argument)]
    if name == "model":
        return [(f"/model {model}", "") for model in ("builtin", *models) if model.startswith(argument)]
    if name in ("open", "export"):
        return [(f"/{name} {path}", "") for path in _paths(argument, folders_only=name == "open")]
    return []


def dropped_paths(pasted: str) -> list[Path]:
    """Return the paths that a terminal pasted for files dropped on it; empty when it is any other text.

    Terminals quote, escape or send file:// addresses, separated by blanks or line breaks.
    """
    text = pasted.strip()
    if not text or len(text) > 32_768:
        return []
    if Path(text).is_absolute() and _exists(Path(text)):
        return [Path(text)]
    try:
        words = shlex.split(text)
    except ValueError:
        return []
    paths = []
    for word in words:
        parts = urlsplit(word)
        path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(word)
        if not path.is_absolute() or not _exists(path):
            return []
        paths.append(path)
    return paths


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _abbreviates(short: str, name: str) -> bool:
    letters = iter(name)
    return len(short) > 1 and name[0] == short[0] and all(letter in letters for letter in short)


def _paths(start: str, *, folders_only: bool, most: int = 12) -> list[str]:
    typed = os.path.expanduser(start)  # noqa: PTH111 (a trailing separator matters here)
    folder, prefix = os.path.split(typed)
    try:
        entries = sorted(Path(folder or ".").iterdir())
    except OSError:
        return []
    found = []
    for entry in entries:
        if entry.name.startswith(prefix) and (prefix.startswith(".") or not entry.name.startswith(".")):
            is_folder = entry.is_dir()
            if is_folder or not folders_only:
                found.append(os.path.join(folder, entry.name) + ("/" if is_folder else ""))  # noqa: PTH118
    return found[:most]
