"""The command line: one verb a step, and the chat. Importing it loads typer and nothing else that is slow."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from agent.console import fail
from agent.options import LlmOption
from agent.verbs import adapters, agents, captions, dataset, delivery, headless, machine, remedies, runs

app = typer.Typer(
    name="ltx-agent",
    help="From a folder of clips to a trained LTX-2 adapter. Without a verb: talk, in the project of this folder.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; every failure ends in one or two lines on stderr and an exit code that says its kind."""
    import os

    os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")  # before langgraph is imported, which reads it once
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # folder names hold any bytes
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app(prog_name="ltx-agent")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sys.exit(fail(error))


@app.callback(invoke_without_command=True)
def _no_verb(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        chat(None)


@app.command()
def chat(
    project: Annotated[Path | None, typer.Argument(metavar="[PROJECT]", help="Project, or a folder of clips.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Line mode, for screen readers and dumb terminals.")] = False,
    llm: LlmOption = "auto",
    session: Annotated[str | None, typer.Option("--session", help="Another conversation [the one used last].")] = None,
) -> None:
    """Talk, on the full screen or line by line; the conversation goes on where it ended."""
    if plain or not _is_full_terminal():
        from agent.plain import talk

        talk(project, llm, session)
    else:
        if session is not None:
            from agent.projects import existing_project
            from agent.store import use_conversation

            use_conversation(existing_project(project).session_path, session)
        from agent.tui.open import open_tui

        open_tui(project, llm)


def _is_full_terminal() -> bool:
    """Whether there is a terminal that a full screen can be drawn on."""
    import os

    streams = (sys.stdin, sys.stdout, sys.stderr)  # it is drawn on stderr
    return all(stream.isatty() for stream in streams) and os.environ.get("TERM", "dumb") != "dumb"


VERBS: list[Callable[..., None]] = [
    agents.mcp,
    dataset.prepare,
    dataset.inspect,
    remedies.remedy,
    remedies.undo_remedy,
    remedies.make,
    captions.caption,
    dataset.draft,
    dataset.encode,
    runs.train,
    runs.status,
    runs.stop,
    delivery.sample,
    runs.resume,
    machine.plan_memory,
    machine.rehearse,
    machine.check,
    machine.quantization,
    adapters.doctor,
    adapters.edit_adapter,
    headless.run,
    delivery.export,
]
for verb in VERBS:
    app.command()(verb)
app.add_typer(captions.app)
