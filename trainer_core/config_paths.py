"""The files and folders that a training config names: made absolute, listed, compared. No torch."""

from collections.abc import Callable
from pathlib import Path

from trainer_core.config import TrainingConfig, is_tiny
from trainer_core.sections.validation import ValidationSample


def resolve_paths(config: TrainingConfig, base: Path) -> TrainingConfig:
    """Return `config` with absolute paths; a relative one counts from `base` or, when only that exists, from here."""

    def absolute(value: str | None) -> str | None:
        if value is None or Path(value).is_absolute():
            return value
        beside, here = base / Path(value).expanduser(), Path(value).expanduser()
        return str((here if here.exists() and not beside.exists() else beside).absolute())

    return _with_paths(config, absolute)


def paths_of(config: TrainingConfig) -> list[str]:
    """Return every file and folder that `config` names, as it spells them."""
    found: list[str] = []

    def note(value: str | None) -> str | None:
        if value is not None:
            found.append(value)
        return value

    _with_paths(config, note)
    return found


def paths_added(before: TrainingConfig, after: TrainingConfig, base: Path) -> list[str]:
    """Return the files, absolute against `base`, that `after` names and `before` doesn't."""
    known = paths_of(resolve_paths(before, base))
    return [path for path in paths_of(resolve_paths(after, base)) if path not in known]


CONDITION_FILES = ("image_or_video", "video", "audio", "mask")
"""The keys of a sample's conditions that name files."""


def _with_paths(config: TrainingConfig, change: Callable[[str | None], str | None]) -> TrainingConfig:
    """Return `config` with `change` done to every path in it."""

    def changed(sample: ValidationSample) -> ValidationSample:
        conditions = [
            one.model_copy(update={name: change(getattr(one, name)) for name in CONDITION_FILES if hasattr(one, name)})
            for one in sample.conditions
        ]
        return sample.model_copy(update={"conditions": conditions})

    model, data, samples = config.model, config.data, config.validation.samples
    local = {
        name: change(getattr(model, name))
        for name in ("text_encoder_path", "video_vae_path", "audio_vae_path", "load_checkpoint")
    }
    model_path = model.model_path if is_tiny(model.model_path) else change(model.model_path)
    return config.model_copy(
        update={
            "model": model.model_copy(update={**local, "model_path": model_path}),
            "data": data.model_copy(update={"preprocessed_data_root": change(data.preprocessed_data_root)}),
            "validation": config.validation.model_copy(update={"samples": [changed(sample) for sample in samples]}),
            "output_dir": change(config.output_dir),
            "ltx_agent": config.ltx_agent.model_copy(update={"dataset": change(config.ltx_agent.dataset)}),
        }
    )
