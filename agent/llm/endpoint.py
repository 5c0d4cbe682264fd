"""An OpenAI-compatible endpoint and its moods: retries, streaming where it works, tools natively or as JSON.

Small local servers ignore tools unless one is named, refuse `content: null`, can't stream when they choose the tool,
or know no tools at all. What one server can't do is found out once and remembered with the model.
"""

from collections.abc import Callable, Sequence
from time import sleep
from typing import Any

import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from agent.llm.json_tools import as_plain_messages, reply_of, response_schema
from agent.llm.settings import LlmSettings, ToolStyle
from trainer_core.errors import ExternalError

RETRIED_STATUS = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 20.0
REFUSALS = (openai.BadRequestError, openai.UnprocessableEntityError, openai.InternalServerError, openai.NotFoundError)
"""How servers answer a feature they don't have."""


class NoStream(Exception):
    """The server answered a request for a stream with something else, or with nothing."""


class EndpointModel(ChatOpenAI):
    """The client's chat model, without null contents, and with what was learned about its server."""

    tool_style: ToolStyle = "auto"
    patience: int = 0
    """How often a failed request is sent again."""
    _streams: bool = PrivateAttr(default=True)
    _knows_tools: bool = PrivateAttr(default=True)
    _knows_schemas: bool = PrivateAttr(default=True)

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
    model._streams = settings.streaming
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
    if model.tool_style == "json" or not model._knows_tools:
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
        model._knows_tools = False
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
    if on_text is not None and model._streams and tool is None:
        heard: list[str] = []
        try:
            return _patiently(model, lambda: _streamed(bound, messages, on_text, heard), lambda: not heard)
        except (NoStream, *REFUSALS) as refusal:
            if heard or isinstance(refusal, openai.NotFoundError):
                raise
            reply = _patiently(model, lambda: _message(bound.invoke(messages)))
            model._streams = False
            return reply
    return _patiently(model, lambda: _message(bound.invoke(messages)))


def _ask_for_json(model: EndpointModel, tools: list[dict[str, Any]], messages: list[AnyMessage]) -> AIMessage:
    plain = as_plain_messages(messages, tools)
    if model._knows_schemas:
        try:
            schema = {"type": "json_schema", "json_schema": response_schema(tools)}
            answer = _patiently(model, lambda: _message(model.bind(response_format=schema).invoke(plain)))
            return reply_of(answer, tools, words_are_fine=False)
        except REFUSALS as refusal:
            if isinstance(refusal, openai.NotFoundError):
                raise
            answer = _patiently(model, lambda: _message(model.invoke(plain)))
            model._knows_schemas = False
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
    for attempt in range(model.patience + 1):
        try:
            return send()
        except openai.APIError as error:
            if attempt == model.patience or not _may_pass(error, attempt) or not may_repeat():
                raise
            sleep(_wait_s(error, attempt))
    raise AssertionError("the last attempt returns or raises")


def _may_pass(error: openai.APIError, attempt: int) -> bool:
    if isinstance(error, openai.APITimeoutError):
        return attempt == 0  # it was waited for long enough
    if isinstance(error, openai.APIStatusError):
        if error.status_code == 500:
            return attempt == 0  # a server that can't do what was asked often says 500
        return error.status_code in RETRIED_STATUS and getattr(error, "code", None) != "insufficient_quota"
    return isinstance(error, openai.APIConnectionError)


def _wait_s(error: openai.APIError, attempt: int) -> float:
    asked = error.response.headers.get("retry-after") if isinstance(error, openai.APIStatusError) else None
    try:
        wait_s = float(asked) if asked else FIRST_WAIT_S * 2**attempt
    except ValueError:
        wait_s = FIRST_WAIT_S * 2**attempt
    return min(max(wait_s, 0.0), LONGEST_WAIT_S)


def _explain(model: EndpointModel, error: Exception) -> ExternalError | None:
    """Say an endpoint's failure in a person's words. What the server wrote is left out: it may repeat the key."""
    builtin = "Or go on without it: --llm builtin."
    if isinstance(error, ExternalError):
        return error
    if isinstance(error, openai.APITimeoutError):
        timeout = model.request_timeout
        return ExternalError(f"The language model gave no answer within {timeout:g} s.", f"Try again. {builtin}")
    if isinstance(error, openai.APIConnectionError):
        return ExternalError(
            "The language model's endpoint can't be reached.",
            f"Check LTX_AGENT_BASE_URL or OPENAI_BASE_URL, and that the server runs. {builtin}",
        )
    if isinstance(error, openai.APIStatusError):
        meaning, hint = _STATUS.get(error.status_code, ("answered with an error", "Try again later."))
        if getattr(error, "code", None) == "context_length_exceeded":
            meaning = "says the conversation is too long for its model"
            hint = "Set llm.context_tokens in settings.yaml to what the model takes."
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
    400: ("refused the request", "The model may not support tools (llm.tools: json), or the talk is too long for it."),
    401: ("refused the key", "Check OPENAI_API_KEY, or the variable that llm.api_key_env names."),
    402: ("says the account has no credit", "Check your account there."),
    403: ("does not allow this", "Check what your key may use."),
    404: ("knows no such model or address", "Check LTX_AGENT_MODEL and LTX_AGENT_BASE_URL (it often ends in /v1)."),
    413: ("says the conversation is too long", "Set llm.context_tokens in settings.yaml to what the model takes."),
    429: ("says there were too many requests or no credit", "Wait, or check your account."),
}
