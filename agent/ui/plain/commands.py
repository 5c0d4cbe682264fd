"""The slash commands in line mode; their table is agent/session/slash.py. No Textual."""

from collections.abc import Callable

from agent.session import commands as of_session
from agent.session.events import Called, Event, Heard, Listener, Said
from agent.session.slash import COMMANDS, Parsed, completions, dropped_paths, unknown
from agent.text.sanitize import clean_lines
from agent.ui.plain.clips import clips, rows_of
from agent.ui.plain.face import Face
from agent.ui.plain.plan import keys_of, plan, plan_text
from agent.ui.plain.runs import compare, curves, run, samples
from agent.ui.plain.shown import say
from trainer_core.errors import LtxError

SHOWN_ENTRIES = 20


def obey(face: Face, parsed: Parsed) -> None:
    """Do what a command says and show what it answers; an error is told."""
    command = parsed.command
    try:
        if command is None:
            lines = [unknown(parsed)]
        elif command.calls:
            face.asked = None
            face.hear(face.session.order(command.calls, f"/{command.name}"))
            return
        elif parsed.name == "goal" and parsed.argument:
            face.say(parsed.argument)
            return
        elif parsed.name in _IN_LINES:
            lines = _IN_LINES[parsed.name](face, parsed.argument)
        else:
            lines = of_session.obey(face.session, parsed.name, parsed.argument)
    except LtxError as error:
        lines = [str(error)]
    for line in lines:
        say(clean_lines(line))


def completed(face: Face, text: str) -> list[str]:
    """What Tab makes of a line: a command, or what may stand behind it."""
    runs = [found.id for found in face.project.runs()]
    name, _, rest = text.removeprefix("/").partition(" ")
    if name in ("run", "curves"):
        return [f"/{name} {found}" for found in runs if found.startswith(rest)]
    if name == "plan":
        values = keys_of(plan_text(face) or "")
        words = [*(f"set {key} " for key in values), "edit", "changes", *values]
        return [f"/plan {word}" for word in words if rest and word.startswith(rest)]
    if name == "clips":
        paths = [row.path for row in rows_of(face)]
        words = [f"{what} {path}" for what in ("show", "caption", "reviewed", "open") for path in paths]
        return [f"/clips {word}" for word in words if rest and word.startswith(rest)]
    return [found for found, _ in completions(text, runs=runs)]


def _help(_: Face, __: str) -> list[str]:
    """Every command with all that may stand behind it, then what else the line understands."""
    lines = []
    for command in COMMANDS:
        behind = " ".join(part for part in (command.argument, command.in_lines) if part)
        lines.append(f"/{command.name}{f' {behind}' if behind else ''}: {command.description}.")
    return [
        *lines,
        "Anything else you write is said to the assistant, or answers what it asks; y and n answer approvals.",
        "Tab completes commands, the up and down arrows bring back what you wrote, several pasted lines are one thing "
        r"to say, and so is a line that ends with \ and the one after it.",
        "A folder that is dropped on the terminal, or whose path is pasted, is opened. Ctrl-C interrupts what is at "
        "work and keeps what it did; twice breaks it off.",
    ]


def _talk(face: Face, _: str) -> list[str]:
    """What was said last; the card of an approval that is asked for follows it."""
    face.asked = face.drawn = None
    told = [line for event in face.session.transcript() if (line := event.tell(_InALine()))]
    if not told:
        return ["Nothing was said yet."]
    hidden = len(told) - SHOWN_ENTRIES
    more = [f"{hidden} earlier entries are not shown; /export writes all of them into a file."] if hidden > 0 else []
    return [*more, *told[-SHOWN_ENTRIES:]]


class _InALine(Listener[str]):
    """An event of the conversation in a line; empty where it needs none."""

    def heard(self, event: Heard) -> str:
        return f"You: {event.text}"

    def said(self, event: Said) -> str:
        return f"ltx-agent: {event.text}"

    def called(self, event: Called) -> str:
        return f"Tool: {event.tool}" if event.tool != "go_to" else ""

    def other(self, _event: Event) -> str:
        return ""


def _copy(face: Face, _: str) -> list[str]:
    if not face.last_said:
        return ["There is no answer to copy yet."]
    return ["Line mode has no clipboard of its own. The last answer again, for your terminal to copy:", face.last_said]


def _theme(_: Face, __: str) -> list[str]:
    return ["Line mode has no theme: it uses no colours, and your terminal's apply."]


def _open(face: Face, argument: str) -> list[str]:
    if not argument:
        return ["Say /open FOLDER: a project, or a folder of clips."]
    return face.open(next(iter(dropped_paths(argument)), None) or argument)


def _quit(face: Face, _: str) -> list[str]:
    face.is_left = True
    return ["Left; a run that trains goes on."]


_IN_LINES: dict[str, Callable[[Face, str], list[str]]] = {
    "help": _help,
    "talk": _talk,
    "plan": plan,
    "curves": curves,
    "clips": clips,
    "run": run,
    "samples": samples,
    "compare": compare,
    "open": _open,
    "copy": _copy,
    "theme": _theme,
    "quit": _quit,
}
