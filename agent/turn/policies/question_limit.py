"""QuestionLimit: at most five questions from clips to start; a sixth becomes an assumption of the plan."""

import re
from collections.abc import Mapping
from typing import TypedDict, cast

from langchain_core.messages import AIMessage

from agent.approvals.calls import calls_of
from agent.state import NONE_LEFT, note_from_graph
from agent.turn.tool_output import printable
from agent.turn.turn import Turn, TurnPolicy
from tools.project import Project

MOST_QUESTIONS = 5
SAID = "I have asked my five questions, so I assume the likeliest answer to this one; the plan says so: {question}"
ORDER = f"{NONE_LEFT}: take the likeliest answer yourself, say what you assume, and go on with a tool."
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|`[^`]*`|'[^']*\?'")
_LONGEST = 300


def asks(text: str) -> bool:
    """True if words put a question; what stands in quotation marks is an example of what can be said."""
    return re.search(r"\?(?=[\s*_)]|$)", _QUOTED.sub("", text)) is not None


class QuestionState(TypedDict, total=False):
    questions: int
    """How many questions the model has put to the user since the work began, or since the last start."""
    assumed: bool
    """Whether a question of this turn was taken for an assumption already."""


class QuestionLimit(TurnPolicy[QuestionState]):
    """Counts the model's questions; a model that asks again in the same turn has had its say."""

    state_schema = QuestionState
    each_turn = {"assumed": False}
    each_goal = {"questions": 0}

    def after_model(self, turn: Turn) -> Turn:
        reply = turn.reply
        if reply is None or calls_of(reply) or not asks(reply.text):
            return turn
        if questions_left(turn.state):
            return turn.set(questions=self.own(turn).get("questions", 0) + 1)
        question = printable(" ".join(_question(reply.text).split()))[:_LONGEST]
        _write_down(question, turn.context.project)
        turn = turn.replying(AIMessage(SAID.format(question=question), id=reply.id))
        if self.own(turn).get("assumed"):
            return turn.to("__end__")
        return turn.to("model", note_from_graph(ORDER), assumed=True)

    def after_tools(self, turn: Turn) -> Turn:
        """A start ends the way from clips to start: what comes is another one."""
        started = any(ran.call["name"] == "start_training" and not ran.failed for ran in turn.ran)
        return turn.set(questions=0) if started else turn


def questions_left(state: Mapping[str, object]) -> int:
    """Return how many questions the model may still ask."""
    return max(0, MOST_QUESTIONS - cast(QuestionState, state).get("questions", 0))


def _write_down(question: str, project: Project) -> None:
    """Make the question an assumption of the plan."""
    assumed = f"Not asked, since five questions are the limit, and the likeliest answer taken: {question}"
    facts = project.facts
    if assumed not in facts.assumed:
        project.write_facts(facts.model_copy(update={"assumed": [*facts.assumed, assumed]}))


def _question(text: str) -> str:
    """The sentence that asks, of a longer text."""
    sentences = re.split(r"(?<=[.!?])\s+|\n+", text.strip())
    return next((sentence for sentence in sentences if asks(sentence)), text)
