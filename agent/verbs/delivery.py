"""The verbs after training: sample, export."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from agent.console import progress, say, say_json
from agent.options import JsonOption

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
    negative_prompt: Annotated[str | None, typer.Option("--negative-prompt", help="What to keep away from.")] = None,
    size: Annotated[str | None, typer.Option("--size", metavar="WxHxF", help="Pixels and frames [as trained].")] = None,
    frame_rate: Annotated[float | None, typer.Option("--frame-rate", help="Frames a second.")] = None,
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
    from pydantic import ValidationError

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
    try:
        arguments = SampleArguments.model_validate(asked)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"Wrong option: {faults}.", "See --help.") from error
    with progress() as report:
        if run is None and not files and model is None:
            run = resolve_run(None)
        if run is not None:
            result = sample_run(run, arguments, report, to)
        elif model is not None:
            result = sample_files(model, arguments, report, to)
        else:
            raise ConfigError("Which model do these files belong to?", "Name it with --model PATH, or name a run too.")
    if as_json:
        say_json(result.model_dump())
        return
    from agent.summaries import SUMMARIES

    for line in SUMMARIES["sample_adapter"](result.model_dump()):
        say(line)
