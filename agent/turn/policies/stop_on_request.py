"""StopOnRequest: the user ended the turn from another thread; a tool that was at work has told how far it came."""

from agent.state import told_by_rules
from agent.turn.tool_output import told
from agent.turn.turn import Turn, TurnPolicy


class StopOnRequest(TurnPolicy[None]):
    """Ends the turn before the model is asked and after the tools; what was done stays."""

    def before_model(self, turn: Turn) -> Turn:
        return turn.to("__end__") if turn.context.stop.is_set() else turn

    def after_tools(self, turn: Turn) -> Turn:
        if not turn.context.stop.is_set():
            return turn
        error = turn.state["error"]
        return turn.to("__end__", *([told_by_rules(told(error))] if error is not None else []))
