"""At most five questions from clips to start: the graph counts them, and a sixth becomes an assumption of the plan."""

import re

from langchain_core.messages import AIMessage, AnyMessage

from agent.state import AgentState, note_from_graph
from agent.turn.tool_output import printable
from tools.project import Project

MOST_QUESTIONS = 5
NONE_LEFT = "No question is left"
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|`[^`]*`|'[^']*\?'")
_LONGEST = 300


def asks(text: str) -> bool:
    """Whether words put a question; what stands in quotation marks is an example of what can be said."""
    return re.search(r"\?(?=[\s*_)]|$)", _QUOTED.sub("", text)) is not None


def is_one_too_many(reply: AIMessage, state: AgentState) -> bool:
    return not reply.tool_calls and asks(reply.text) and state.get("questions", 0) >= MOST_QUESTIONS


def assume_instead(reply: AIMessage, project: Project) -> list[AnyMessage]:
    """Write the question down as an assumption of the plan; return what is said in its place, and the word to go on."""
    question = printable(" ".join(_question(reply.text).split()))[:_LONGEST]
    assumed = f"Not asked, since five questions are the limit, and the likeliest answer taken: {question}"
    facts = project.facts
    if assumed not in facts.assumed:
        project.write_facts(facts.model_copy(update={"assumed": [*facts.assumed, assumed]}))
    said = f"I have asked my five questions, so I assume the likeliest answer to this one; the plan says so: {question}"
    order = f"{NONE_LEFT}: take the likeliest answer yourself, say what you assume, and go on with a tool."
    return [AIMessage(said, id=reply.id), note_from_graph(order)]


def _question(text: str) -> str:
    """The sentence that asks, of a longer text."""
    sentences = re.split(r"(?<=[.!?])\s+|\n+", text.strip())
    return next((sentence for sentence in sentences if asks(sentence)), text)
