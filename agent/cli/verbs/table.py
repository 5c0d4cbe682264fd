"""Every verb of the command line, and the chat. Importing it loads typer and nothing else that is slow."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.options import LlmOption
from agent.cli.verbs import adapters, captions, dataset, delivery, headless, machine, remedies, runs
from agent.cli.verbs import mcp as agents

app = typer.Typer(
    name="ltx-agent",
    help="From a folder of clips to a trained LTX-2 adapter. Without a verb: talk, in the project of this folder.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


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
    from agent.cli.open_chat import open_talk

    open_talk(project, llm, plain=plain, session=session)


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
