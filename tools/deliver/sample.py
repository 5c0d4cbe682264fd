"""Sampling a run's adapter, other adapters, or several together, from prompts in words and conditions as files."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tools.monitor.find import find_run, resolve_run
from tools.project import Progress, Project
from trainer_core.config import is_tiny, load_config
from trainer_core.config_paths import CONDITION_FILES
from trainer_core.data.buckets import parse_buckets
from trainer_core.errors import ConfigError
from trainer_core.run_folder import LIVE_STATES, RunFolder
from trainer_core.sampling.prompts import Wanted
from trainer_core.sections.run import ModelSection
from trainer_core.sections.validation import SampleCondition, ValidationSample, ValidationSection
from trainer_core.strict import Strict

SAMPLES_FOLDER = Path("ltx-samples")
_CONDITION: TypeAdapter[Any] = TypeAdapter(SampleCondition)
_FILE_KEY = {
    "first_frame": "image_or_video",
    "audio_to_video": "audio",
}

Text = Annotated[str, Field(min_length=1)]


class SampleArguments(Strict):
    """Samples to make. Everything that is null follows from the run, its objective and its model's version."""

    run: str | None = Field(None, description="Id of the run whose adapter acts; null means the newest run.")
    prompts: list[Text] = Field(
        [], description="Prompts; empty: a caption it trained on, a held-out one, and two foreign prompts."
    )
    adapters: list[Text] = Field([], description="More adapter files that act at once, `PATH` or `PATH=WEIGHT`.")
    weight: float = Field(1.0, description="How strongly the run's own adapter acts; 1 as trained.")
    conditions: list[Text] = Field(
        [],
        description="Conditions of every prompt, `KIND=FILE` with optional `,key=value`: first_frame, prefix, suffix, "
        "spatial_crop, mask, reference, video_to_audio, audio_to_video.",
    )
    negative_prompt: str | None = None
    size: str | None = Field(None, description="WxHxF, such as 768x448x89; null: as trained.")
    frame_rate: Annotated[float, Field(gt=0)] | None = None
    seed: int | None = None
    steps: Annotated[int, Field(ge=2, le=200)] | None = None
    video_cfg_scale: float | None = None
    audio_cfg_scale: float | None = None
    stg_scale: Annotated[float, Field(ge=0)] | None = None
    modality_scale: float | None = None
    schedule: Literal["auto", "dev", "distilled"] = "auto"
    base: bool = Field(True, description="Also render the base model at the same seed, to compare.")


class SampleResult(Strict):
    """Samples made. `files` and `sheets` are relative to `folder`; `tiny` means that all of it is noise."""

    folder: str
    page: str
    model: str
    tiny: bool
    prompts: list[str]
    files: list[str]
    sheets: list[str]
    conflicts: list[str]
    notes: list[str]


def sample_adapter(project: Project, arguments: SampleArguments, progress: Progress | None = None) -> SampleResult:
    """Render what a run's adapter makes of some prompts, beside the base model at the same seed.

    Without prompts it shows one caption the run trained on, one it never saw and two foreign ones. It takes the
    machine for minutes with a real model. Show the page; make no claim about quality, the pictures are for the user.
    """
    return sample_run(find_run(project, arguments.run), arguments, progress)


def adapter_paths(_project: Project, arguments: SampleArguments) -> list[str]:
    """The adapter files beside the run's own."""
    return [str(_weighted(given)[0]) for given in arguments.adapters]


def condition_paths(_project: Project, arguments: SampleArguments) -> list[str]:
    """Return the files of the conditions, their masks too."""
    found = []
    for spelling in arguments.conditions:  # as it is spelled: reading it looks into the file
        head, *rest = (part.partition("=") for part in spelling.split(","))
        found += [head[2], *(value for key, _, value in rest if key in CONDITION_FILES)]
    return [path for path in found if path]


