"""One conversation with one project: the compiled graph over session.sqlite, spoken to in turns and heard as events.

It draws nothing; the TUI, the line mode and the headless verbs show its events each in their way.
"""

import contextlib
import dataclasses
import json
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.errors import GraphRecursionError
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, StateSnapshot

from agent.approvals.calls import answer_to, calls_of
from agent.approvals.consent import consent_of
from agent.approvals.nodes import answer_of
from agent.approvals.standing import left_open
from agent.context import AgentContext
from agent.graph import Graph, build_graph
from agent.llm.choose import choose_model, name_of
from agent.llm.settings import Budget
from agent.session.alerts import Watch
from agent.session.events import Alerted, Asked, Called, Event, Heard, Progressed, Question, Returned, Said, Streamed
from agent.session.store import Conversation, Decision, Spent, Store, database_errors, open_store
from agent.session.undo import deciding_files, restore_files
from agent.state import GOAL, STAGES, Stage, artifacts_of, is_from_person, note_from_graph
from agent.turn.policies.active import at_each_goal, at_each_turn
from agent.turn.policies.begin_with_tool import first_due
from agent.turn.tool_output import fenced, printable
from prompts.fence import unfence
from tools.project import Project
from trainer_core.errors import ConfigError, ExternalError

MOST_STEPS_A_TURN = 60
DONE_IN_ORDER = frozenset({"caption_clips", "draft_config", "start_training"})
"""Tools whose work builds on what the stages before them made."""


