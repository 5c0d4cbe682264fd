"""The verbs after training: sample, export."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from agent.cli.asking import agrees, is_terminal
from agent.cli.options import JsonOption, RunArgument
from agent.cli.output import progress, say, say_json

TargetsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN|PROJECT|FILE[=WEIGHT]]…",
        help="A run, and any adapters or full checkpoints [the newest run here].",
    ),
]


def sample(
    targets: TargetsArgument = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="What to make; may be given again.")] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            metavar="KIND=FILE[,KEY=VALUE]…",
            help="first_frame, prefix, suffix, spatial_crop, mask, reference, video_to_audio, audio_to_video.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="For files without a run.")] = None,
    text_encoder: Annotated[
        Path | None,
        typer.Option("--text-encoder", help="The Gemma folder of a --model that is a single file or a pack."),
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option("--negative-prompt", help="What to keep away from.")] = None,
    size: Annotated[str | None, typer.Option("--size", metavar="WxHxF", help="Pixels and frames [as trained].")] = None,
    frame_rate: Annotated[float | None, typer.Option("--frame-rate", help="Frames per second.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed, the same sample [42].")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=2, max=200, help="[by the model's version]")] = None,
    video_cfg_scale: Annotated[float | None, typer.Option("--video-cfg", help="Pull of the prompt, video [3].")] = None,
    audio_cfg_scale: Annotated[float | None, typer.Option("--audio-cfg", help="Pull of the prompt, sound [7].")] = None,
    stg_scale: Annotated[float | None, typer.Option("--stg", min=0, help="Spatio-temporal guidance [1].")] = None,
    modality_scale: Annotated[
        float | None, typer.Option("--modality", help="Guidance between picture and sound [3].")
    ] = None,
    schedule: Annotated[Literal["auto", "dev", "distilled"], typer.Option("--schedule", help="Noise levels.")] = "auto",
    base: Annotated[bool, typer.Option("--base/--no-base", help="Render the base model beside it.")] = True,
    to: Annotated[Path | None, typer.Option("--to", help="Folder for the results; new or empty.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Render prompts with a run's adapter, with adapter files, or with several at once."""
    from tools.deliver.sample import SampleArguments, sample_files, sample_run, split_targets
    from tools.monitor.find import resolve_run
    from trainer_core.errors import ConfigError

    run, weight, files = split_targets(targets or [])
    asked: dict[str, Any] = {
        "prompts": prompt or [],
        "conditions": condition or [],
        "adapters": files,
        "weight": weight,
        "negative_prompt": negative_prompt,
        "size": size,
        "frame_rate": frame_rate,
        "seed": seed,
        "steps": steps,
        "video_cfg_scale": video_cfg_scale,
        "audio_cfg_scale": audio_cfg_scale,
        "stg_scale": stg_scale,
        "modality_scale": modality_scale,
        "schedule": schedule,
        "base": base,
    }
    arguments = _checked(SampleArguments, asked)
    if text_encoder is not None and (model is None or run is not None):
        raise ConfigError("--text-encoder belongs to --model; a run has its own.", "Leave it out, or name files alone.")
    with progress() as report:
        if run is None and not files and model is None:
            run = resolve_run(None)
        if run is not None:
            result = sample_run(run, arguments, report, to)
        elif model is not None:
            result = sample_files(model, arguments, report, to, text_encoder)
        else:
            raise ConfigError("Which model do these files belong to?", "Name it with --model PATH, or name a run too.")
    if as_json:
        say_json(result.model_dump())
        return
    from agent.text.results import SUMMARIES

    for line in SUMMARIES["sample_adapter"](result.model_dump()):
        say(line)


def export(
    target: RunArgument = None,
    form: Annotated[
        list[str] | None,
        typer.Option("--form", help="lora, diffusers, merged, upstream, comfyui, card [all but merged]."),
    ] = None,
    upstream: Annotated[
        bool, typer.Option("--upstream", help="Print the YAML for the official trainer, and nothing else.")
    ] = False,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", help="A file under checkpoints/ [the best].")
    ] = None,
    weight: Annotated[float, typer.Option("--weight", help="How strongly the adapter is merged.")] = 1.0,
    base_licence: Annotated[
        str | None, typer.Option("--base-licence", help="Of the base model, as you state it.")
    ] = None,
    data_licence: Annotated[str | None, typer.Option("--data-licence", help="Of your clips, as you state it.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Folder for the export [RUN/export].")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make it again; the old one is moved aside.")] = False,
    push: Annotated[str | None, typer.Option("--push", metavar="OWNER/NAME", help="Then push it to the Hub.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Push where everybody sees it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Approve overwriting and pushing unseen.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write what others read: LoRA file, diffusers folder, merged checkpoint, YAML, ComfyUI workflow, model card."""
    from tools.monitor.find import resolve_run

    if upstream:
        _print_upstream_yaml(target)
        return
    from agent.text.results import SUMMARIES
    from tools.deliver.export import ExportAdapterArguments, export_run
    from tools.deliver.hub import PushArguments, preview_run, push_run

    run = resolve_run(target)
    named = {"forms": form, "base_licence": base_licence, "data_licence": data_licence, "checkpoint": checkpoint}
    given = {name: value for name, value in named.items() if value is not None}
    arguments = _checked(ExportAdapterArguments, {**given, "weight": weight, "overwrite": overwrite})
    if overwrite and ((to or run.path / "export").exists()):
        question = f"Make the export of run {run.id} again?"
        _require("overwrite", question, ["The one that is there is moved aside."], yes, as_json)
    with progress() as report:
        made = export_run(run, arguments, report, to)
    document: dict[str, Any] = made.model_dump()
    if push is not None:
        if to is not None:
            raise _wrong("--push sends the run's own export; leave --to out.")
        asked = PushArguments(repo_id=push, public=public)
        preview = preview_run(run, asked)
        _require("push", preview.question, preview.lines, yes, as_json)
        with progress() as report:
            document["pushed"] = push_run(run, asked, report).model_dump()
    if as_json:
        say_json(document)
        return
    for line in SUMMARIES["export_adapter"](document):
        say(line)
    if push is not None:
        for line in SUMMARIES["push_to_hub"](document["pushed"]):
            say(line)


def _print_upstream_yaml(target: Path | None) -> None:
    """Of a project's plan, a run, or any training YAML."""
    from agent.session.projects import existing_project
    from trainer_core.config import load_config
    from trainer_core.upstream import upstream_yaml

    if target is not None and target.is_file():
        path = target
    elif target is not None and (target / "status.json").exists():
        path = target / "config.yaml"
    else:
        path = existing_project(target).config_path
    say(upstream_yaml(load_config(path)).rstrip("\n"))


def _require(approval: str, question: str, lines: list[str], yes: bool, as_json: bool) -> None:
    """Ask the user where there is one. Raises ApprovalNeeded when nobody says yes."""
    from trainer_core.errors import ApprovalNeeded

    if yes:
        return
    if not as_json and is_terminal():
        for line in lines:
            say(line)
        if agrees(question, approval):
            return
    raise ApprovalNeeded(f"{question} Nobody said yes.", "Add --yes, or run it on a terminal.")


def _wrong(message: str) -> Exception:
    from trainer_core.errors import ConfigError

    return ConfigError(message, "See --help.")


def _checked(kind: Any, given: dict[str, Any]) -> Any:
    """Check options as a model's arguments are checked. Raises ConfigError naming what is wrong."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(given)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise _wrong(f"Wrong option: {faults}.") from error
