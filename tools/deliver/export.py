"""Exporting what a run trained: weights in others' forms, YAML, ComfyUI workflow and model card, in one folder."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tools.deliver.card import NOT_STATED, CardFacts, model_card
from tools.deliver.comfyui import TEXT_ENCODERS, WorkflowFiles, workflow
from tools.monitor.curve import loss_curve_png
from tools.monitor.find import find_run
from tools.project import Progress, Project
from tools.spec import CostLine, Preview, nothing
from trainer_core.config import TrainingConfig, load_config
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import write_json, write_text
from trainer_core.objective import objective_of
from trainer_core.run_folder import RunFolder
from trainer_core.sampling.index import INDEX_NAME, read_index
from trainer_core.strict import Strict

Form = Literal["lora", "diffusers", "merged", "upstream", "comfyui", "card"]
USUAL_FORMS: tuple[Form, ...] = ("lora", "diffusers", "upstream", "comfyui", "card")
EXPORT_FOLDER = "export"


class ExportAdapterArguments(Strict):
    """Forms to export. `merged` writes a checkpoint as large as the base, so it is made only when it is named."""

    run: str | None = Field(None, description="Id of the run; null means the newest run.")
    forms: list[Form] = Field(
        list(USUAL_FORMS),
        description="lora (upstream's and ComfyUI's file; of a full run the base's file with the trained transformer), "
        "diffusers (a folder; whole where the base is one), merged (base and adapter in one, laid out as the base is), "
        "upstream (the YAML for the official trainer), comfyui (a workflow), card (README.md).",
    )
    checkpoint: str | None = Field(None, description="A file under checkpoints/; null: the best, else the last.")
    weight: float = Field(1.0, description="How strongly the adapter is merged; of use to the form merged alone.")
    base_licence: Annotated[str, Field(min_length=1)] = Field(NOT_STATED, description="As the user states it.")
    data_licence: Annotated[str, Field(min_length=1)] = Field(NOT_STATED, description="As the user states it.")
    overwrite: bool = Field(False, description="Make an export again; the old one is moved aside, never lost.")


class ExportAdapterResult(Strict):
    """Exported files, relative to `folder`; `checked` says per form what was verified."""

    run: str
    folder: str
    files: list[str]
    checked: dict[str, str]
    notes: list[str]


def export_adapter(
    project: Project, arguments: ExportAdapterArguments, progress: Progress | None = None
) -> ExportAdapterResult:
    """Export a run's adapter: the file for ComfyUI and the official tools, a diffusers folder, the YAML, a ready
    ComfyUI workflow and a model card. Ask the user for the licences of the base and of the data; never invent them.
    """
    return export_run(find_run(project, arguments.run), arguments, progress)


def preview_export(project: Project, arguments: ExportAdapterArguments) -> Preview | None:
    """Overwriting needs a yes; a first export doesn't."""
    folder = find_run(project, arguments.run).path / EXPORT_FOLDER
    if not arguments.overwrite or not folder.exists():
        return None
    files = sorted(path.name for path in folder.iterdir())
    lines = [f"{folder} holds {', '.join(files)}.", "It is moved aside under a name with today's date."]
    kept = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    costs = [
        CostLine("time", f"writing {len(arguments.forms)} forms once more"),
        CostLine(
            "disk", f"{kept / 1e6:.1f} MB stay in the old export, and the new one beside it", float(kept), "measured"
        ),
        *nothing("memory", "money"),
    ]
    return Preview("Make the export again?", lines, costs, approval="overwrite")


def export_run(
    run: RunFolder, arguments: ExportAdapterArguments, progress: Progress | None = None, to: Path | None = None
) -> ExportAdapterResult:
    """Write every form into one folder, whole or not at all: it gets its name when everything in it is done."""
    from trainer_core.model.load import open_model
    from trainer_core.sampling.multi_lora import open_adapter

    report = progress or (lambda _what, _done, _total: None)
    config = load_config(run.config_path)
    checkpoint = _checkpoint(run, arguments.checkpoint)
    folder = (to or run.path / EXPORT_FOLDER).expanduser().absolute()
    if folder.exists() and any(folder.iterdir()) and not arguments.overwrite:
        raise ConfigError(
            f"{folder} holds an export already.", "Add --overwrite to make it again, or name another --to."
        )
    if arguments.weight != 1 and "merged" not in arguments.forms:
        raise ConfigError(
            f"The weight {arguments.weight:g} would change nothing: only a merged checkpoint is written with one.",
            "Add the form merged, or leave the weight out and set it where the LoRA is loaded.",
        )
    report("checking the weights", 0, len(arguments.forms))
    source = open_model(config.model, distilled_too=True)
    adapter = open_adapter(checkpoint, source)
    forms = _possible(arguments.forms, adapter.kind)
    building = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    work = _ExportWork(run, config, checkpoint, adapter, source, arguments, building)
    checked: dict[str, str] = {}
    try:
        for number, form in enumerate(forms):
            report(f"writing {form}", number, len(forms))
            checked[form] = _WRITERS[form](work)
        if folder.exists():
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            folder.rename(folder.with_name(f"{folder.name}.before-{stamp}"))
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return ExportAdapterResult(
        run=run.id, folder=str(folder), files=files, checked=checked, notes=[*adapter.notes, *work.notes]
    )


