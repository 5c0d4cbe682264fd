"""Line mode: a person talks to the graph line by line, with a screen reader, on a dumb terminal, through a pipe."""

from pathlib import Path

from agent.context import AgentContext, open_context
from agent.llm.choose import PLANNER, choose_model, name_of
from agent.planner.intents import understand
from agent.session.events import Question
from agent.session.projects import current_project, project_of
from agent.session.session import open_session
from agent.session.slash import BY_NAME, Parsed, completions, dropped_paths, parse
from agent.text.sanitize import clean, clean_lines, shell_quote
from agent.ui.plain.commands import completed, obey
from agent.ui.plain.face import LEAVE, Face, ask_approval, show_card
from agent.ui.plain.plan import news_of_plan
from agent.ui.plain.shown import say
from agent.ui.plain.terminal import Terminal
from agent.ui.shared.history import PromptHistory
from tools.project import Project
from trainer_core.errors import LtxError

_WHAT_TO_LEARN = "What shall the adapter learn? (Enter: I look at the clips first)"


def talk(target: Path | None, llm: str, conversation: str | None = None) -> None:
    """Hold the conversation until the person leaves; a run that trains goes on."""
    choose_model(llm)  # what is wrong with it is said before anything is asked
    terminal = Terminal()
    say("ltx-agent: from a folder of clips to a trained LTX-2 adapter. At most five questions; then it is your turn.")
    project = project_of(target, None) if target is not None else current_project()
    if project is None:
        project = _project_by_questions(terminal)
    while project is not None:
        context = open_context(project, llm, conversation)
        say(
            f'You talk to {_named(name_of(context.model))}. "help" says what it understands, "/help" the commands, '
            '"quit" leaves.'
        )
        goal = None
        if not project.report_path.exists():
            goal = terminal.ask(_WHAT_TO_LEARN)
            if goal is None or goal.lower() in LEAVE:
                return
        project = converse(context, terminal, goal)
        conversation = None


def converse(context: AgentContext, terminal: Terminal, goal: str | None = None) -> Project | None:
    """Talk over one project; return the one that the person opens next, None when they left.

    `goal`: what they said first, None where the project is known already. A question or a slash command is no goal: it
    is answered, and they are asked again.
    """
    say(f"Project: {clean(str(context.project.path))}")
    terminal.remember(PromptHistory(context.project.path / ".prompt-history.jsonl"))
    with open_session(context) as session:
        face = Face(session, terminal)
        terminal.complete = lambda text: completed(face, text)
        if session.is_unfinished:
            say("Going on where the last session was cut off.")
            face.hear(session.resume())
        elif goal is not None:
            _begin(face, goal)
        while not face.is_left:
            for line in news_of_plan(face):
                say(line)
            _listen(face)
    return face.goes_to


def _listen(face: Face) -> None:
    """Take one line of the person, or one answer."""
    session = face.session
    question = session.pending()
    if question != face.asked:
        face.asked = question
        if question is not None:
            _draw(face, question)
    if question is not None:
        answer = ask_approval(question, face.terminal, session)
    else:
        answer = face.terminal.listen("", session)
    if answer is None or (isinstance(answer, str) and answer.lower() in LEAVE):
        face.is_left = True
        if answer is None and question is not None and face.terminal.pipe is not None:
            say(_not_from_a_pipe(question))
    elif question is None or (isinstance(answer, str) and (parse(answer) or dropped_paths(answer))):
        _hear_line(face, str(answer))
    elif answer != "":  # an empty line is no answer, so the question is put again
        face.asked = None
        face.hear(session.answer(answer is True, answer if isinstance(answer, str) else "", until="monitor"))


def _draw(face: Face, question: Question) -> None:
    """Show a card; one that stands again as it was isn't read out a second time."""
    if question == face.drawn:
        face.terminal.forget()
        say("This is still to be answered; nothing it is about has changed. /talk shows it again.")
    else:
        show_card(question, face.terminal)
        face.drawn = question


def _not_from_a_pipe(question: Question) -> str:
    return (
        f"Nobody answered `{question.approval}`: what is written before a question is shown is no answer to it. Answer "
        "on a terminal or write after the question; `prepare --yes` and `run --policy` approve beforehand."
    )


def _hear_line(face: Face, line: str) -> None:
    """Do what a line asks for that answers no card: a slash command, a dropped path, or words."""
    if (parsed := parse(line)) is not None:
        obey(face, parsed)
    elif dropped := dropped_paths(line):
        _take(face, dropped)
    else:
        face.hear(face.session.say(line))


def _begin(face: Face, words: str | None) -> None:
    """Begin the work with what the person wants to be learned; `words` are what they said first."""
    while words and not _is_goal(words):
        if words.lower() in LEAVE:
            words = None
            break
        _hear_line(face, words)
        if face.is_left:
            return
        words = face.terminal.ask(_WHAT_TO_LEARN)
    if words is None:
        face.is_left = True
        return
    if words:
        project_of(face.session.project.path, None, goal=words)
    face.hear(face.session.begin(words, until="monitor"))


def _is_goal(words: str) -> bool:
    """Whether the first words can say what to learn; meaning is not asked, so that no odd goal is lost."""
    return (
        words.lower() not in LEAVE
        and parse(words) is None
        and understand(words, by_meaning=False).intent not in ("question", "term")
    )


def _take(face: Face, dropped: list[Path]) -> None:
    """Files or folders were dropped on the terminal: one folder is opened, others are something to say."""
    if len(dropped) == 1 and dropped[0].is_dir():
        obey(face, Parsed("open", str(dropped[0]), BY_NAME["open"]))
    else:
        face.say(" ".join(shell_quote(path) for path in dropped))


def _project_by_questions(terminal: Terminal) -> Project | None:
    """Ask for the clips folder until it can be a project; None when the person left."""
    while True:
        folder = terminal.ask("Which folder holds your clips?", complete=_folders)
        if folder is None or folder.lower() in LEAVE:
            return None
        try:
            return project_of(next(iter(dropped_paths(folder)), Path(folder or ".")), None)
        except LtxError as error:
            say(clean_lines(str(error)))


def _folders(text: str) -> list[str]:
    return [found.removeprefix("/open ") for found, _ in completions(f"/open {text}")]


def _named(model: str) -> str:
    return (
        "the built-in planner (rules, no language model)" if model == PLANNER else f"the language model {clean(model)}"
    )
