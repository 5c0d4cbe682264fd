"""Which chat model talks: an OpenAI-compatible endpoint when one is configured, else the built-in planner."""

import os
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage

from trainer_core.errors import ConfigError, ExternalError, LtxError

TIMEOUT_S = 120.0
RETRIES = 2
ENDPOINT = "openai-chat"
"""What langchain_openai calls its chat model's kind."""


def choose_model(llm: str = "auto") -> BaseChatModel:
    """Return the chat model that `llm` names: "auto", "builtin", or a model's name at the configured endpoint.

    The endpoint is LTX_AGENT_BASE_URL or OPENAI_BASE_URL with the key OPENAI_API_KEY; the model is LTX_AGENT_MODEL.
    "auto" uses it only when LTX_AGENT_MODEL is set, so that a key lying in the environment is never spent unasked.
    """
    from agent.planner import Planner

    if llm == "builtin":
        return Planner()
    base_url = os.environ.get("LTX_AGENT_BASE_URL") or os.environ.get("OPENAI_BASE_URL")
    key = os.environ.get("OPENAI_API_KEY")
    name = os.environ.get("LTX_AGENT_MODEL") if llm == "auto" else llm
    if llm == "auto" and not name:
        if os.environ.get("LTX_AGENT_BASE_URL"):
            raise ConfigError(
                "LTX_AGENT_BASE_URL is set but LTX_AGENT_MODEL is not.",
                "Set LTX_AGENT_MODEL to a model of that endpoint, or use --llm builtin.",
            )
        return Planner()
    if not base_url and not key:
        raise ConfigError(
            f"The language model {name!r} has no endpoint: neither LTX_AGENT_BASE_URL nor OPENAI_API_KEY is set.",
            "Set one of them, or use --llm builtin.",
        )
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    return ChatOpenAI(
        model=name or "",
        base_url=base_url,
        api_key=SecretStr(key or "none"),  # local servers take any key, the client insists on one
        timeout=TIMEOUT_S,
        max_retries=RETRIES,
    )


def ask(model: BaseChatModel, tools: Sequence[dict[str, Any]], messages: Sequence[AnyMessage]) -> AIMessage:
    """Return the model's reply. Raises ExternalError that says in plain words what the endpoint answered."""
    try:
        reply = model.bind_tools(list(tools)).invoke(list(messages))
    except Exception as error:
        explained = _explain(model, error)
        if explained is None:
            raise
        raise explained from error
    if not isinstance(reply, AIMessage):
        raise ExternalError(f"The language model answered with {type(reply).__name__}, not with a message.")
    return reply


def _explain(model: BaseChatModel, error: Exception) -> LtxError | None:
    if model._llm_type != ENDPOINT:
        return None
    import openai

    builtin = "Or go on without it: --llm builtin."
    if isinstance(error, openai.APITimeoutError):
        return ExternalError(f"The language model gave no answer within {TIMEOUT_S:.0f} s.", f"Try again. {builtin}")
    if isinstance(error, openai.APIConnectionError):
        return ExternalError(
            "The language model's endpoint can't be reached.",
            f"Check LTX_AGENT_BASE_URL or OPENAI_BASE_URL, and that the server runs. {builtin}",
        )
    if isinstance(error, openai.APIStatusError):
        meaning, hint = _STATUS.get(error.status_code, ("answered with an error", "Try again later."))
        return ExternalError(
            f"The language model's endpoint {meaning} (HTTP {error.status_code}).", f"{hint} {builtin}"
        )
    if isinstance(error, openai.OpenAIError | AttributeError | KeyError | TypeError | ValueError):
        return ExternalError(  # a server that answers 200 with a web page makes the client stumble in many ways
            f"The endpoint's answer is no chat completion ({type(error).__name__}).",
            f"Check LTX_AGENT_BASE_URL (it often ends in /v1). {builtin}",
        )
    return None


_STATUS: dict[int, tuple[str, str]] = {
    400: ("refused the request", "The model may not support tools, or the conversation is too long for it."),
    401: ("refused the key", "Check OPENAI_API_KEY."),
    403: ("does not allow this", "Check what your key may use."),
    404: ("knows no such model or address", "Check LTX_AGENT_MODEL and LTX_AGENT_BASE_URL (it often ends in /v1)."),
    429: ("says there were too many requests or no credit", "Wait, or check your account."),
}
