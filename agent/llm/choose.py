"""Choice of the chat model: an OpenAI-compatible endpoint when one is configured, else the built-in planner."""

import os
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage

from agent.llm.settings import Settings, load_settings
from tools.settings import settings_path
from trainer_core.errors import ConfigError, ExternalError

ENDPOINT = "openai-chat"
"""What langchain_openai calls its chat model's kind."""
PLANNER = "builtin"


def choose_model(llm: str = "auto", settings: Settings | None = None) -> BaseChatModel:
    """Return the chat model that `llm` names: "auto", "builtin", or a model's name at the configured endpoint.

    The endpoint comes from the environment (LTX_AGENT_BASE_URL or OPENAI_BASE_URL, LTX_AGENT_MODEL, the key in
    OPENAI_API_KEY or the variable that the settings name) or from settings.yaml. "auto" uses it only when a model is
    named, so that a key lying in the environment is never spent unasked.
    """
    from agent.planner.chat_model import Planner

    if llm == PLANNER:
        return Planner()
    settings = settings or load_settings()
    chosen = settings.llm
    key = os.environ.get(chosen.api_key_env)
    name = chosen.model if llm == "auto" else llm
    if llm == "auto" and not name:
        if os.environ.get("LTX_AGENT_BASE_URL"):
            raise ConfigError(
                "LTX_AGENT_BASE_URL is set but LTX_AGENT_MODEL is not.",
                "Set LTX_AGENT_MODEL to a model of that endpoint, or use --llm builtin.",
            )
        return Planner()
    if not chosen.base_url and not key:
        raise ConfigError(
            f"The language model {name!r} has no endpoint: neither LTX_AGENT_BASE_URL nor {chosen.api_key_env} is set.",
            f"Set one of them (or llm.base_url in {settings_path()}), or use --llm builtin.",
        )
    _check_address(chosen.base_url)
    from agent.llm.endpoint import endpoint_model

    return endpoint_model(name or "", key, chosen)


def ask(
    model: BaseChatModel,
    tools: Sequence[dict[str, Any]],
    messages: Sequence[AnyMessage],
    on_text: Callable[[str], None] | None = None,
    tool: str | None = None,
) -> AIMessage:
    """Return the model's reply; `on_text` hears its words while they come, `tool` names the one it must call.

    Raises ExternalError that says in plain words what the endpoint answered.
    """
    if is_endpoint(model):
        from agent.llm.endpoint import ask_endpoint

        return ask_endpoint(model, tools, messages, on_text, tool)
    reply = model.bind_tools(list(tools)).invoke(list(messages))
    if not isinstance(reply, AIMessage):
        raise ExternalError(f"The language model answered with {type(reply).__name__}, not with a message.")
    return reply


def is_endpoint(model: BaseChatModel) -> bool:
    return model._llm_type == ENDPOINT


def name_of(model: BaseChatModel) -> str:
    """The model as a person reads it; never an address or a key."""
    if is_endpoint(model):
        return str(getattr(model, "model_name", "a language model"))
    return PLANNER if model._llm_type == "ltx-agent-planner" else model._llm_type


def _check_address(base_url: str | None) -> None:
    if base_url is None:
        return
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("The language model's address is no http(s) address.", "It often reads http://HOST:PORT/v1.")
    if parts.username or parts.password:
        raise ConfigError(
            "The language model's address holds a user name or password, which would end up in logs.",
            "Leave it out; the key belongs into the environment.",
        )
