"""One request to an OpenAI-compatible chat endpoint: streamed where the server can, and each failure told apart."""

import asyncio
from dataclasses import dataclass
from typing import Any

from tools.endpoint.failures import HOPELESS, Failure, read_failure
from tools.endpoint.settings import Endpoint
from tools.endpoint.traits import ServerTraits
from trainer_core.errors import ExternalError

PATH = "/chat/completions"
CONNECT_TIMEOUT_S = 10.0
SILENT_TIMEOUT_S = 120.0
"""Longest wait for the next bytes; a long answer that keeps coming never times out by it."""
CALL_TIMEOUT_S = 600.0
MAX_REPLY_CHARACTERS = 20_000
"""A server that never ends its answer is cut off here."""


@dataclass(frozen=True)
class Reply:
    """A server's reply: text, why it ended, whether the model refused, tokens, and whether it tried to call tools."""

    text: str
    finish: str | None = None
    refusal: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    called_tools: bool = False


class Unusable(Exception):
    """An answer that is no chat completion: malformed JSON, a web page, an empty stream."""


class CallFailed(Exception):
    """A request that failed; `failure` says how, and so whether asking again may help."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.words)
        self.failure = failure


def open_client(endpoint: Endpoint) -> Any:
    """Return the openai package's asynchronous client of an endpoint; it repeats nothing by itself."""
    import openai

    timeout = openai.Timeout(SILENT_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    return openai.AsyncOpenAI(base_url=endpoint.base_url, api_key=endpoint.api_key, timeout=timeout, max_retries=0)


async def call_chat(
    client: Any, endpoint: Endpoint, messages: list[dict[str, Any]], traits: ServerTraits, max_tokens: int
) -> Reply:
    """Ask once. Raises CallFailed, or ExternalError where no request to this endpoint can succeed."""
    import openai

    arguments = traits.as_arguments(max_tokens)
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            # plain JSON instead of the client's types: building those takes longer than all the rest of a request
            body = {"model": endpoint.model, "messages": messages, **arguments}
            options: dict[str, Any] = {"cast_to": object, "body": body}
            if arguments.get("stream"):
                streamed = await client.post(PATH, **options, stream=True, stream_cls=openai.AsyncStream[object])
                return await _read_stream(streamed)
            return _read_whole(await client.post(PATH, **options))
    except Unusable as error:
        raise CallFailed(Failure("broken", str(error))) from error
    except Exception as error:
        raise failed(endpoint, error) from error


def failed(endpoint: Endpoint, error: Exception) -> CallFailed | ExternalError:
    """Return what to raise for a client's exception: asking again may help, or nothing can. Raises what isn't one."""
    failure = read_failure(error)
    if failure is None:
        raise error
    return endpoint.service.hopeless(failure) if failure.kind in HOPELESS else CallFailed(failure)


async def _read_stream(stream: Any) -> Reply:
    text: list[str] = []
    refusal: list[str] = []
    finish: str | None = None
    tokens = (0, 0)
    chunks, length, tools = 0, 0, False
    async with stream:
        async for chunk in stream:
            chunks += 1
            tokens = _tokens(chunk) or tokens
            for choice in chunk.get("choices") or []:
                delta = choice.get("delta") or {}
                text.append(delta.get("content") or "")
                refusal.append(delta.get("refusal") or "")
                tools = tools or bool(delta.get("tool_calls"))
                finish = choice.get("finish_reason") or finish
                length += len(text[-1])
            if length > MAX_REPLY_CHARACTERS:
                finish = "length"
                break
    if not chunks:
        raise Unusable("the stream was empty")
    if finish is None:
        raise Unusable("the stream broke off before its end")
    return Reply("".join(text), finish, "".join(refusal) or None, *tokens, tools)


def _read_whole(answer: Any) -> Reply:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not choices or not choices[0].get("message"):
        raise Unusable("the answer is no chat completion")
    message = choices[0]["message"]
    return Reply(
        str(message.get("content") or "")[:MAX_REPLY_CHARACTERS],
        choices[0].get("finish_reason"),
        message.get("refusal"),
        *(_tokens(answer) or (0, 0)),
        bool(message.get("tool_calls")),
    )


def _tokens(answer: dict[str, Any]) -> tuple[int, int] | None:
    """Tokens in and out, where the server counts them."""
    usage = answer.get("usage")
    return (int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)) if usage else None
