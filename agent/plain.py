"""Line mode: a person talks to the graph line by line, on a dumb terminal, over SSH or through a pipe."""

import sys
from collections.abc import Iterator
from pathlib import Path

from agent.approve import DECLINED
from agent.desk import Desk
from agent.events import Alerted, Called, Event, Progressed, Question, Returned, Said
from agent.llm import choose_model
from agent.progress import ProgressBar, progress_bar
from agent.projects import current_project, project_of
from agent.screen import clean, clean_lines
from agent.session import Session, open_session
from agent.words import understand
from tools.project import Project
from trainer_core.errors import LtxError

LEAVE = frozenset({"quit", "exit", "bye", "q", ":q"})


def talk(target: Path | None, llm: str) -> None:
    """Hold the conversation until the person leaves; a run that trains goes on."""
    model = choose_model(llm)
    _say("ltx-agent: from a folder of clips to a trained LTX-2 adapter. At most five questions; then it is your turn.")
    _say(f'You talk to {_name_of(model._llm_type)}. "help" says what it understands, "quit" leaves.')
    project = project_of(target, None) if target is not None else current_project()
    goal = None
    if project is None:
        project = _project_by_questions()
        if project is None:
            return
    if not project.report_path.exists():
        goal = _ask("What shall the adapter learn? (Enter: I look at the clips first)")
        if goal is None:
            return
        if goal:
            project = project_of(project.path, None, goal=goal)
    _say(f"Project: {clean(str(project.path))}")
    with open_session(Desk(project, model)) as session:
        if goal is not None:
            _hear(session.begin(goal, until="monitor"))
        while _listen(session):
            pass


def ask_approval(question: Question) -> bool | str | None:
    """Show what there is to judge and ask; True and False, other words as they are, None when the person left."""
    for line in question.details:
        _say(f"  {line}")
    for cost in question.costs:
        _say(f"  {cost.kind}: {cost.text} ({cost.basis})")
    words = _ask(f"{question.question} [y/n]")
    if words is None or words.lower() in LEAVE:
        return None
    intent = understand(words).intent
    return True if intent == "yes" else False if intent in ("no", "empty") else words


def _listen(session: Session) -> bool:
    """Take one line of the person, or one answer; False when they left."""
    question = session.pending()
    if question is not None:
        answer = ask_approval(question)
        if answer is None:
            return False
        _hear(session.answer(answer is True, answer if isinstance(answer, str) else "", until="monitor"))
        return True
    words = _ask("")
    if words is None or words.lower() in LEAVE:
        return False
    _hear(session.say(words))
    return True


def _hear(events: Iterator[Event]) -> None:
    """Show a turn; an error or a Ctrl-C while tools work ends the turn and keeps the conversation."""
    try:
        with progress_bar() as bar:
            for event in events:
                show(event, bar)
    except LtxError as error:
        _say(clean_lines(str(error)))
    except KeyboardInterrupt:
        _say('\nInterrupted; what was written stays. Say "go on" to take it up again.')


def show(event: Event, bar: ProgressBar) -> None:
    """Show one event: progress as a bar, the rest as plain lines."""
    if isinstance(event, Progressed):
        bar(event.what, event.done, event.total)
        return
    bar.clear()
    if isinstance(event, Said):
        _say(clean_lines(event.text))
    elif isinstance(event, Called) and event.tool != "go_to":
        arguments = ", ".join(f"{name}={value!r}" for name, value in event.arguments.items())
        _say(f"→ {clean(event.tool)}({clean(arguments)})")
    elif isinstance(event, Alerted):
        _say("\n".join([f"! {clean(event.message)}", *(f"  – {clean(line)}" for line in event.evidence)]))
    elif isinstance(event, Returned) and event.refusal and event.refusal != DECLINED:
        _say(f"× {clean(event.tool)} failed")


def _project_by_questions() -> Project | None:
    """Ask for the clips folder until it can be a project; None when the person left."""
    while True:
        folder = _ask("Which folder holds your clips?")
        if folder is None or folder.lower() in LEAVE:
            return None
        try:
            return project_of(Path(folder or "."), None)
        except LtxError as error:
            _say(clean_lines(str(error)))


def _ask(question: str) -> str | None:
    """Return the person's next line, None at the end of input."""
    try:
        return input(f"{question} > " if question else "> ").strip()
    except EOFError:
        print()
        return None


def _name_of(kind: str) -> str:
    return "the built-in planner (rules, no language model)" if kind == "ltx-agent-planner" else "a language model"


def _say(text: str) -> None:
    print(text, file=sys.stdout, flush=True)
