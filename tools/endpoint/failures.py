"""The failures of OpenAI-compatible endpoints: one table from exceptions and statuses to kinds, words and a way out.

Every client of an endpoint (the chat model, the captioner, the speech recogniser) reads its errors here.
"""

from dataclasses import dataclass
from typing import Any, Literal

from tools.plain_text import plain_text, shortened
from trainer_core.errors import ExternalError

FailureKind = Literal[
    "busy", "unreachable", "silent", "broken", "rejected", "large", "key", "forbidden", "missing", "credit"
]
"""busy: too many requests; unreachable: nobody answers; silent: no answer in time; broken: the server failed or sent
nonsense; rejected: this request is wrong for it; large: too large for it; the others: no request can succeed."""
HOPELESS: frozenset[FailureKind] = frozenset({"key", "forbidden", "missing", "credit"})
BUSY_STATUS = frozenset({408, 409, 429, 503, 529})
_TOO_LARGE = ("context length", "context_length", "too many tokens", "too large")
_TRANSPORTS = ("httpx", "httpx2", "httpcore", "httpcore2")
MEANINGS: dict[FailureKind, str] = {
    "busy": "is busy: too many requests, or no room for more",
    "rejected": "refused the request",
    "large": "says the conversation is too long for its model",
    "key": "refused the key",
    "forbidden": "does not allow this",
    "missing": "knows no such model or address",
    "credit": "says the account has no credit",
}
SERVER_ERROR = "answered with an error"


@dataclass(frozen=True)
class Failure:
    """A failed request. `words` are short and printable, but the server's own: they may repeat what was sent."""

    kind: FailureKind
    words: str
    status: int | None = None
    retry_after_s: float | None = None

    @property
    def meaning(self) -> str:
        """Return the meaning of a status in our own words: `refused the key (HTTP 401)`."""
        status = f" (HTTP {self.status})" if self.status is not None else ""
        return f"{MEANINGS.get(self.kind, SERVER_ERROR)}{status}"


@dataclass(frozen=True)
class Service:
    """An endpoint as the user knows it: its name, and where its model, address and key are set."""

    name: str
    model_at: str
    address_at: str
    key_at: str

    def hopeless(self, failure: Failure) -> ExternalError:
        """The error of a failure that no other request to this endpoint can mend."""
        hints: dict[FailureKind, str] = {
            "key": f"Check {self.key_at}.",
            "forbidden": f"Check what the key in {self.key_at} may use.",
            "missing": f"Check {self.model_at} and {self.address_at} (it often ends in /v1).",
            "credit": "Check your account there.",
        }
        return ExternalError(f"The {self.name} {failure.meaning}.", hints[failure.kind])


def read_failure(error: BaseException) -> Failure | None:
    """Return what a client's exception means; None when it is not an endpoint's failure but a fault of ours."""
    import openai

    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return Failure("silent", "no answer in time")
    if isinstance(error, openai.APIConnectionError):
        cause = type(error.__cause__ or error).__name__
        return Failure("unreachable", f"the connection failed ({cause})")
    if isinstance(error, openai.APIStatusError):
        return _of_status(error)
    if isinstance(error, openai.APIError):  # an error event inside a stream
        return Failure("broken", f"the server broke off: {shorten(error.message)}")
    if isinstance(error, openai.OpenAIError | AttributeError | KeyError | TypeError | ValueError):
        # a server that answers 200 with a web page or half a document makes the client stumble in many ways
        return Failure("broken", f"the answer is no chat completion ({type(error).__name__})")
    if type(error).__module__.split(".")[0] in _TRANSPORTS:
        return Failure("unreachable", f"the connection broke off ({type(error).__name__})")
    return None


def shorten(message: str) -> str:
    """A server's words as one short printable line."""
    return shortened(plain_text(message), 200)


def _of_status(error: Any) -> Failure:
    status, words = error.status_code, shorten(_words_of(error))
    kind = _kind_of(status, getattr(error, "code", None), words)
    return Failure(kind, f"HTTP {status}: {words}", status, _wait(error))


def _kind_of(status: int, code: str | None, words: str) -> FailureKind:
    by_status: dict[int, FailureKind] = {401: "key", 403: "forbidden", 404: "missing", 402: "credit", 413: "large"}
    if code == "insufficient_quota":
        return "credit"
    if code == "context_length_exceeded":
        return "large"
    if status in by_status:
        return by_status[status]
    if status in BUSY_STATUS:
        return "busy"
    if status >= 500:
        return "broken"
    return "large" if any(marker in words.lower() for marker in _TOO_LARGE) else "rejected"


def _words_of(error: Any) -> str:
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body.get("detail") or body)
    return str(body or error.message)


def _wait(error: Any) -> float | None:
    """The wait that the server asks for, in seconds; a date is left to our own waiting."""
    headers = error.response.headers
    try:
        if "retry-after-ms" in headers:
            return float(headers["retry-after-ms"]) / 1000
        return float(headers["retry-after"]) if "retry-after" in headers else None
    except ValueError:
        return None
