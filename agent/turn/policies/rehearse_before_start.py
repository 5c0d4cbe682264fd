"""RehearseBeforeStart: a model that calls for the start is held back once, until the user said yes or no.

What is held is the whole reply. It is said again, without asking the model, when the rehearsal fitted or was declined.
"""

from typing import Any, TypedDict
from uuid import uuid4

from langchain_core.messages import AIMessage, ToolMessage

from agent.approvals.calls import calls_of
from agent.approvals.reviews import fingerprint_of
from agent.approvals.waiting import first_unapproved
from agent.state import DECLINED
from agent.turn.turn import Turn, TurnPolicy
from tools.rehearsal.recorded import rehearsed

REHEARSE = "rehearse_training"
_FOR = "start"


class HeldState(TypedDict, total=False):
    held: list[dict[str, Any]]
    """Calls of this turn that wait for the rehearsal which comes before them."""


class RehearseBeforeStart(TurnPolicy[HeldState]):
    """Puts a rehearsal in the place of a start that lacks one."""

    state_schema = HeldState
    each_turn = {"held": []}

    def before_model(self, turn: Turn) -> Turn:
        held, last = self.own(turn).get("held", []), turn.messages[-1]
        if not held or not isinstance(last, ToolMessage) or last.name != REHEARSE:
            return turn
        if last.status == "error" and last.content != DECLINED:
            return turn
        seen = rehearsed(turn.context.project)
        if seen is not None and not seen.trial.fits:
            return turn  # the model tells what it would take, and the user decides
        return turn.replying(AIMessage("", tool_calls=held)).to("tools", held=[])

    def after_model(self, turn: Turn) -> Turn:
        reply = turn.reply
        assert reply is not None
        turn = turn.set(held=[])
        waiting = first_unapproved(reply, turn.state, turn.context)
        if waiting is None or waiting[1].approval != _FOR or not _is_due(turn):
            return turn
        call = {"name": REHEARSE, "args": {}, "id": f"call_{uuid4().hex[:12]}"}
        instead = AIMessage(reply.text, tool_calls=[call], usage_metadata=reply.usage_metadata, id=reply.id)
        return turn.replying(instead).set(held=calls_of(reply))


def _is_due(turn: Turn) -> bool:
    """True if this plan can be rehearsed and was not, and that was not declined."""
    offered = any(tool.name == REHEARSE for tool in turn.context.tools[turn.stage])
    declined = turn.state.get("declined", {}).get("rehearse") == fingerprint_of("plan", turn.context.project)
    return offered and not declined and rehearsed(turn.context.project) is None
