"""The user's settings: which chat model talks, what it and the GPU cost, how much it may spend. Never a key.

They are sections of settings.yaml; the environment wins over the file, `--llm` and `/model` over both.
"""

from typing import Annotated, Literal

from pydantic import Field

from tools.prices import Prices
from tools.settings import from_environment, read_section
from trainer_core.strict import Strict

ToolStyle = Literal["auto", "native", "json"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class LlmSettings(Strict):
    """`llm:`, the chat model. `tools`: native function calls, or a JSON object a reply for models that know none."""

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


class Budget(Strict):
    """`budget:`, what a conversation may spend on its chat model; None sets no limit."""

    tokens: Annotated[int, Field(ge=1)] | None = None
    money: Positive | None = None


class Settings(Strict):
    """The agent's part of settings.yaml."""

    llm: LlmSettings = LlmSettings()
    budget: Budget = Budget()
    prices: Prices = Prices()


def load_settings() -> Settings:
    """Return the file's settings with the environment over them. Raises ConfigError naming the wrong key."""
    llm = read_section("llm", LlmSettings)
    base_url = from_environment("LTX_AGENT_BASE_URL", "OPENAI_BASE_URL") or llm.base_url
    model = from_environment("LTX_AGENT_MODEL") or llm.model
    return Settings(
        llm=llm.model_copy(update={"base_url": base_url, "model": model}),
        budget=read_section("budget", Budget),
        prices=read_section("prices", Prices),
    )
