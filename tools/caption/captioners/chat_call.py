"""One request to an OpenAI-compatible chat endpoint: streamed where the server can, and each failure told apart."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

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
    """What came back: text, why it ended, whether the model refused, tokens, and whether it tried to call tools."""

    text: str
    finish: str | None = None
    refusal: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    called_tools: bool = False


class Unusable(Exception):
    """An answer that is no chat completion: malformed JSON, a web page, an empty stream."""


class CallFailed(Exception):
    """A request that failed, and whether asking again may help.

    busy: too many requests; unreachable: nobody answers; broken: the server failed or sent nonsense; rejected: this
    request is wrong for it; large: too large for it.
    """

    def __init__(
        self,
        kind: Literal["busy", "unreachable", "broken", "rejected", "large"],
        message: str,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.retry_after_s = kind, message, retry_after_s


@dataclass
class ChatParameters:
    """Optional parts of a request. What a server rejects is left out from then on."""

    max_tokens: int = 700
    token_key: str = "max_tokens"
    temperature: float | None = 0.2
    streams: bool = True
    usage_in_stream: bool = True
    adapted: list[str] = field(default_factory=list)

    def as_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {self.token_key: self.max_tokens}
        if self.temperature is not None:
            arguments["temperature"] = self.temperature
        if self.streams:
            arguments["stream"] = True
            if self.usage_in_stream:
                arguments["stream_options"] = {"include_usage": True}
        return arguments

    def adapt(self, message: str) -> bool:
        """Leave out what the server's words object to; False when they name nothing that can be left out."""
        words = message.lower()
        before = self.as_arguments()
        if "max_completion_tokens" in words and self.token_key == "max_tokens":
            self.token_key = "max_completion_tokens"
        elif "stream_options" in words or "include_usage" in words:
            self.usage_in_stream = False
        elif "temperature" in words:
            self.temperature = None
        elif "stream" in words:
            self.streams = False
        if self.as_arguments() == before:
            return False
        self.adapted.append(shorten(message))
        return True


async def call_chat(client: Any, model: str, messages: list[dict[str, Any]], parameters: ChatParameters) -> Reply:
    """Ask once. Raises CallFailed, or ExternalError where no request to this endpoint can succeed."""
    import openai

    arguments = parameters.as_arguments()
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            # plain JSON instead of the client's types: building those takes longer than all the rest of a request
            body = {"model": model, "messages": messages, **arguments}
            options: dict[str, Any] = {"cast_to": object, "body": body}
            if arguments.get("stream"):
                streamed = await client.post(PATH, **options, stream=True, stream_cls=openai.AsyncStream[object])
                return await _read_stream(streamed)
            return _read_whole(await client.post(PATH, **options))
    except (openai.APITimeoutError, TimeoutError) as error:
        raise CallFailed("broken", f"no answer within {SILENT_TIMEOUT_S:.0f} s") from error
    except openai.APIConnectionError as error:
        raise CallFailed("unreachable", f"the connection failed ({_cause(error)})") from error
    except openai.APIStatusError as error:
        raise _by_status(error) from error
    except Unusable as error:
        raise CallFailed("broken", str(error)) from error
    except openai.APIError as error:  # an error event inside a stream
        raise CallFailed("broken", f"the server broke off: {shorten(error.message)}") from error
    except (openai.OpenAIError, AttributeError, KeyError, TypeError, ValueError) as error:
        # a server that answers 200 with a web page or half a document makes the client stumble in many ways
        raise CallFailed("broken", f"the answer is no chat completion ({type(error).__name__})") from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("httpx", "httpx2", "httpcore", "httpcore2"):
            raise
        raise CallFailed("unreachable", f"the connection broke off ({type(error).__name__})") from error


def shorten(message: str) -> str:
    """A server's words as one short printable line."""
    from tools.plain_text import plain_text, shortened

    return shortened(plain_text(message), 200)


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


def _by_status(error: Any) -> CallFailed | ExternalError:
    """Say what a status means: ask again, ask smaller, not this clip, or not this endpoint at all."""
    status, message = error.status_code, shorten(_words_of(error))
    if status in (401, 403):
        return ExternalError(f"The captioning endpoint refused the key (HTTP {status}).", "Check the key it is given.")
    if status == 404:
        return ExternalError(
            "The captioning endpoint knows no such model or address (HTTP 404).",
            "Check LTX_AGENT_CAPTION_MODEL and the base URL (it often ends in /v1).",
        )
    if status == 402 or getattr(error, "code", None) == "insufficient_quota":
        return ExternalError(f"The captioning endpoint says there is no credit left (HTTP {status}).", "Top it up.")
    if status in (408, 409, 429, 503, 529):
        return CallFailed("busy", f"HTTP {status}: {message}", _retry_after(error))
    if status >= 500:
        return CallFailed("broken", f"HTTP {status}: {message}", _retry_after(error))
    too_large = status == 413 or any(
        words in message.lower() for words in ("context length", "context_length", "too many tokens", "too large")
    )
    return CallFailed("large" if too_large else "rejected", f"HTTP {status}: {message}")


def _words_of(error: Any) -> str:
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body.get("detail") or body)
    return str(body or error.message)


def _retry_after(error: Any) -> float | None:
    headers = error.response.headers
    try:
        if "retry-after-ms" in headers:
            return float(headers["retry-after-ms"]) / 1000
        return float(headers["retry-after"]) if "retry-after" in headers else None
    except ValueError:  # a date; our own wait will do
        return None


def _cause(error: BaseException) -> str:
    return type(error.__cause__).__name__ if error.__cause__ else type(error).__name__
