"""Address and limits of an endpoint: from the settings, and from what the server says of the model."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from tools.endpoint.failures import Service
from tools.endpoint.usage import token_price
from tools.settings import from_environment, read_section
from trainer_core.errors import ConfigError
from trainer_core.strict import Strict

Medium = Literal["image", "video", "audio"]
MEDIA: tuple[Medium, ...] = ("image", "video", "audio")
Price = Annotated[float, Field(ge=0)]


CAPTIONING = Service(
    "captioning endpoint", "LTX_AGENT_CAPTION_MODEL", "the base URL", "the key it is given (LTX_AGENT_CAPTION_API_KEY)"
)
SPEECH = Service(
    "speech endpoint", "LTX_AGENT_SPEECH_MODEL", "its base URL", "the key it is given (LTX_AGENT_SPEECH_API_KEY)"
)


class CaptionSettings(Strict):
    """`captions:` of settings.yaml. `media` is what the endpoint's model takes; unset, the server is asked.

    `local_model` is a folder or a cached hub model for `--captioner local`. Prices are US dollars.
    """

    base_url: str | None = None
    model: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    media: list[Medium] | None = None
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    price_per_million_input: Price | None = None
    price_per_million_output: Price | None = None
    local_model: str | None = None


class SpeechSettings(Strict):
    """`speech:` of settings.yaml: who transcribes what is spoken."""

    base_url: str | None = None
    model: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    local_model: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible address and a model there. `media` None: ask the server; `price_usd` (in, out) a token."""

    model: str
    base_url: str | None
    api_key: str = field(repr=False)
    service: Service
    concurrency: int = 4
    media: frozenset[str] | None = None
    price_usd: tuple[float, float] | None = None


@dataclass(frozen=True)
class Offer:
    """A server's facts about the model; None where it says nothing."""

    media: frozenset[str] | None = None
    price_usd: tuple[float, float] | None = None
    context_tokens: int | None = None


def caption_settings() -> CaptionSettings:
    """Return the settings of captioning, the environment's LTX_AGENT_CAPTION_… over the file's."""
    settings = read_section("captions", CaptionSettings)
    named = {
        "model": from_environment("LTX_AGENT_CAPTION_MODEL"),
        "base_url": from_environment("LTX_AGENT_CAPTION_BASE_URL"),
        "local_model": from_environment("LTX_AGENT_CAPTION_LOCAL_MODEL"),
    }
    return settings.model_copy(update={name: value for name, value in named.items() if value is not None})


def speech_settings() -> SpeechSettings:
    """Return the settings of transcription, the environment's LTX_AGENT_SPEECH_… over the file's."""
    settings = read_section("speech", SpeechSettings)
    named = {
        "model": from_environment("LTX_AGENT_SPEECH_MODEL"),
        "base_url": from_environment("LTX_AGENT_SPEECH_BASE_URL"),
        "local_model": from_environment("LTX_AGENT_SPEECH_LOCAL_MODEL"),
    }
    return settings.model_copy(update={name: value for name, value in named.items() if value is not None})


def caption_endpoint(model: str | None = None) -> Endpoint | None:
    """Return the captioning endpoint: `model`, else the configured one, at the configured address.

    None when no model is named: a key that lies in the environment is never spent unasked. Raises ConfigError for a
    model without an address or a key.
    """
    settings = caption_settings()
    name = model or settings.model
    if name is None:
        return None
    return Endpoint(
        name,
        *_address(name, settings, "LTX_AGENT_CAPTION"),
        CAPTIONING,
        concurrency=settings.concurrency,
        media=None if settings.media is None else frozenset(settings.media),
        price_usd=token_price(settings.price_per_million_input, settings.price_per_million_output),
    )


def speech_endpoint(model: str | None = None) -> Endpoint | None:
    """Return the endpoint that transcribes speech, found as `caption_endpoint` is."""
    settings = speech_settings()
    name = model or settings.model
    if name is None:
        return None
    return Endpoint(name, *_address(name, settings, "LTX_AGENT_SPEECH"), SPEECH, concurrency=settings.concurrency)


def read_offer(entry: dict[str, Any]) -> Offer:
    """Read one entry of GET /models as the common servers write it (OpenRouter, vLLM, llama.cpp, LM Studio)."""
    return Offer(_offered_media(entry), _offered_price(entry), _offered_context(entry))


def _address(model: str, settings: CaptionSettings | SpeechSettings, prefix: str) -> tuple[str | None, str]:
    base_url = settings.base_url or from_environment("LTX_AGENT_BASE_URL", "OPENAI_BASE_URL")
    key = from_environment(f"{prefix}_API_KEY", settings.api_key_env)
    if not base_url and not key:
        raise ConfigError(
            f"The model {model!r} has no endpoint: neither {prefix}_BASE_URL nor {settings.api_key_env} is set.",
            "Set one of them.",
        )
    return base_url, key or "none"  # local servers take any key, the client insists on one


def _offered_media(entry: dict[str, Any]) -> frozenset[str] | None:
    architecture = entry.get("architecture")
    listed = entry.get("input_modalities") or (
        architecture.get("input_modalities") if isinstance(architecture, dict) else None
    )
    if isinstance(listed, list):
        return frozenset(MEDIA) & {str(item) for item in listed}
    capabilities = entry.get("capabilities")
    if isinstance(capabilities, list) and {"vision", "multimodal"} & set(map(str, capabilities)):
        return frozenset({"image"} | ({"audio"} & set(map(str, capabilities))))
    if entry.get("type") == "vlm":
        return frozenset({"image"})
    return None


def _offered_price(entry: dict[str, Any]) -> tuple[float, float] | None:
    pricing = entry.get("pricing")
    try:
        return (float(pricing["prompt"]), float(pricing["completion"])) if isinstance(pricing, dict) else None
    except (KeyError, TypeError, ValueError):
        return None


def _offered_context(entry: dict[str, Any]) -> int | None:
    sizes = [entry.get(name) for name in ("max_model_len", "context_length", "loaded_context_length")]
    meta = entry.get("meta")
    if isinstance(meta, dict):
        sizes.append(meta.get("n_ctx"))
    return next((size for size in sizes if isinstance(size, int) and size > 0), None)
