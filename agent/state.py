"""State of the conversation: typed artefacts in plain JSON beside the messages, never tensors or logs."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langgraph.graph.message import add_messages

from tools.project import Project

Stage = Literal["inspect", "caption", "draft", "monitor"]
STAGES: tuple[Stage, ...] = ("inspect", "caption", "draft", "monitor")

FINISHED_BY: dict[str, Stage] = {
    "inspect_clips": "inspect",
    "caption_rest": "caption",
    "caption_clips": "caption",
    "change_config": "draft",
    "draft_config": "draft",
}
"""The tools whose success finishes a stage, the one it begins with last; a result with `remaining` leaves it open."""

FROM_GRAPH = "graph"
FROM_RULES = "rules"
DECLINED = "The user declined."
NONE_LEFT = "No question is left"
"""How the note begins that has a model go on without an answer."""
PERSON = "person: "
"""How a line of what was forgotten begins that holds the user's words."""
GOAL = "The user"
"""How the note begins that starts the work with a goal."""


def _latest(_: Stage, given: Stage) -> Stage:
    """The last of several answers to one card: a card that is asked again is answered again in the same step."""
    return given


class AgentState(TypedDict, total=False):
    """The graph's state without what the policies of a turn count (each has its own part, in its own file).

    Every value but the messages is plain JSON.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    project: str
    goal: str
    stage: Stage
    until: Annotated[Stage, _latest]
    """The last stage this turn may reach by itself; `prepare` ends with the draft."""
    finished: Stage | None
    """The stage whose work was done in this turn and has not been handed over yet."""
    approvals: dict[str, str]
    """What was reviewed and approved, by name, with the fingerprint of the file as the user saw it."""
    granted: dict[str, str]
    """Tool calls that may run, by the fingerprint of the call and its config, with the approval each was given."""
    declined: dict[str, str]
    """What the user did without, by approval, with the fingerprint of the plan it was declined for."""
    fixed: dict[str, Any]
    """Tool arguments that the user fixed on the command line; they win over the model's."""
    artifacts: dict[str, str]
    """Files of the project that exist, relative to it."""
    error: dict[str, Any] | None
    """The error of the last tool call, if it failed: message, hint, exit_code; by_model: no tool takes such a call."""
    fallback: bool
    """Whether the user let the built-in planner take over from a language model that failed."""
    standing: list[dict[str, Any]]
    """The cards that were answered in words, oldest first: each is asked again when the turn that they began has ended.

    Their entries are made in agent/approvals/standing.py.
    """
    jump_to: str | None
    """The node that a stage or an approval has the router go to next; None: as the stages follow each other."""


def artifacts_of(project: Project) -> dict[str, str]:
    """Return the files made so far by name, relative to the project."""
    paths = {
        "report": project.report_path,
        "report_html": project.report_html_path,
        "captions": project.captions_path,
        "dataset": project.dataset_path,
        "config": project.config_path,
        "plan": project.plan_path,
    }
    return {name: path.name for name, path in paths.items() if path.exists()}


def earlier_of(state: Mapping[str, object]) -> list[str]:
    """The lines that forgotten messages left in the state (`Compaction` writes them), oldest first."""
    lines = state.get("earlier")
    return list(lines) if isinstance(lines, list) else []


def words_of(lines: Sequence[str]) -> list[str]:
    """The user's words among such lines, oldest first."""
    return [line.removeprefix(PERSON) for line in lines if line.startswith(PERSON)]


def note_from_graph(text: str) -> HumanMessage:
    """A message that the program, not the user, adds, so that the model's turn never follows its own words."""
    return HumanMessage(text, additional_kwargs={"origin": FROM_GRAPH})


def told_by_rules(text: str) -> AIMessage:
    """Words that rules said in a chat model's place; they quote files, so a language model reads them in a fence."""
    return AIMessage(text, additional_kwargs={"origin": FROM_RULES})


def is_from_person(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) and message.additional_kwargs.get("origin") != FROM_GRAPH
