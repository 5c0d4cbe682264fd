"""Uses of the trained adapter elsewhere, and its terms: facts and their sources, no legal advice."""

from tools.deliver.export import EXPORT_FOLDER
from tools.project import Project
from trainer_core.config import is_tiny, load_config
from trainer_core.errors import LtxError
from trainer_core.run_folder import RunFolder


def use_facts(project: Project, _name: str | None) -> list[str]:
    """Return the adapter's place and the steps to load it."""
    trained = _trained(project)
    lines = []
    if trained is None:
        lines.append("No adapter is trained yet; once there is one, this is the way.")
    elif (trained.path / EXPORT_FOLDER).is_dir():
        lines.append(f"Your export is in {trained.path / EXPORT_FOLDER}.")
    else:
        lines.append('First say "export it for ComfyUI": that writes the LoRA and a workflow that loads it.')
    lines += [
        "1. Copy the .safetensors file into ComfyUI/models/loras (the base model into models/checkpoints).",
        "2. Drop the exported workflow .json on ComfyUI's canvas; or load the file with LoraLoaderModelOnly yourself.",
        "3. Set strength_model to 1, and lower it where the adapter is too strong.",
        f"4. Write prompts like your captions{_with_trigger(project)}.",
        "diffusers reads the same file: LTX2Pipeline.load_lora_weights.",
    ]
    if _is_tiny(project):
        lines.append("The plan's model is tiny and random: its adapter fits no real LTX-2. Name a real base to use it.")
    return lines


def licence_facts(project: Project, _name: str | None) -> list[str]:
    """Return the known licences of the base and of the data."""
    facts = project.facts
    base = "tiny and random, made here: nobody's licence binds it" if _is_tiny(project) else facts.model
    lines = [f"Base model of this plan: {base}."]
    if not _is_tiny(project):
        lines.append(
            "LTX-2's weights come under the LTX-2 Community License: by its publisher's announcement of June 2026 free "
            "for commercial use under 10 million dollars of yearly revenue, a paid licence above; no product that "
            "competes with Lightricks, no deepfake without consent. The text beside your checkpoint is what counts."
        )
    return [
        *lines,
        "Your data: I don't know who holds the rights in your clips, their music and the people in "
        "them. You need them.",
        "The adapter's weights are yours; what you make with it follows both licences.",
        "This is what I know, not legal advice. State both licences when you export, and the model card says them.",
    ]


def _trained(project: Project) -> RunFolder | None:
    for run in reversed(project.runs()):
        try:
            if run.read_status().last_checkpoint:
                return run
        except LtxError:
            continue
    return None


def _with_trigger(project: Project) -> str:
    trigger = project.facts.trigger
    return f", beginning with the trigger word {trigger}" if trigger else "; this plan has no trigger word"


def _is_tiny(project: Project) -> bool:
    try:
        model = load_config(project.config_path).model.model_path if project.config_path.exists() else None
    except LtxError:
        model = None
    return is_tiny(model or project.facts.model)