class _ExportWork:
    """One export in the making."""

    def __init__(
        self,
        run: RunFolder,
        config: TrainingConfig,
        checkpoint: Path,
        adapter: Any,
        source: Any,
        arguments: ExportAdapterArguments,
        folder: Path,
    ) -> None:
        self.run, self.config, self.checkpoint, self.adapter = run, config, checkpoint, adapter
        self.source, self.arguments, self.folder = source, arguments, folder
        self.notes: list[str] = []
        self.written: list[tuple[str, str]] = []

    @property
    def weights_name(self) -> str:
        objective = self.config.objective_name
        return f"ltx-{self.source.version}-{objective}-{self.run.id}.safetensors"


def _lora(work: _ExportWork) -> str:
    from trainer_core.export import export_lora
    from trainer_core.lora.forms import readers_of

    made = export_lora(work.adapter, work.folder / work.weights_name)
    work.written.append((made.path.name, readers_of(work.adapter.lora)))
    return made.checked


def _full(work: _ExportWork) -> str:
    from trainer_core.export import export_full

    made = export_full(work.adapter, work.source, work.folder / work.weights_name)
    work.written.append(
        (work.weights_name, "the base's file for ComfyUI and the official tools, its transformer trained")
    )
    return made.checked


def _diffusers(work: _ExportWork) -> str:
    from trainer_core.export import export_diffusers

    made = export_diffusers(work.adapter, work.source, work.folder / "diffusers")
    work.written.append(("diffusers/", "the same for diffusers"))
    return made.checked


def _merged(work: _ExportWork) -> str:
    from trainer_core.export import export_merged
    from trainer_core.model.folder import FolderSource
    from trainer_core.sampling.multi_lora import Weighted

    name, kind = f"merged-{work.weights_name}", "file"
    if isinstance(work.source, FolderSource):
        name, kind = name.removesuffix(".safetensors"), "diffusers folder"
    made = export_merged(work.source, [Weighted(work.adapter, work.arguments.weight)], work.folder / name)
    work.written.append((name, f"base and adapter in one {kind}, weight {work.arguments.weight:g}"))
    return made.checked


def _upstream(work: _ExportWork) -> str:
    from trainer_core.export import export_upstream_yaml

    try:
        made = export_upstream_yaml(work.config, work.folder / "training.yaml")
    except ConfigError as error:
        if work.arguments.forms == ["upstream"]:
            raise
        work.notes.append(f"training.yaml for the official trainer is left out: {error.message}")
        return "left out, see the notes"
    work.written.append((made.path.name, "the training config for the official trainer"))
    return made.checked


def _comfyui(work: _ExportWork) -> str:
    from trainer_core.sampling.default_prompts import run_section

    config = work.config
    files = _workflow_files(work)
    section = run_section(config).model_copy(update={"seed": config.validation.seed})
    objective = objective_of(config.strategy)
    prompt = f"{config.ltx_agent.trigger} " if config.ltx_agent.trigger else ""
    first_frame = objective.video.condition("first_frame")
    references, scales = objective.video.references, work.adapter.reference_scales
    document = workflow(
        files,
        section,
        f"{prompt}…",
        first_frame=first_frame is not None and not references,
        reference_downscales=[scales[min(place, len(scales) - 1)][0] for place in range(len(references))],
    )
    write_json(work.folder / "comfyui-workflow.json", document)
    work.written.append(
        ("comfyui-workflow.json", "a ComfyUI workflow that names these files; choose your own base file")
    )
    if references:
        if first_frame is not None:
            work.notes.append(
                f"The adapter was also given a first frame in {first_frame.probability:.0%} of its training; the "
                "workflow has none: put LTXVImgToVideoInplace before the guide for one."
            )
        work.notes.append(
            "The workflow gives the reference by the node LTXAddVideoICLoRAGuide: install ComfyUI-LTXVideo, put your "
            "video into ComfyUI's input folder and choose it in LoadVideo"
            f"{f', one for each of the {len(references)} references' if len(references) > 1 else ''}."
        )
        if config.ltx_agent.reference_temporal_scale > 1:
            work.notes.append(
                f"This adapter learned from references with 1/{config.ltx_agent.reference_temporal_scale} of the "
                "frames; ComfyUI's node gives them all. `ltx-agent sample` gives them as trained."
            )
    if objective.audio.references:
        work.notes.append(
            "The workflow has no input for a reference of sound: no known node places it as this adapter was trained. "
            "`ltx-agent sample` takes one."
        )
    if not objective.video.generated or not objective.audio.generated:
        work.notes.append("The workflow makes picture and sound; this adapter was trained for one of them.")
    return f"{len(document)} nodes, every link leads to a node"


