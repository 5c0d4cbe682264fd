"""The user's settings file, read one section at a time. Never a key: keys stay in the environment."""

import os
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from trainer_core.errors import ConfigError

SectionT = TypeVar("SectionT", bound=BaseModel)


def settings_path() -> Path:
    """Return the settings file: LTX_AGENT_SETTINGS, else settings.yaml in the configuration folder."""
    import platformdirs

    named = os.environ.get("LTX_AGENT_SETTINGS")
    return Path(named) if named else Path(platformdirs.user_config_dir("ltx-agent")) / "settings.yaml"


def read_section(name: str, model: type[SectionT]) -> SectionT:
    """Return one section of the file, its defaults where there is none. Raises ConfigError naming the wrong key."""
    path = settings_path()
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} can't be read: {type(error).__name__}.", "Correct it.") from None
    section = document.get(name) if isinstance(document, dict) else None
    try:
        return model.model_validate(section or {})
    except ValidationError as error:
        # the value is left out: a key put here by mistake must not be printed
        faults = "; ".join(f"{name}.{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        hint = "Correct it. API keys stay in the environment: api_key_env names the variable."
        raise ConfigError(f"{path} is wrong: {faults}.", hint) from None


def from_environment(*names: str) -> str | None:
    """Return the first of these variables that is set and not empty."""
    return next((value for name in names if (value := os.environ.get(name))), None)
