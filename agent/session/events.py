"""Events of a conversation, which every interface (TUI, line mode, headless) shows in its own way.

A face is a `Listener`: one method for each kind of event.
"""

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from tools.spec import CostLine

Answer = TypeVar("Answer")

Approval = Literal[
    "captions",
    "inputs",
    "plan",
    "change",
    "rehearse",
    "start",
    "overwrite",
    "resume",
    "push",
    "download",
    "fallback",
]
"""What a person may be asked to allow. A tool may name others; a policy file lists them by these names."""

INTERRUPTED = "Interrupted by the person."
"""How the refusal of a tool begins that the person interrupted."""

AlertLevel = Literal["note", "warn", "stop"]


@dataclass(frozen=True)
class Question:
    """An approval as a card: what is asked, the lines to judge by (fit for a screen), what a yes costs."""

    approval: str
    question: str
    details: list[str]
    costs: list[CostLine] = field(default_factory=list)
    seen: str = ""
    """What the answer is good for: it comes back with the answer, and one to something else is asked again."""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Question":
        costs = [CostLine(**cost) for cost in value.get("costs", [])]
        return cls(value["approval"], value["question"], list(value["details"]), costs, value.get("seen", ""))


@dataclass(frozen=True)
class Heard:
    """The person's words; only a transcript holds it."""

    text: str

    def tell(self, listener: "Listener[Answer]") -> "Answer":
        return listener.heard(self)


@dataclass(frozen=True)
class Streamed:
    """A piece of the chat model's words while they come; the whole text follows as `Said`."""

    text: str

    def tell(self, listener: "Listener[Answer]") -> "Answer":
        return listener.streamed(self)


@dataclass(frozen=True)
class Said:
    """Words of the chat model."""

    text: str

    def tell(self, listener: "Listener[Answer]") -> "Answer":
        return listener.said(self)


@dataclass(frozen=True)
class Called:
    """A tool is about to run."""

    tool: str
    arguments: dict[str, Any]

    def tell(self, listener: "Listener[Answer]") -> "Answer":
        return listener.called(self)


@dataclass(frozen=True)
class Returned:
    """A tool call has ended."""

    tool: str
    result: dict[str, Any] | None
    """What the tool returned, shortened; None when it failed or only moved the conversation."""
    refusal: str = ""
    """Why it did not run to its end."""

    @property
    def was_interrupted(self) -> bool:
        """True if the person interrupted this call: its refusal says then how far it came."""
        return self.refusal.startswith(INTERRUPTED)

    def tell(self, listener: "Listener[Answer]") -> "Answer":
        return listener.returned(self)


@dataclass(frozen=True)
class Progressed:
    """A tool is at work."""

    what: str
    done: int
    total: int

    def tell(self, listener: "Listener[Answer]") -> "Answer":
        return listener.progressed(self)


@dataclass(frozen=True)
class Asked:
    """The conversation waits for an approval."""

    question: Question

    def tell(self, listener: "Listener[Answer]") -> "Answer":
        return listener.asked(self)


@dataclass(frozen=True)
class Alerted:
    """Something happened outside the conversation: a run ended or goes wrong, the person edited a file."""

    about: str
    """`run <id>` or the file's name."""
    level: AlertLevel
    message: str
    evidence: list[str] = field(default_factory=list)

    def tell(self, listener: "Listener[Answer]") -> "Answer":
        return listener.alerted(self)


Event = Heard | Streamed | Said | Called | Returned | Progressed | Asked | Alerted


class Listener(Generic[Answer]):
    """Hears events, one method for each kind: `event.tell(listener)` calls the one of its kind.

    A listener overrides what it shows; the rest goes to `other`. `Answer` is what its methods return.
    """

    def heard(self, event: Heard) -> Answer:
        return self.other(event)

    def streamed(self, event: Streamed) -> Answer:
        return self.other(event)

    def said(self, event: Said) -> Answer:
        return self.other(event)

    def called(self, event: Called) -> Answer:
        return self.other(event)

    def returned(self, event: Returned) -> Answer:
        return self.other(event)

    def progressed(self, event: Progressed) -> Answer:
        return self.other(event)

    def asked(self, event: Asked) -> Answer:
        return self.other(event)

    def alerted(self, event: Alerted) -> Answer:
        return self.other(event)

    def other(self, event: Event) -> Answer:
        """An event that this listener has no method of its own for."""
        raise NotImplementedError(f"{type(self).__name__} has nothing to say to {type(event).__name__}")
