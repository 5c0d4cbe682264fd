"""The user's settings: which chat model, what it and the GPU cost, how much may be spent. Never a key.

They stand in settings.yaml of the user's configuration folder (or where LTX_AGENT_SETTINGS points); the environment
wins over the file, `--llm` and `/model` over both. Keys stay in the environment: `api_key_env` names the variable.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tools.settings import settings_path
from trainer_core.errors import ConfigError

ToolStyle = Literal["auto", "native", "json"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LlmSettings(_Section):
    """The chat model. `tools`: native function calls, or one JSON object a reply for models that know none."""

    base_url: str | None = None
    model: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    tools: ToolStyle = "auto"
    streaming: bool = True
    context_tokens: Annotated[int, Field(ge=2000)] = 24_000
    timeout_s: Positive = 120.0
    retries: Annotated[int, Field(ge=0, le=20)] = 4
    price_per_million_input: NotNegative | None = None
    price_per_million_output: NotNegative | None = None


class Budget(_Section):
    """What a conversation may spend on its chat model; None sets no limit."""

    tokens: Annotated[int, Field(ge=1)] | None = None
    money: Positive | None = None


class Settings(_Section):
    """settings.yaml."""

    llm: LlmSettings = LlmSettings()
    budget: Budget = Budget()
    gpu_hour_price: NotNegative | None = None
    currency: Annotated[str, Field(pattern=r"^\w{1,8}$")] = "USD"
    captions: dict[str, Any] = {}
    """Read by tools/caption/endpoint_settings.py, as `speech` is."""
    speech: dict[str, Any] = {}


def load_settings() -> Settings:
    """Return the file's settings with the environment over them. Raises ConfigError naming the wrong key."""
    path = settings_path()
    settings = _read(path) if path.exists() else Settings()
    base_url = os.environ.get("LTX_AGENT_BASE_URL") or os.environ.get("OPENAI_BASE_URL") or settings.llm.base_url
    model = os.environ.get("LTX_AGENT_MODEL") or settings.llm.model
    return settings.model_copy(update={"llm": settings.llm.model_copy(update={"base_url": base_url, "model": model})})


def _read(path: Path) -> Settings:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} can't be read: {' '.join(str(error).split())}.", "Correct it.") from error
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        # the value is left out: a key put here by mistake must not be printed
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        hint = "Correct it. API keys stay in the environment: llm.api_key_env names the variable."
        raise ConfigError(f"{path} is wrong: {faults}.", hint) from error