def _workflow_files(work: _ExportWork) -> WorkflowFiles:
    """The base's own file names: one checkpoint, or the parts of a split pack."""
    from trainer_core.model.single_file import SafetensorsSource

    source, trained_whole = work.source, work.adapter.kind == "full"
    lora = None if trained_whole else work.weights_name
    text_encoder = TEXT_ENCODERS[source.version]
    if not isinstance(source, SafetensorsSource):
        return WorkflowFiles(
            text_encoder, lora, "ltx-checkpoint.safetensors", work.weights_name if trained_whole else None
        )
    parts = {part: source.file_of(part).name for part in ("transformer", "video_vae", "audio_vae")}
    if len(set(parts.values())) == 1:
        # trained in full, the export is the whole checkpoint itself
        return WorkflowFiles(text_encoder, lora, work.weights_name if trained_whole else source.root.name)
    unet = work.weights_name if trained_whole else parts["transformer"]
    return WorkflowFiles(text_encoder, lora, None, unet, parts["video_vae"], parts["audio_vae"])


def _card(work: _ExportWork) -> str:
    curve = None
    try:
        loss_curve_png(work.run, work.folder / "loss.png")
        curve = "loss.png"
    except DataError:
        work.notes.append("The run measured no step, so the card has no loss curve.")
    facts = CardFacts(
        version=work.source.version,
        base=work.source.label,
        checkpoint=work.checkpoint,
        files=work.written,
        curve=curve,
        sheets=_sheets(work),
        base_licence=work.arguments.base_licence,
        data_licence=work.arguments.data_licence,
    )
    write_text(work.folder / "README.md", model_card(work.run, work.config, facts))
    for name, licence in (("base", facts.base_licence), ("data", facts.data_licence)):
        if licence == NOT_STATED:
            work.notes.append(f"The licence of the {name} is not stated on the card; state it with --{name}-licence.")
    return "counts, hashes, curve, samples and licences as stated"


def _sheets(work: _ExportWork) -> list[tuple[str, str]]:
    """Copy the contact sheets of everything sampled from this run; the newest gallery first."""
    found = []
    for index_path in sorted(work.run.samples.rglob(INDEX_NAME), reverse=True):
        index = read_index(index_path.parent)
        for row in index.prompts if index else []:
            if row.sheet is None:
                continue
            name = f"samples/{index_path.parent.name}-{row.id}.png"
            (work.folder / "samples").mkdir(exist_ok=True)
            shutil.copyfile(index_path.parent / row.sheet, work.folder / name)
            found.append((row.prompt, name))
    return found


_WRITERS: dict[str, Callable[[_ExportWork], str]] = {
    "lora": _lora,
    "full": _full,
    "diffusers": _diffusers,
    "merged": _merged,
    "upstream": _upstream,
    "comfyui": _comfyui,
    "card": _card,
}


def _possible(forms: list[Form], kind: str) -> list[str]:
    """The forms in writing order, the card last; a full checkpoint is no LoRA and is merged already."""
    order = [form for form in _WRITERS if form in forms or (form == "full" and kind == "full" and "lora" in forms)]
    if kind == "full":
        if "merged" in forms:
            raise ConfigError("This run trained the full model: it is one checkpoint already.", "Leave `merged` out.")
        order = [form for form in order if form != "lora"]
    else:
        order = [form for form in order if form != "full"]
    return order


def _checkpoint(run: RunFolder, named: str | None) -> Path:
    status = run.read_status()
    if named is not None:
        path = (run.checkpoints / Path(named).name).resolve()
    else:
        chosen = status.best_checkpoint or status.last_checkpoint
        if chosen is None:
            raise ConfigError(f"The run {run.id} has no checkpoint to export.", "Train it first.")
        path = run.path / chosen
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in run.checkpoints.glob("*.safetensors"))) or "none"
        raise ConfigError(f"There is no checkpoint {path.name} in {run.checkpoints}.", f"There are: {there}.")
    return path