class Session:
    """A conversation that outlives the process; made by `open_session`.

    `begin`, `say`, `answer` and `resume` each give the events of one turn, to be read to their end.
    """

    def __init__(self, context: AgentContext, graph: Graph, store: Store) -> None:
        self._context = context
        self._graph = graph
        self._store = store
        self._watch = Watch(context.project)
        self._news: list[Alerted] = []
        self._config: RunnableConfig = {
            "configurable": {"thread_id": context.conversation},
            "recursion_limit": MOST_STEPS_A_TURN,
        }

    @property
    def state(self) -> dict[str, Any]:
        """The graph's state with its policies' parts; of a turn that broke off, as its stage left it."""
        snapshot = self._graph.get_state(self._config, subgraphs=True)
        within = [task.state for task in snapshot.tasks if isinstance(task.state, StateSnapshot)]
        return {**snapshot.values, **(within[0].values if within else {})}

    @property
    def name(self) -> str:
        return self._context.conversation

    @property
    def project(self) -> Project:
        return self._context.project

    def pending(self) -> Question | None:
        """The approval that the conversation waits for, if any."""
        interrupts = self._graph.get_state(self._config).interrupts
        return Question.from_json(interrupts[0].value) if interrupts else None

    def begin(self, goal: str, until: Stage, fixed: Mapping[str, Any] | None = None) -> Generator[Event]:
        """Start the work at its first stage, with a goal in the user's words."""
        goal = printable(goal)
        about = f"{GOAL}'s goal: {goal}" if goal else f"{GOAL} named no goal."
        start = {"stage": "inspect", "until": until, "goal": goal, "fixed": dict(fixed or {}), "standing": []}
        start |= at_each_goal()
        facts = self._context.project.facts
        if facts.assumed:  # they belonged to the way before
            self._context.project.write_facts(facts.model_copy(update={"assumed": []}))
        messages = [*self._unanswered(), note_from_graph(f"{about}\nNext stage: inspect.")]
        return self._turn({**start, "messages": messages}, goal or "begin")

    def say(self, words: str, until: Stage = "monitor") -> Generator[Event]:
        """Say something, as the user; `until` is the last stage that the turn may reach by itself.

        While a card waits, words to act on answer it, and a yes or no doesn't: whoever shows cards answers them with
        `answer`, so what comes here was said before the card could be seen.
        """
        words = printable(words)
        question = self.pending()
        if question is not None:
            if consent_of(words, question.approval) is None:
                return self.answer(False, words, until=until)
            told = f'"{words}" was said before this was asked, so it is no answer to it.'
            return (event for event in (Alerted(question.approval, "note", told), Asked(question)))
        return self._turn({"until": until, "messages": [*self._unanswered(), HumanMessage(words)]}, words)

    def order(self, tool: str, words: str) -> Generator[Event]:
        """Call a tool in the user's name; `words` are the slash command as typed.

        A stage whose first work is not done yet, up to the tool's own, is begun instead: its model knows what was
        asked for. A card that waits stands again after it. Raises ConfigError when no stage has the tool.
        """
        tools = self._context.tools
        stage = next((stage for stage in STAGES if any(each.name == tool for each in tools.get(stage, []))), None)
        if stage is None:
            raise ConfigError(f"{words} can't be done here: no stage has the tool {tool}.", "Say it in words.")
        standing = left_open(self._graph.get_state(self._config).next, self.state, self._context)
        update: dict[str, Any] = {"until": "monitor", "stage": stage, "ordered": {"name": tool, "args": {}}}
        messages: list[AnyMessage] = [*self._unanswered(), HumanMessage(words)]
        due = first_due(stage, artifacts_of(self._context.project)) if tool in DONE_IN_ORDER else None
        if due is not None:
            update = {"until": "monitor", "stage": due}
            messages.append(note_from_graph(f"Next stage: {due}."))
        return self._turn({**update, "standing": standing, "messages": messages}, words)

    def answer(self, approved: bool, words: str = "", until: Stage | None = None) -> Generator[Event]:
        """Answer the pending approval; `until` lets the work go on further than what asked for it."""
        question = self.pending()
        update = {"until": until} if until is not None else {}
        what = f"{'allowed' if approved else 'declined'}: {question.approval if question else 'nothing'}"
        return self._stream(
            Command(resume=answer_of(approved, printable(words), question.seen if question else ""), update=update),
            what,
        )

    def interrupt(self) -> None:
        """End the turn that goes on, from another thread; a tool stops at its next report and keeps what it did."""
        self._context.stop.set()

    @property
    def is_unfinished(self) -> bool:
        """True if a crash cut the last turn off: `resume` takes it up where it was, doing nothing twice."""
        snapshot = self._graph.get_state(self._config)
        # tasks and not next: a step whose work is done but whose checkpoint was never written has no next
        return bool(snapshot.tasks) and not snapshot.interrupts

    def resume(self) -> Generator[Event]:
        """Go on with the turn that a crash cut off; no event when there is none."""
        if self.is_unfinished:
            yield from self._stream(None, None)

    def transcript(self) -> list[Event]:
        """The conversation so far, as events; what was forgotten to save context is not in it."""
        return [event for message in self.state.get("messages", []) for event in _heard(message)]

    def history(self) -> list[Decision]:
        """Return the user's words and approvals, oldest first, as far back as they can be undone."""
        return self._store.decisions(self.name)

    def undo(self) -> list[str]:
        """Take back the last decision and the plan files it changed; return in a line each what was done."""
        decisions = self.history()
        if not decisions:
            raise ConfigError("There is no decision to undo.", "")
        last = decisions[-1]
        with database_errors(self._context.project.session_path):
            lines = restore_files(self._context.project, last, self._store)
            self._store.undo(self.name, last)
        return [f"Undone: {last.what}.", *lines]

    def alerts(self) -> list[Alerted]:
        """Return the news from outside the conversation since the last call: for a face to ask now and then."""
        news = self._watch.look()
        self._news.extend(news)
        return news

    @property
    def model_name(self) -> str:
        return "builtin" if self.state.get("fallback") else name_of(self._context.model)

    def set_model(self, name: str) -> None:
        """Talk to another model from now on: one of the configured endpoint, or "builtin"."""
        model = choose_model(name, self._context.settings)
        self._context = dataclasses.replace(self._context, model=model)
        self._store.write_settings(self.name, {**self._store.settings(self.name), "model": name})
        if self.state.get("fallback"):
            self._graph.update_state(self._config, {"fallback": False}, as_node="route")

    @property
    def budget(self) -> Budget:
        return self._context.settings.budget

    def set_budget(self, budget: Budget) -> None:
        """Limit what this conversation may spend on its model; None lifts a limit."""
        settings = self._context.settings.model_copy(update={"budget": budget})
        self._context = dataclasses.replace(self._context, settings=settings)
        self._store.write_settings(self.name, {**self._store.settings(self.name), "budget": budget.model_dump()})

    def spent(self) -> Spent:
        """Return the part of its budget that this conversation has used."""
        return self._store.spent(self.name)

    def conversations(self) -> list[Conversation]:
        """The project's conversations, the one used last first."""
        return self._store.conversations()

    def _turn(self, update: dict[str, Any], what: str) -> Generator[Event]:
        project = self._context.project
        before = self.state
        facts: dict[str, Any] = {
            "project": printable(str(project.path)),
            "artifacts": artifacts_of(project),
            "finished": None,
            "error": None,
            "jump_to": None,
            "goal": before.get("goal", printable(project.facts.goal)),
            "stage": before.get("stage", "inspect"),
            "approvals": before.get("approvals", {}),
            "granted": {},
            "fixed": {},
            **at_each_turn(),
        }
        news = [note_from_graph(f"News:\n{fenced(alert.message)}") for alert in self._news]
        self._news = []
        messages = [*_brought_up(self._graph.get_state(self._config).values, before), *news, *update["messages"]]
        return self._stream({**before, **facts, **update, "messages": messages}, what)

    def _unanswered(self) -> list[ToolMessage]:
        """Answers to calls that a question left open or a crash cut off: endpoints refuse a call without one."""
        messages = self.state.get("messages", [])
        if not messages or not isinstance(messages[-1], AIMessage):
            return []
        return [answer_to(call, "Not run: the conversation went on.", failed=True) for call in calls_of(messages[-1])]

    def _stream(self, step: Any, decision: str | None) -> Generator[Event]:
        self._context.stop.clear()
        with database_errors(self._context.project.session_path):
            if decision is not None:
                self._store.use(self.name, decision)
                self._store.decide(self.name, self._last_checkpoint(), decision, deciding_files(self._context.project))
            try:
                for _, mode, chunk in self._graph.stream(
                    step,
                    self._config,
                    context=self._context,
                    stream_mode=["updates", "custom"],
                    subgraphs=True,
                    durability="sync",
                ):
                    yield from _events(mode, chunk)
            except GraphRecursionError as error:
                raise ExternalError(
                    f"The model made {MOST_STEPS_A_TURN} moves without coming to an end.",
                    "Say it in other words, or use --llm builtin.",
                ) from error
            self._store.prune(self.name, self._last_checkpoint())
            self._watch.settle()
        question = self.pending()
        if question is not None:
            yield Asked(question)

    def _last_checkpoint(self) -> str:
        return str(self._graph.get_state(self._config).config["configurable"].get("checkpoint_id", ""))


