"""The verbs of adapter files: doctor and edit-adapter."""

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.options import JsonOption
from agent.cli.output import say, say_json

DoctorArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE|RUN|PROJECT]", help="Any LTX LoRA, or a run; default: the newest run here."),
]


def doctor(
    target: DoctorArgument = None,
    against: Annotated[Path | None, typer.Option("--against", help="Another LoRA to compare with.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="The base model [the run's].")] = None,
    picture: Annotated[Path | None, typer.Option("--picture", help="Where the picture goes.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Examine an adapter: dead, weak, healthy, exploding or broken, with evidence and a picture."""
    from agent.text.run import comparison_lines, diagnosis_lines
    from tools.monitor.doctor import CompareArguments, compare_adapters, diagnosis_of
    from tools.project import Project

    if against is not None:
        if target is None:
            raise typer.BadParameter("name the first adapter too")
        named = CompareArguments(first=str(target), second=str(against))
        found = compare_adapters(Project(Path.cwd()), named).model_dump()
        lines = comparison_lines(found)
    else:
        found = diagnosis_of(target, model, picture).model_dump()
        lines = diagnosis_lines(found)
    if as_json:
        say_json(found)
    else:
        for line in lines:
            say(line)


def edit_adapter(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A LoRA; it stays as it is.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The new file.")],
    merge: Annotated[
        list[str] | None, typer.Option("--merge", metavar="FILE[=WEIGHT]", help="Add another LoRA to it.")
    ] = None,
    scale: Annotated[
        list[str] | None, typer.Option("--scale", metavar="BRANCH=FACTOR", help="video, audio or cross, and a factor.")
    ] = None,
    strip: Annotated[list[str] | None, typer.Option("--strip", metavar="BRANCH", help="Leave a branch out.")] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Another rank, by SVD.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge, scale, strip or resize LoRAs: the result is a new file."""
    from pydantic import ValidationError

    from tools.monitor.doctor import EditAdapterArguments
    from tools.monitor.doctor import edit_adapter as edit
    from tools.project import Project
    from trainer_core.errors import ConfigError

    factors: dict[Any, float] = {**_numbers(scale or [], None), **dict.fromkeys(strip or [], 0.0)}
    try:
        arguments = EditAdapterArguments(
            file=str(file), output=str(output), merge=_numbers(merge or [], 1.0), scale=factors, rank=rank
        )
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"The options are wrong: {told}.", "See `ltx-agent edit-adapter --help`.") from error
    result = edit(Project(Path.cwd()), arguments)
    if as_json:
        say_json(result.model_dump())
    else:
        say(result.sentence)


def _numbers(texts: list[str], usual: float | None) -> dict[str, float]:
    from trainer_core.errors import ConfigError

    found = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals:
            name, number = text, ""
        try:
            found[name] = float(number) if number else float(usual if usual is not None else "")
        except ValueError as error:
            raise ConfigError(f"`{text}` lacks its number.", "Write it as NAME=NUMBER, such as audio=0.5.") from error
    return found
