"""One step of a stage as its policies see and change it: what it found, what it says, where it leads.

A policy (`TurnPolicy`) is one concern of a turn in one file. Its hooks are those of LangChain's agent middleware:
`before_model`, `after_model`, and `after_tools` for the results of a whole reply. Each takes the turn and returns it,
changed or not; a turn never changes in place.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

from langchain_core.messages import AIMessage, AnyMessage, RemoveMessage
from langgraph.graph import END
from langgraph.runtime import Runtime
from langgraph.types import Command

from agent.context import AgentContext, context_of
from agent.state import AgentState, Stage

JumpTo = Literal["model", "tools", "route", "approve_call", "approve_fallback", "__end__"]
"""Where a turn can lead: on within its stage (model, tools), or out of it."""

Own = TypeVar("Own")


@dataclass(frozen=True)
class Ran:
    """A tool call that was answered: `text` is its result as JSON, or why it failed. `note` is said beside it."""

    call: Any
    text: str
    failed: bool
    note: str = ""


@dataclass(frozen=True)
class Request:
    """A question to a chat model, and its reply."""

    messages: tuple[AnyMessage, ...]
    reply: AIMessage


@dataclass(frozen=True)
class Turn:
    """One step of a stage: a question to the chat model, or its calls being run."""

    stage: Stage
    context: AgentContext
    before: AgentState
    """The state as the step found it."""
    write: Callable[[Any], None]
    """Takes what is heard before the step has ended: streamed words, progress."""
    update: Mapping[str, Any] = field(default_factory=dict)
    """What changes in the state, the messages aside."""
    forgotten: tuple[AnyMessage, ...] = ()
    """Messages that leave the state."""
    reply: AIMessage | None = None
    request: Request | None = None
    """The last question to the chat model; None: the reply is not a model's, or there is none yet."""
    tool_choice: str | None = None
    """The tool that the model must call."""
    ran: tuple[Ran, ...] = ()
    added: tuple[AnyMessage, ...] = ()
    """Messages that follow the reply or the tools' answers."""
    jump_to: JumpTo | None = None
    """Where the turn leads; None: where its reply does."""

    @property
    def state(self) -> AgentState:
        """The state with what has changed by now; its messages are those of before."""
        return cast(AgentState, {**self.before, **self.update})

    @property
    def messages(self) -> list[AnyMessage]:
        """The messages that the model is shown."""
        gone = {message.id for message in self.forgotten}
        return [message for message in self.before["messages"] if message.id not in gone]

    @property
    def removals(self) -> list[RemoveMessage]:
        return [RemoveMessage(id=message.id or "") for message in self.forgotten]

    def set(self, **update: Any) -> "Turn":
        """The turn with these values of the state changed."""
        return dataclasses.replace(self, update={**self.update, **update})

    def to(self, jump_to: JumpTo, *added: AnyMessage, **update: Any) -> "Turn":
        """The turn leading there, with messages added and values of the state changed."""
        return dataclasses.replace(self.set(**update), jump_to=jump_to, added=(*self.added, *added))

    def forget(self, *messages: AnyMessage) -> "Turn":
        return dataclasses.replace(self, forgotten=(*self.forgotten, *messages))

    def replying(self, reply: AIMessage | None) -> "Turn":
        """The turn with this reply in the place of the one it had."""
        return dataclasses.replace(self, reply=reply)


class TurnPolicy(Generic[Own]):
    """One concern of a turn. Subclasses override the hooks they need and name their part of the state."""

    state_schema: ClassVar[type | None] = None
    """The TypedDict of the policy's own part of the state."""
    each_turn: ClassVar[Mapping[str, Any]] = {}
    """That part as every turn of the conversation begins with it."""
    each_goal: ClassVar[Mapping[str, Any]] = {}
    """That part as work on a new goal begins with it."""

    def before_model(self, turn: Turn) -> Turn:
        """Before the chat model is asked; a jump leaves the model and all later hooks out."""
        return turn

    def after_model(self, turn: Turn) -> Turn:
        """After a reply has come; a jump leaves all later hooks out, and so does taking the reply away to ask again."""
        return turn

    def after_tools(self, turn: Turn) -> Turn:
        """After the reply's calls were run; every policy is heard, and the first jump counts."""
        return turn

    def own(self, turn: Turn) -> Own:
        """The policy's part of the state."""
        return cast(Own, turn.state)


def begin_turn(stage: Stage, state: AgentState, runtime: Runtime[AgentContext]) -> Turn:
    return Turn(stage, context_of(state, runtime), state, runtime.stream_writer)


def settled(turn: Turn, messages: Sequence[AnyMessage]) -> Command[Any]:
    """Return the step's command: its messages and changes, and where it leads within the stage or out of it."""
    update = {**turn.update, "messages": [*turn.removals, *messages, *turn.added]}
    if turn.jump_to in ("model", "tools"):
        return Command(goto=turn.jump_to, update=update)
    return Command(goto=END, update={**update, "jump_to": None if turn.jump_to == "route" else turn.jump_to})
