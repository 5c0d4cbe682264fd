"""The verbs that mend clips by copies in the project: remedy, undo-remedy."""

from typing import Annotated, Literal

import typer

from agent.console import one_step
from agent.options import JsonOption, ProjectArgument

Remedy = Literal["split-at-cuts", "constant-frame-rate", "crop-bars", "rotate", "trim", "loudness", "window"]
ClipOption = Annotated[
    list[str] | None,
    typer.Option("--clip", help="This clip, or NAME*; may stand several times [those that need it]."),
]


def remedy(
    what: Annotated[Remedy, typer.Argument(metavar="REMEDY", help="What to do; REMEDY names them all.")],
    project: ProjectArgument = None,
    clip: ClipOption = None,
    at: Annotated[list[float] | None, typer.Option("--at", help="split-at-cuts: a second [the measured cuts].")] = None,
    frame_rate: Annotated[
        float | None, typer.Option("--frame-rate", help="constant-frame-rate [the report's].")
    ] = None,
    degrees: Annotated[int | None, typer.Option("--degrees", help="rotate: 90, 180 or 270, clockwise.")] = None,
    start: Annotated[float | None, typer.Option("--start", help="trim: second to begin at [end of black].")] = None,
    end: Annotated[float | None, typer.Option("--end", help="trim: second to end at [begin of black].")] = None,
    target_lufs: Annotated[float | None, typer.Option("--target-lufs", help="loudness [-23].")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", help="window: the longest piece [5].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Mend clips by copies that take their place: split-at-cuts, constant-frame-rate, crop-bars, rotate, trim,
    loudness, window. The clips themselves stay untouched."""
    from agent.projects import existing_project
    from tools.inspect.remedies.tool import REMEDY_TOOLS

    arguments = {
        "remedy": what.replace("-", "_"),
        "clips": clip or None,
        "at_s": at or None,
        "frame_rate": frame_rate,
        "degrees": degrees,
        "start_s": start,
        "end_s": end,
        "target_lufs": target_lufs,
        "seconds": seconds,
    }
    one_step(existing_project(project), REMEDY_TOOLS[0], arguments, as_json)


def undo_remedy(
    clip: Annotated[list[str], typer.Argument(metavar="CLIP...", help="Clips as they were named before, or NAME*.")],
    project: Annotated[str | None, typer.Option("--project", help="Project folder [the one of this folder].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Use clips as they were before their last remedy, and remove the copies."""
    from pathlib import Path

    from agent.projects import existing_project
    from tools.inspect.remedies.tool import REMEDY_TOOLS

    one_step(existing_project(Path(project) if project else None), REMEDY_TOOLS[1], {"clips": clip}, as_json)
