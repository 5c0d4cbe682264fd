"""BeginWithTool: a stage begins with its own tool; a model that begins with words is asked once more, for the tool."""

import dataclasses
from collections.abc import Mapping

from agent.approvals.calls import calls_of
from agent.llm.choose import is_endpoint
from agent.state import STAGES, AgentState, Stage, is_from_person
from agent.turn.turn import Turn, TurnPolicy

FIRST_TOOL: dict[Stage, str] = {"inspect": "inspect_clips", "caption": "caption_clips", "draft": "draft_config"}
_MADE: dict[Stage, str] = {"inspect": "report", "caption": "captions", "draft": "config"}


class BeginWithTool(TurnPolicy[None]):
    """Has small models act: they tend to announce what they are about to do."""

    def after_model(self, turn: Turn) -> Turn:
        if turn.request is None or turn.reply is None or turn.tool_choice is not None:
            return turn
        asked, last = turn.context.model, turn.messages[-1]
        is_new = last.type == "human" and not is_from_person(last)
        if turn.state.get("fallback") or not is_endpoint(asked) or calls_of(turn.reply) or not is_new:
            return turn
        if not is_tool_due(turn.stage, turn.state):
            return turn
        return dataclasses.replace(turn, tool_choice=FIRST_TOOL[turn.stage], reply=None)


def is_tool_due(stage: Stage, state: AgentState) -> bool:
    """True if the stage has a tool to begin with and what that makes is not there yet."""
    return stage in FIRST_TOOL and _MADE[stage] not in state["artifacts"]


def first_due(last: Stage, artifacts: Mapping[str, str]) -> Stage | None:
    """The first stage up to `last` whose first work is not done yet; None when all is."""
    upto = STAGES[: STAGES.index(last) + 1]
    return next((stage for stage in upto if stage in _MADE and _MADE[stage] not in artifacts), None)