def sample_run(run: RunFolder, arguments: SampleArguments, progress: Progress | None, to: Path | None = None) -> Any:
    """Sample the adapter of `run`, with other files beside it."""
    from trainer_core.sampling.default_prompts import gallery, run_section
    from trainer_core.sampling.standalone import Order

    status = run.read_status()
    if status.state in LIVE_STATES:
        raise ConfigError(
            f"The run {run.id} is still {status.state} and needs the machine for itself.",
            f"Look at what it renders itself ({run.samples / 'index.html'}), or wait for its end.",
        )
    checkpoint = status.best_checkpoint or status.last_checkpoint
    if checkpoint is None or not (run.path / checkpoint).exists():
        raise ConfigError(f"The run {run.id} has no checkpoint to sample.", "Train it further.")
    config = load_config(run.config_path)
    section = _section(arguments, run_section(config), config.model)
    missing: list[str] = []
    if arguments.prompts or arguments.conditions:
        wanted = _asked(arguments, section)
    else:
        wanted, missing = gallery(config)
    beside = [_weighted(given) for given in arguments.adapters]
    order = Order(
        model=config.model,
        section=section,
        wanted=wanted,
        adapters=[(run.path / checkpoint, arguments.weight), *beside],
        schedule=arguments.schedule,
        base=arguments.base,
        step=_step_of(checkpoint),
        quantization=config.acceleration.quantization,
        swap_blocks=config.ltx_agent.memory.swap_blocks,
        text_in_8bit=config.acceleration.load_text_encoder_in_8bit,
        title=_title([(f"run {run.id}", arguments.weight), *((path.name, weight) for path, weight in beside)]),
    )
    return _render(order, to or _new_folder(run.samples), missing, progress)


def sample_files(
    model: str,
    arguments: SampleArguments,
    progress: Progress | None,
    to: Path | None = None,
    text_encoder: Path | None = None,
) -> Any:
    """Sample adapter files without a run, on the model that `model` names; a single file or a pack needs the folder of
    its `text_encoder` beside."""
    from trainer_core.sampling.standalone import Order

    path = model if is_tiny(model) else str(Path(model).expanduser().absolute())
    encoder = None if text_encoder is None else str(text_encoder.expanduser().absolute())
    chosen = ModelSection(model_path=path, text_encoder_path=encoder)
    adapters = [_weighted(given) for given in arguments.adapters]
    base = ValidationSection().model_copy(update=_generated_by([file for file, _ in adapters]))
    section = _section(arguments, base, chosen)
    order = Order(
        model=chosen,
        section=section,
        wanted=_asked(arguments, section),
        adapters=adapters,
        step=max((_step_of(file.name) for file, _ in adapters), default=0),
        schedule=arguments.schedule,
        base=arguments.base,
        title=_title([(file.name, weight) for file, weight in adapters]) or "the base model",
    )
    return _render(order, to or _new_folder(SAMPLES_FOLDER), [], progress)


def _generated_by(files: list[Path]) -> dict[str, bool]:
    """Which modalities adapters generate, by the roles that their files state; one that states none makes both."""
    from trainer_core.sampling.multi_lora import said_training

    trained = [said_training(file) for file in files]
    if not trained:
        return {}
    video, audio = (any(one is None or one.modality(name).generated for one in trained) for name in ("video", "audio"))
    return {"generate_video": video, "generate_audio": audio}


def split_targets(targets: list[str]) -> tuple[RunFolder | None, float, list[str]]:
    """Tell runs from adapter files: `RUN`, `PROJECT`, `FILE`, each with an optional `=WEIGHT`. At most one is a run."""
    run: RunFolder | None = None
    run_weight, files = 1.0, []
    for target in targets:
        path, weight = _weighted(target)
        if path.is_dir():
            if run is not None:
                raise ConfigError("Two runs are named.", "Name one run, and of the others their adapter files.")
            run, run_weight = resolve_run(path), weight
        else:
            files.append(target)
    return run, run_weight, files


def _render(order: Any, folder: Path, missing: list[str], progress: Progress | None) -> SampleResult:
    from trainer_core.sampling.index import PAGE_NAME
    from trainer_core.sampling.standalone import sample

    made = sample(order, folder, progress or (lambda _what, _done, _total: None))
    notes = [*missing, *made.notes, *(note for row in made.index.prompts for note in row.notes)]
    return SampleResult(
        folder=str(folder),
        page=str(folder / PAGE_NAME),
        model=made.index.model,
        tiny=made.index.tiny,
        prompts=[row.prompt for row in made.index.prompts],
        files=[row.file for row in made.index.samples],
        sheets=[row.sheet for row in made.index.prompts if row.sheet],
        conflicts=[conflict.sentence for conflict in made.conflicts],
        notes=list(dict.fromkeys(notes)),
    )


