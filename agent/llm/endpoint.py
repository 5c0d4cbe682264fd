"""An OpenAI-compatible endpoint and its moods: retries, streaming where it works, tools natively or as JSON.

Small local servers ignore tools unless one is named, refuse `content: null`, can't stream when they choose the tool,
or know no tools at all. What one server can't do is found out once and remembered with the model.
"""

from collections.abc import Callable, Sequence
from time import sleep
from typing import Any

import openai
import tenacity
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from agent.llm.json_tools import as_plain_messages, reply_of, response_schema
from agent.llm.settings import LlmSettings, ToolStyle
from tools.endpoint.failures import HOPELESS, FailureKind, Service, read_failure
from tools.endpoint.traits import ServerTraits, traits_of
from trainer_core.errors import ExternalError

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 20.0
PASSING: frozenset[FailureKind] = frozenset({"busy", "unreachable", "silent", "broken"})
GATEWAY_STATUS = frozenset({502, 503, 504, 529})
REFUSALS = (openai.BadRequestError, openai.UnprocessableEntityError, openai.InternalServerError, openai.NotFoundError)
"""How servers answer a feature they don't have."""


class NoStream(Exception):
    """The server answered a request for a stream with something else, or with nothing."""


class EndpointModel(ChatOpenAI):
    """The client's chat model, without null contents, and with what was learned about its server."""

    tool_style: ToolStyle = "auto"
    patience: int = 0
    """How often a failed request is sent again."""
    _traits: ServerTraits = PrivateAttr(default_factory=ServerTraits)

    def _get_request_payload(self, input_: Any, *, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        for message in payload.get("messages", []):
            if message.get("content") is None:
                message["content"] = ""
        return payload


def endpoint_model(name: str, key: str | None, settings: LlmSettings) -> EndpointModel:
    """Return the model `name` of the endpoint in `settings`."""
    model = EndpointModel(
        model=name,
        base_url=settings.base_url,
        api_key=SecretStr(key or "none"),  # local servers take any key, the client insists on one
        timeout=settings.timeout_s,
        max_retries=0,
        tool_style=settings.tools,
        patience=settings.retries,
    )
    model._traits = traits_of(settings.base_url, name)
    model._traits.streams = model._traits.streams and settings.streaming
    return model


def ask_endpoint(
    model: BaseChatModel,
    tools: Sequence[dict[str, Any]],
    messages: Sequence[AnyMessage],
    on_text: Callable[[str], None] | None,
    tool: str | None,
) -> AIMessage:
    """Return the endpoint's reply. Raises ExternalError that says in plain words why there is none."""
    assert isinstance(model, EndpointModel)
    try:
        return _ask(model, list(tools), list(messages), on_text, tool)
    except Exception as error:
        explained = _explain(model, error)
        if explained is None:
            raise
        raise explained from error


def _ask(
    model: EndpointModel,
    tools: list[dict[str, Any]],
    messages: list[AnyMessage],
    on_text: Callable[[str], None] | None,
    tool: str | None,
) -> AIMessage:
    if model.tool_style == "json" or not model._traits.knows_tools:
        return _ask_for_json(model, tools, messages)
    try:
        reply = _ask_natively(model, tools, messages, on_text, tool)
    except REFUSALS as refusal:
        if model.tool_style == "native" or not tools or isinstance(refusal, openai.NotFoundError):
            raise
        try:
            reply = _ask_for_json(model, tools, messages)
        except openai.OpenAIError:
            raise refusal from None  # the server is ill, not short of tools
        model._traits.knows_tools = False
        return reply
    return reply if reply.tool_calls or reply.invalid_tool_calls else reply_of(reply, tools, words_are_fine=True)


def _ask_natively(
    model: EndpointModel,
    tools: list[dict[str, Any]],
    messages: list[AnyMessage],
    on_text: Callable[[str], None] | None,
    tool: str | None,
) -> AIMessage:
    bound = model.bind_tools(tools, tool_choice=tool) if tools else model
    if on_text is not None and model._traits.streams and tool is None:
        heard: list[str] = []
        try:
            return _patiently(model, lambda: _streamed(bound, messages, on_text, heard), lambda: not heard)
        except (NoStream, *REFUSALS) as refusal:
            if heard or isinstance(refusal, openai.NotFoundError):
                raise
            reply = _patiently(model, lambda: _message(bound.invoke(messages)))
            model._traits.streams = False
            return reply
    return _patiently(model, lambda: _message(bound.invoke(messages)))


def _ask_for_json(model: EndpointModel, tools: list[dict[str, Any]], messages: list[AnyMessage]) -> AIMessage:
    plain = as_plain_messages(messages, tools)
    if model._traits.knows_schemas:
        try:
            schema = {"type": "json_schema", "json_schema": response_schema(tools)}
            answer = _patiently(model, lambda: _message(model.bind(response_format=schema).invoke(plain)))
            return reply_of(answer, tools, words_are_fine=False)
        except REFUSALS as refusal:
            if isinstance(refusal, openai.NotFoundError):
                raise
            answer = _patiently(model, lambda: _message(model.invoke(plain)))
            model._traits.knows_schemas = False
    else:
        answer = _patiently(model, lambda: _message(model.invoke(plain)))
    return reply_of(answer, tools, words_are_fine=False)


def _streamed(bound: Any, messages: list[AnyMessage], on_text: Callable[[str], None], heard: list[str]) -> AIMessage:
    whole: AIMessageChunk | None = None
    try:
        for chunk in bound.stream(messages):
            if chunk.text:
                heard.append(chunk.text)
                on_text(chunk.text)
            whole = chunk if whole is None else whole + chunk
    except ValueError as error:  # the client's word for a stream without a single piece
        raise NoStream from error
    if whole is None:
        raise NoStream
    return AIMessage(
        whole.text,
        tool_calls=whole.tool_calls,
        invalid_tool_calls=whole.invalid_tool_calls,
        usage_metadata=whole.usage_metadata,
        id=whole.id,
    )


def _message(reply: BaseMessage) -> AIMessage:
    if not isinstance(reply, AIMessage):
        raise ExternalError(f"The language model answered with {type(reply).__name__}, not with a message.")
    return reply


def _patiently(
    model: EndpointModel, send: Callable[[], AIMessage], may_repeat: Callable[[], bool] = lambda: True
) -> AIMessage:
    """Send until it succeeds, waiting longer each time; what can't be helped by waiting is raised at once."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(model.patience + 1),
        retry=lambda state: _may_pass(state) and may_repeat(),
        wait=_wait_s,
        sleep=lambda seconds: sleep(seconds),
        reraise=True,
    )
    return retrying(send)


def _may_pass(state: tenacity.RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, openai.APIError):
        return False
    failure = read_failure(error)
    if failure is None or failure.kind not in PASSING:
        return False
    if failure.kind == "silent" or failure.status == 500:
        return (
            state.attempt_number == 1
        )  # waited for long enough; and 500 is often a server that can't do what is asked
    if failure.kind == "broken":
        return failure.status in GATEWAY_STATUS
    return True


def _wait_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    failure = read_failure(error) if error is not None else None
    asked = failure.retry_after_s if failure is not None else None
    wait_s = asked if asked is not None else FIRST_WAIT_S * 2 ** (state.attempt_number - 1)
    return min(max(wait_s, 0.0), LONGEST_WAIT_S)


def _explain(model: EndpointModel, error: Exception) -> ExternalError | None:
    """Say an endpoint's failure in plain words. What the server wrote is left out: it may repeat the key."""
    builtin = "Or go on without it: --llm builtin."
    if isinstance(error, ExternalError):
        return error
    failure = read_failure(error)
    if failure is None:
        return None
    if failure.kind in HOPELESS:
        hopeless = LANGUAGE_MODEL.hopeless(failure)
        return ExternalError(hopeless.message, f"{hopeless.hint} {builtin}")
    if failure.kind == "silent":
        return ExternalError(
            f"The language model gave no answer within {model.request_timeout:g} s.", f"Try again. {builtin}"
        )
    if failure.kind == "unreachable":
        return ExternalError(
            "The language model's endpoint can't be reached.",
            f"Check {LANGUAGE_MODEL.address_at}, and that the server runs. {builtin}",
        )
    if failure.status is None:
        return ExternalError(
            f"The endpoint's answer is no chat completion ({type(error).__name__}).",
            f"Check LTX_AGENT_BASE_URL (it often ends in /v1). {builtin}",
        )
    hint = _HINTS.get(failure.kind, "Try again later.")
    return ExternalError(f"The {LANGUAGE_MODEL.name} {failure.meaning}.", f"{hint} {builtin}")


LANGUAGE_MODEL = Service(
    "language model's endpoint",
    "LTX_AGENT_MODEL",
    "LTX_AGENT_BASE_URL or OPENAI_BASE_URL",
    "OPENAI_API_KEY, or the variable that llm.api_key_env names",
)
_HINTS: dict[FailureKind, str] = {
    "rejected": "The model may not support tools (llm.tools: json), or the talk is too long for it.",
    "large": "Set llm.context_tokens in settings.yaml to what the model takes.",
    "busy": "Wait, or check your account.",
}
