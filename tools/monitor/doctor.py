"""The adapter doctor as tools: examine a LoRA, compare two, merge or change them into a new one."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, FiniteFloat

from tools.monitor.find import find_run, resolve_run
from tools.project import Progress, Project
from trainer_core.config import is_tiny, load_config
from trainer_core.errors import ConfigError
from trainer_core.files import file_digest, read_jsonl
from trainer_core.run_folder import RunFolder
from trainer_core.sections.run import LoraSection, ModelSection
from trainer_core.strict import Strict

Branch = Literal["video", "audio", "cross"]


class DoctorArguments(Strict):
    """The adapter to examine."""

    file: Annotated[str | None, Field(description="A LoRA file; null: the newest checkpoint of the run.")] = None
    run: Annotated[str | None, Field(description="Id of the run; null means the newest run.")] = None
    model: Annotated[str | None, Field(description="The base model; null: the run's, none for a foreign file.")] = None


class CompareArguments(Strict):
    """Two LoRA files to compare."""

    first: str
    second: str


class EditAdapterArguments(Strict):
    """Steps that make a new adapter from existing ones, in this order: merge, scale and strip, change rank."""

    file: str
    output: str
    merge: Annotated[
        dict[str, FiniteFloat], Field(description="Other LoRA files and the weight each is added with.")
    ] = {}
    scale: Annotated[dict[Branch, FiniteFloat], Field(description="Factors of branches; 0 leaves one out.")] = {}
    rank: Annotated[int | None, Field(ge=1, description="The new rank of every module, by SVD.")] = None


class EditAdapterResult(Strict):
    """The new file; `lost` is the share of ‖ΔW‖ that a smaller rank gives up."""

    file: str
    modules: int
    ranks: list[int]
    lost: float
    sentence: str


def examine_adapter(
    project: Project,
    arguments: DoctorArguments,
    _progress: Progress | None = None,
) -> BaseModel:
    """Examine an adapter: NaN scan, modules that never moved, how far each block and branch moves the base's weights,
    how much the predictions change. The verdict is dead, weak, healthy, exploding or broken; quote its evidence.
    """
    target = Path(arguments.file) if arguments.file else find_run(project, arguments.run).path
    return diagnosis_of(target, arguments.model)


def base_paths(_project: Project, arguments: DoctorArguments) -> list[str]:
    """The base model's file; one that is no file is one of the tiny ones."""
    return [arguments.model] if arguments.model and not is_tiny(arguments.model) else []


def diagnosis_of(target: Path | None, model: str | None = None, picture: Path | None = None) -> BaseModel:
    """Examine the LoRA file `target`, or the newest checkpoint of the run that it (or None: this folder) names.

    A picture is drawn into the run's folder, for a foreign file into the current one, or to `picture`.
    """
    from trainer_core.doctor.examine import base_of, examine_file
    from trainer_core.doctor.picture import draw_diagnosis
    from trainer_core.model.load import open_model

    file, run = _file_of(target)
    section = _base_section(model, run)
    diagnosis = examine_file(file, None if section is None else base_of(open_model(section)), _known_change(run, file))
    if diagnosis.blocks:
        name = f"doctor-{file.stem}.png"
        drawn = picture or (run.path / name if run is not None else Path.cwd() / name)
        diagnosis = diagnosis.model_copy(update={"picture": str(drawn)})
        draw_diagnosis(diagnosis, drawn)
    return diagnosis


def compare_adapters(
    _project: Project,
    arguments: CompareArguments,
    _progress: Progress | None = None,
) -> BaseModel:
    """Compare two adapters by branch: whether they move the same weights, in the same direction, and by how much."""
    from trainer_core.doctor.compare import compare_files

    return compare_files(Path(arguments.first), Path(arguments.second))


def edit_adapter(
    _project: Project,
    arguments: EditAdapterArguments,
    _progress: Progress | None = None,
) -> EditAdapterResult:
    """Make a new adapter file of one or several: strip or scale the audio or video branch, merge, change rank by SVD.

    No file that exists is changed.
    """
    from trainer_core.doctor import edit

    parts = [(Path(arguments.file), 1.0), *((Path(path), weight) for path, weight in arguments.merge.items())]
    files = [(edit.load_whole(path), weight) for path, weight in parts]
    edit.check_versions([file for file, _ in files])
    pairs = edit.merged([(file.pairs, weight) for file, weight in files])
    text_pairs = edit.merged([(file.text_pairs, weight) for file, weight in files])
    pairs = edit.scaled(pairs, {str(branch): factor for branch, factor in arguments.scale.items()})
    lost = 0.0
    if arguments.rank is not None:
        pairs, lost = edit.with_rank(pairs, arguments.rank)
        text_pairs, _ = edit.with_rank(text_pairs, arguments.rank)
    output = Path(arguments.output)
    made_of = "; ".join(f"{path.name} x {weight:g}" for path, weight in parts)
    changes = "".join(f", {branch} x {factor:g}" for branch, factor in arguments.scale.items())
    changes += f", rank {arguments.rank}" if arguments.rank else ""
    metadata = {**files[0][0].metadata, "made_of": f"{made_of}{changes}"}
    edit.write_adapter(output, pairs, metadata, text_pairs=text_pairs)
    ranks = sorted({down.shape[0] for down, _ in pairs.values()})
    told = f"Made {output} of {made_of}{changes}: {len(pairs)} modules of rank {', '.join(map(str, ranks))}"
    return EditAdapterResult(
        file=str(output),
        modules=len(pairs),
        ranks=ranks,
        lost=lost,
        sentence=f"{told}; {lost:.1%} of ‖ΔW‖ lost to the smaller rank." if lost else f"{told}.",
    )


def _file_of(target: Path | None) -> tuple[Path, RunFolder | None]:
    if target is not None and target.expanduser().is_file():
        file = target.expanduser().absolute()
        beside = RunFolder(file.resolve().parent.parent)
        return file, beside if beside.config_path.exists() and file.resolve().parent == beside.checkpoints else None
    if target is not None and target.suffix == ".safetensors":
        raise ConfigError(f"There is no file {target}.", "Give a LoRA file, a run or a project.")
    run = resolve_run(target)
    saved = run.read_status().last_checkpoint
    if saved is None or not (run.path / saved).exists():
        raise ConfigError(f"Run {run.id} has no checkpoint yet.", "Wait for its first save, or give a LoRA file.")
    return run.path / saved, run


def _base_section(model: str | None, run: RunFolder | None) -> ModelSection | None:
    if model is not None:
        return ModelSection(model_path=model)
    if run is None:
        return None
    config = load_config(run.config_path)
    if config.model.training_mode != "lora" or not isinstance(config.lora, LoraSection):
        raise ConfigError(
            f"Run {run.id} trains the full model: there is no adapter to examine.", "Look at its held-out losses."
        )
    return config.model


def _known_change(run: RunFolder | None, file: Path) -> dict[str, float] | None:
    """How much this very file changes the predictions, if the trainer measured it when it saved it."""
    if run is None or not run.doctor_path.exists():
        return None
    digest = file_digest(file)
    rows = [row for row in read_jsonl(run.doctor_path) if row.get("sha256") == digest]
    return rows[-1].get("prediction_change") if rows else None