def _section(arguments: SampleArguments, base: ValidationSection, model: ModelSection) -> ValidationSection:
    """The run's section with what was asked for laid over it; plain defaults follow the model's version."""
    from trainer_core.model.load import open_model
    from trainer_core.sampling.schedule import VERSION_DEFAULTS

    usual = VERSION_DEFAULTS[open_model(model, distilled_too=True).version]
    plain = ValidationSection()
    changes: dict[str, Any] = {}
    if base.inference_steps == plain.inference_steps:
        changes["inference_steps"] = usual.inference_steps
    if base.stg_blocks == plain.stg_blocks:
        changes["stg_blocks"] = list(usual.stg_blocks)
    asked = {
        "inference_steps": arguments.steps,
        "negative_prompt": arguments.negative_prompt,
        "frame_rate": arguments.frame_rate,
        "seed": arguments.seed,
        "video_cfg_scale": arguments.video_cfg_scale,
        "audio_cfg_scale": arguments.audio_cfg_scale,
        "video_stg_scale": arguments.stg_scale,
        "audio_stg_scale": arguments.stg_scale,
        "video_modality_guidance_scale": arguments.modality_scale,
        "audio_modality_guidance_scale": arguments.modality_scale,
    }
    changes |= {name: value for name, value in asked.items() if value is not None}
    if arguments.size is not None:
        bucket = parse_buckets(arguments.size)[0]
        changes["video_dims"] = (bucket.width, bucket.height, bucket.frames)
    return base.model_copy(update=changes)


def _asked(arguments: SampleArguments, section: ValidationSection) -> list[Wanted]:
    if not arguments.prompts:
        raise ConfigError("There is no prompt to sample.", "Give one with --prompt.")
    conditions = [parse_condition(spelling) for spelling in arguments.conditions]
    return [
        Wanted(ValidationSample(prompt=prompt, conditions=conditions), section.seed, "prompt")
        for prompt in arguments.prompts
    ]


def parse_condition(spelling: str) -> Any:
    """Read `KIND=FILE[,key=value…]`: a file of sound is given to sound, of pictures to pictures (`side=audio` forces).

    A `spatial_region` is written y1:x1:y2:x2. Raises ConfigError for what the schema doesn't know.
    """
    head, *rest = spelling.split(",")
    kind, separator, path = head.partition("=")
    if not separator or not path:
        raise ConfigError(f"`{spelling}` is no condition.", "Write KIND=FILE, such as first_frame=start.png.")
    options = dict(part.partition("=")[::2] for part in rest)
    values: dict[str, Any] = {"type": kind}
    side = options.pop("side", None)
    if kind in ("prefix", "suffix", "mask", "reference"):
        values[side or _side_of(Path(path))] = str(Path(path).expanduser().absolute())
    else:
        values[_FILE_KEY.get(kind, "video")] = str(Path(path).expanduser().absolute())
    for name, value in options.items():
        if name == "spatial_region":
            values[name] = [int(part) for part in value.split(":") if part.isdigit()]
        elif name == "mask":
            values[name] = str(Path(value).expanduser().absolute())
        else:
            values[name] = value
    try:
        return _CONDITION.validate_python(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'][1:])) or kind}: {fault['msg']}" for fault in error.errors()
        )
        raise ConfigError(f"The condition `{spelling}` is wrong: {faults}.", "See --help.") from error


def _side_of(path: Path) -> str:
    from trainer_core.sampling.encoder import has_pictures

    if not path.exists():
        raise ConfigError(f"There is no file {path}.", "Correct the path of the condition.")
    return "video" if has_pictures(path) else "audio"


def _weighted(given: str) -> tuple[Path, float]:
    """Read `PATH` or `PATH=WEIGHT`; a path that exists as written is never split."""
    path = Path(given).expanduser()
    head, separator, tail = given.rpartition("=")
    if path.exists() or not separator:
        return path, 1.0
    try:
        return Path(head).expanduser(), float(tail)
    except ValueError as error:
        raise ConfigError(f"`{given}`: `{tail}` is no weight.", "Write PATH=0.8.") from error


def _title(adapters: list[tuple[str, float]]) -> str:
    return " + ".join(name if weight == 1 else f"{name} at {weight:g}" for name, weight in adapters)


def _new_folder(parent: Path) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for attempt in range(1000):
        folder = parent / (stamp if attempt == 0 else f"{stamp}-{attempt}")
        if not folder.exists():
            return folder
    raise ConfigError(f"{parent} holds a thousand galleries of this second.", "Name a folder with --to.")


def _step_of(checkpoint: str) -> int:
    tail = Path(checkpoint).stem.rpartition("_")[2]
    return int(tail) if tail.isdigit() else 0
