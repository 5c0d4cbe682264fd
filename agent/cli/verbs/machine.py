"""The verbs of fitting a training to a machine: plan-memory, rehearse, check, quantization."""

from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.options import JsonOption, TrainArgument
from agent.cli.output import progress, say, say_json

BucketOption = Annotated[str | None, typer.Option("--bucket", metavar="WxHxF", help="[the largest of the data]")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the config; may be given again.")
]


def plan_memory(
    project: TrainArgument = None,
    bucket: BucketOption = None,
    version: Annotated[str | None, typer.Option("--model-version", help="2.0, 2.3 or 2.5 [the model's].")] = None,
    objective: Annotated[str | None, typer.Option("--objective", help="Without a project: t2v, v2a, …")] = None,
    adapter: Annotated[str | None, typer.Option("--adapter", help="Without a project: lora, ic-lora, full.")] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate what a training takes: device, host, disk, FLOPs; which cards hold it, and by which switches."""
    from agent.text.results import SUMMARIES
    from tools.draft.memory import MemoryArguments, reckon

    config = _config(project, objective, adapter, version, settings or [])
    result = reckon(config, MemoryArguments(bucket=bucket, version=version or _bare_version(config))).model_dump(
        mode="json"
    )
    if as_json:
        say_json(result)
        return
    for line in SUMMARIES["plan_memory"](result):
        say(line)


def check(as_json: JsonOption = False) -> None:
    """Look at this machine: GPU, driver, CUDA, memory, disk, models, endpoints; and what it can train."""
    from tools.machine import check_machine, machine_lines

    found = check_machine()
    if as_json:
        say_json(found.model_dump(mode="json"))
        return
    for line in machine_lines(found):
        say(line)


def rehearse(
    project: TrainArgument = None,
    search: Annotated[bool, typer.Option("--search/--no-search", help="Look for the fastest switches.")] = True,
    limit_gb: Annotated[
        float | None, typer.Option("--limit-gb", min=0.001, help="Stay within so many GB [all of the device].")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the largest sample once through everything in a child process, and measure memory and time."""
    from agent.session.projects import existing_project
    from agent.text.results import SUMMARIES
    from tools.rehearsal.rehearse import RehearseArguments, rehearse_file, rehearse_training

    arguments = RehearseArguments(search=search, limit_gb=limit_gb)
    with progress() as report:
        if project is not None and project.is_file():
            result = rehearse_file(project, arguments, report)
        else:
            result = rehearse_training(existing_project(project), arguments, report)
    document = result.model_dump(mode="json")
    if as_json:
        say_json(document)
        return
    for line in SUMMARIES["rehearse_training"](document):
        say(line)


def quantization(
    project: TrainArgument = None,
    objective: Annotated[list[str] | None, typer.Option("--objective", help="[all 13]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what each quantised base does to prediction and gradient, objective by objective."""
    from agent.session.projects import existing_project
    from trainer_core.config import load_config
    from trainer_core.config_paths import resolve_paths
    from trainer_core.objective import OBJECTIVE_NAMES
    from trainer_core.sections.run import ModelSection

    if project is None and not (Path.cwd() / "project.json").exists():
        model = ModelSection(model_path="tiny")
    elif project is not None and project.is_file():
        model = resolve_paths(load_config(project), project.resolve().parent).model
    else:
        opened = existing_project(project)
        model = resolve_paths(load_config(opened.config_path), opened.path).model
    from trainer_core.training.evaluation.quantization_error import measure_model

    with progress() as report:
        rows = measure_model(model, objective or list(OBJECTIVE_NAMES), report)
    if as_json:
        say_json({"model": model.model_path, "rows": [row.as_dict() for row in rows]})
        return
    for line in _error_table(rows):
        say(line)


def _error_table(rows: list[Any]) -> list[str]:
    lines = [f"{'objective':20} {'base':14} {'prediction':>11} {'gradient':>9} {'loss':>8}"]
    lines += [
        f"{row.objective:20} {row.base:14} {row.prediction:>10.2%} {row.gradient:>8.2%} {row.loss:>+7.2%}"
        for row in rows
    ]
    lines.append(f"Relative to {rows[0].reference}: |difference| / |reference|; the adapter's gradient at rank 8.")
    return lines


def _config(
    project: Path | None, objective: str | None, adapter: str | None, version: str | None, settings: list[str]
) -> Any:
    """The config that is meant: a project's, a file's, or the recipe of `objective`; with `settings` laid over it."""
    from agent.session.projects import current_project, existing_project
    from trainer_core.config import dump_config, load_config, parse_config
    from trainer_core.config_paths import resolve_paths
    from trainer_core.objective import merged
    from trainer_core.resume_config import parse_setting

    alone = project is None and (objective is not None or adapter is not None or current_project() is None)
    if alone:
        base, config = Path.cwd(), parse_config(_bare(objective or "t2v", adapter or "lora", version or "2.3"))
    elif project is not None and project.is_file():
        base, config = project.resolve().parent, load_config(project)
    else:
        opened = existing_project(project)
        base, config = opened.path, load_config(opened.config_path)
    if settings:
        import yaml

        document = yaml.safe_load(dump_config(config))
        for name, value in map(parse_setting, settings):
            for part in reversed(name.split(".")):
                value = {part: value}
            document = merged(document, value)
        config = parse_config(yaml.safe_dump(document), "the config with --set")
    return resolve_paths(config, base)


def _bare_version(config: Any) -> str | None:
    """The version that a recipe without a model was made for."""
    name = Path(config.model.model_path).name
    return name.removeprefix("LTX-") if name in ("LTX-2.0", "LTX-2.3", "LTX-2.5") else None


def _bare(objective: str, adapter: str = "lora", version: str = "2.3") -> str:
    """The objective's recipe as a config without data."""
    import yaml

    from agent.cli.output import check_objective
    from trainer_core.errors import ConfigError
    from trainer_core.objective import ADAPTER_NAMES, merged, recipe_for

    check_objective(objective)
    if adapter not in ADAPTER_NAMES:
        raise ConfigError(f"`{adapter}` is no adapter.", f"Choose {', '.join(ADAPTER_NAMES)}.")
    every = {"caption", "video", "audio", "reference_video", "reference_audio", "video_mask", "audio_mask"}
    recipe = recipe_for(objective, adapter, every)
    small = {"model": {"model_path": f"LTX-{version}"}, "data": {"preprocessed_data_root": ".precomputed"}}
    return yaml.safe_dump(merged(recipe, small))