@contextlib.contextmanager
def open_session(context: AgentContext) -> Iterator[Session]:
    """Open the conversation of the context, for one process of the project at a time.

    Raises ConfigError when another process is in it or when session.sqlite can't be read or written.
    """
    with open_store(context.project.session_path) as (connection, store):
        # None allows LangGraph's list of safe types alone: a foreign session file can't make us import anything
        saver = SqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        saver.setup()
        kept = store.settings(context.conversation).get("budget")
        settings = context.settings.model_copy(update={"budget": Budget(**kept)}) if kept else context.settings
        yield Session(dataclasses.replace(context, store=store, settings=settings), build_graph(saver), store)


def _brought_up(known: Mapping[str, Any], state: Mapping[str, Any]) -> list[AnyMessage]:
    """What makes the graph's messages (`known`) those of `state`: a stage that broke off has not handed on its own."""
    ours, theirs = known.get("messages", []), state.get("messages", [])
    if [message.id for message in ours] == [message.id for message in theirs]:
        return []
    return [RemoveMessage(id=REMOVE_ALL_MESSAGES), *theirs]


def _events(mode: str, chunk: Any) -> Iterator[Event]:
    if mode == "custom":
        yield Streamed(chunk["streamed"]) if "streamed" in chunk else Progressed(**chunk)
        return
    for node, update in chunk.items():
        if node in ("__interrupt__", *STAGES) or not update:
            continue  # a stage's messages were heard one by one from within it
        for message in update.get("messages", []):
            if not is_from_person(message):
                yield from _heard(message)


def _heard(message: BaseMessage) -> Iterator[Event]:
    if is_from_person(message):
        yield Heard(message.text)
    elif isinstance(message, AIMessage):
        text = message.text.strip()
        if text:
            yield Said(text)
        for call in calls_of(message):
            yield Called(call["name"] or "", call["args"] if isinstance(call["args"], dict) else {})
    elif isinstance(message, ToolMessage):
        yield _returned(message)


def _returned(message: ToolMessage) -> Returned:
    text = unfence("data", message.text)
    if message.status == "error":
        return Returned(message.name or "", None, text or message.text)
    try:
        result = json.loads(text) if text is not None else None
    except ValueError:
        result = None
    return Returned(message.name or "", result if isinstance(result, dict) else None)
