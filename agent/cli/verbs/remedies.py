"""The verbs that mend clips by copies in the project, and make what belongs to them: remedy, undo-remedy, make."""

from typing import Annotated, Literal, get_args

import typer

from agent.cli.options import JsonOption, ProjectArgument
from agent.cli.output import one_step

Remedy = Literal[
    "split-at-cuts", "constant-frame-rate", "crop-bars", "deinterlace", "rotate", "trim", "loudness", "window"
]
Column = Literal["reference-video", "reference-audio", "video-mask", "audio-mask"]
Kind = Literal[
    "files", "edges", "blur", "grayscale", "luminance", "downscale", "depth", "matte", "pose", "low-pass",
    "boxes", "random-boxes", "random-brushes", "spans", "random-spans",
]  # fmt: skip
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
    """Mend clips by copies that take their place: split-at-cuts, constant-frame-rate, crop-bars, deinterlace,
    rotate, trim, loudness, window. The clips themselves stay untouched."""
    from agent.session.projects import existing_project
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

    from agent.session.projects import existing_project
    from tools.inspect.remedies.tool import REMEDY_TOOLS

    one_step(existing_project(Path(project) if project else None), REMEDY_TOOLS[1], {"clips": clip}, as_json)


def make(
    column: Annotated[Column, typer.Argument(metavar="COLUMN", help="Which column: " + ", ".join(get_args(Column)))],
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="How: " + ", ".join(get_args(Kind)))],
    project: ProjectArgument = None,
    clip: ClipOption = None,
    folder: Annotated[str | None, typer.Option("--folder", help="files: holds a file of each clip's name.")] = None,
    invert: Annotated[bool, typer.Option("--invert", help="files, matte: white is what is generated.")] = False,
    blur: Annotated[float | None, typer.Option("--blur", help="blur: sigma as a share of the height.")] = None,
    factor: Annotated[float | None, typer.Option("--factor", help="downscale: how many times smaller.")] = None,
    cutoff_hz: Annotated[float | None, typer.Option("--cutoff-hz", help="low-pass.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="depth, matte, pose: a local transformers folder.")
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="matte: the model's name of what is cut out.")] = None,
    box: Annotated[
        list[str] | None,
        typer.Option("--box", help="boxes: y1,x1,y2,x2 in shares of the picture; inside is generated."),
    ] = None,
    share: Annotated[float | None, typer.Option("--share", help="random-*: how much is generated, 0 to 1.")] = None,
    span: Annotated[list[str] | None, typer.Option("--span", help="spans: from,to in seconds; generated.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="random-*: another one by another number [0].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the references or masks that in-context and inpainting objectives train on, as you choose."""
    from agent.session.projects import existing_project
    from tools.inspect.inputs.tool import INPUT_TOOLS

    arguments = {
        "column": column.replace("-", "_"),
        "kind": kind.replace("-", "_"),
        "clips": clip or None,
        "folder": folder,
        "invert": invert or None,
        "blur": blur,
        "factor": factor,
        "cutoff_hz": cutoff_hz,
        "model": model,
        "label": label,
        "boxes": [_numbers("--box", one, 4) for one in box] if box else None,
        "share": share,
        "spans": [_numbers("--span", one, 2) for one in span] if span else None,
        "seed": seed,
    }
    one_step(existing_project(project), INPUT_TOOLS[0], arguments, as_json)


def _numbers(option: str, text: str, count: int) -> list[float]:
    from trainer_core.errors import ConfigError

    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        raise ConfigError(f"{option} {text!r} is not {count} numbers with commas between them.", "See --help.")
    return found
