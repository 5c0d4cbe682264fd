"""From the YAML's `model:` section to a model source: tiny, a diffusers folder, a unified file or a split pack."""

from pathlib import Path

from trainer_core.config import is_tiny
from trainer_core.errors import ConfigError
from trainer_core.model.folder import FolderSource
from trainer_core.model.single_file import SafetensorsSource
from trainer_core.model.source import ModelSource, Part
from trainer_core.model.tiny import tiny_source
from trainer_core.sections.run import ModelSection


def open_model(section: ModelSection, *, distilled_too: bool = False) -> ModelSource:
    """Return the source that the section names; reads headers, loads nothing yet.

    Raises ConfigError for a path that is missing or is no LTX-2 model, and for a distilled one unless `distilled_too`.
    """
    if is_tiny(section.model_path):
        return tiny_source(section.model_path)
    path = Path(section.model_path)
    given = {
        "text_encoder": section.text_encoder_path,
        "video_vae": section.video_vae_path,
        "audio_vae": section.audio_vae_path,
    }
    overrides: dict[Part, Path] = {}
    for part, value in given.items():
        if value is not None:
            if not Path(value).exists():
                raise ConfigError(f"There is no model part at {value}.", f"Correct model.{part}_path.")
            overrides[part] = Path(value)  # type: ignore[index]
    if not path.exists():
        raise ConfigError(
            f"There is no model at {path}.", "Give an LTX-2 file or diffusers folder, or `tiny` to try things out."
        )
    if path.is_dir():
        return FolderSource(path, overrides)
    return SafetensorsSource(path, overrides, distilled_too=distilled_too)
