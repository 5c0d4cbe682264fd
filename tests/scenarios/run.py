"""Play the scenarios against a chat model and print a score for each.

    python tests/scenarios/run.py                      # the built-in planner
    python tests/scenarios/run.py --llm MODEL          # a model of the configured endpoint (LTX_AGENT_BASE_URL …)
    python tests/scenarios/run.py --llm MODEL --only extension --jsonl scores.jsonl

A scenario is data: the clips, how far the work is, what the person says, which tools may and must be called, what is
asked, and the config that comes out; goals.yaml has goals, the footage each is said of and the objective it means. A
score is the share of its expectations that hold; the goals make a table of what was meant by what came out. What
exactly a model says is expected of the planner alone; that it calls nothing forbidden, asks before it acts and ends
with the right config is expected of every model.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, ConfigDict, Field

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

from world import add_run, make_project, played_tools  # noqa: E402 (the path above names where it is)

from agent.context import AgentContext  # noqa: E402
from agent.llm.choose import PLANNER, choose_model, name_of  # noqa: E402
from agent.planner.chat_model import Planner  # noqa: E402
from agent.session.commands import obey  # noqa: E402
from agent.session.events import Asked, Called, Event, Returned, Said  # noqa: E402
from agent.session.session import Session, open_session  # noqa: E402
from agent.session.slash import parse  # noqa: E402
from tools.draft.experiments import flat_values  # noqa: E402
from tools.project import Project  # noqa: E402
from trainer_core.errors import LtxError  # noqa: E402
from trainer_core.objective import OBJECTIVE_NAMES  # noqa: E402

NOTHING = "nothing"
REFUSED, ASKED = "refused", "asked"
GOALS = HERE / "goals.yaml"
UNDERSTOOD = "the look of my film"
"""The goal of a past that no scenario is about."""
_SCENES = tempfile.TemporaryDirectory(prefix="scenes-")
_MADE: dict[str, Path] = {}
"""Scenes that several scenarios begin with, made once."""


class Line(BaseModel):
    """One thing the person does, and what must follow before it is their turn again."""

    model_config = ConfigDict(extra="forbid")

    begin: str | None = None
    """A goal, with which the work starts."""
    say: str | None = None
    undo: bool = False
    """Take back the last decision."""
    answer: str | bool | None = None
    """The answer to the pending approval: yes, no, or other words."""
    calls: list[str] | None = None
    """The tools called in this turn, in order, without go_to."""
    arguments: dict[str, Any] = {}
    """Arguments that the last call must have had among its own."""
    asks: str | None = None
    """The approval that then waits, or `nothing`."""
    says: str | None = None
    """A regular expression that the words must match, of the planner alone."""
    card: str | None = None
    """A regular expression that the approval's card must match."""
    fails: str | None = None
    """A tool whose call must have failed."""


class Scenario(BaseModel):
    """One conversation."""

    model_config = ConfigDict(extra="forbid")

    name: str
    clips: str = "4 sound"
    goal: str = ""
    stage: Literal["new", "captioned", "planned"] = "new"
    run: str | None = None
    """A run that is there: `running falling`, `done flat`, `failed none` …"""
    rehearses: bool = False
    """The rehearsal comes before the first start; most scenarios are about something else and leave it out."""
    captions: dict[str, str] = {}
    talk: list[Line]
    plan: str | None = None
    """A regular expression that plan.md must match at the end."""
    config: dict[str, Any] = {}
    """What the final config.yaml holds, by dotted key; `null` is absent or null."""
    skipped: list[str] | None = None
    forbidden: list[str] = []
    """Tools that must never have run to an end."""


class Goal(BaseModel):
    """What a person answers to "what shall the adapter learn?", and the objective they mean by it."""

    model_config = ConfigDict(extra="forbid")

    goal: str
    clips: str
    means: str
    """An objective, or `refused` where this footage can't carry what is meant."""
    also: list[str] = Field([], alias="or")
    """Others that are right too."""
    config: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return f"goal: {self.goal or '(none)'} ({self.clips})"


@dataclass
class Score:
    """What held of one scenario."""

    name: str
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    meant: str = ""
    """The objective that a goal means; empty for other scenarios."""
    came: str = ""
    """The objective it came to; `refused`, or `asked`."""
    offered: bool = False
    """Whether a question came that names the right objective."""

    @property
    def is_silently_wrong(self) -> bool:
        """Whether another plan than was meant was made without a question."""
        return bool(self.meant) and bool(self.failures) and self.came not in (ASKED, REFUSED)

    def expect(self, held: bool, otherwise: str) -> None:
        if held:
            self.passed += 1
        else:
            self.failures.append(otherwise)

    @property
    def share(self) -> float:
        return self.passed / max(1, self.passed + len(self.failures))


def scenarios() -> list[Scenario]:
    """All scenarios of the YAML files beside this one."""
    return [
        Scenario.model_validate(entry)
        for path in sorted(HERE.glob("*.yaml"))
        if path != GOALS
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))
    ]


def goals() -> list[Goal]:
    """All goals of goals.yaml."""
    return [Goal.model_validate(entry) for entry in yaml.safe_load(GOALS.read_text(encoding="utf-8"))]


def play_goal(goal: Goal, model: BaseChatModel, folder: Path) -> Score:
    """Say a goal, agree to the captions, judge what is planned: the right objective, or a question that names it."""
    score = Score(goal.name, meant=goal.means)
    begun = time.monotonic()
    project = make_project(folder, goal.clips, goal.goal)
    events: list[Event] = []
    with open_session(AgentContext(project, model, played_tools())) as session:
        events += session.begin(goal.goal, until="draft")
        while (question := session.pending()) is not None and question.approval == "captions":
            events += session.answer(True, until="draft")
    config = flat_values(project.config_path.read_text(encoding="utf-8")) if project.config_path.exists() else {}
    failed = any(isinstance(event, Returned) and event.refusal for event in events)
    words = "\n".join(event.text for event in events if isinstance(event, Said))
    score.came = str(config["ltx_agent.objective"]) if config else REFUSED if failed or _refuses(words) else ASKED
    right = [goal.means, *goal.also]
    score.offered = score.came == ASKED and any(name in right for name in offered_objectives(words))
    score.expect(
        score.came in right or score.offered, f"meant {' or '.join(right)}, came to {score.came}: {words!r:.200}"
    )
    for name, wanted in goal.config.items():
        score.expect(config.get(name) == wanted, f"{name} is {config.get(name)!r}, expected {wanted!r}")
    score.seconds = time.monotonic() - begun
    return score


def confusion(scores: Sequence[Score]) -> list[str]:
    """The goals as a table, what was meant by what came out; `*` marks a question that names what was meant."""
    of_goals = [score for score in scores if score.meant]
    columns = sorted({score.came for score in of_goals})
    width = max((len(score.meant) for score in of_goals), default=0)
    lines = [" " * width + "  " + "  ".join(columns)] if of_goals else []
    for meant in sorted({score.meant for score in of_goals}):
        row = [score for score in of_goals if score.meant == meant]
        cells = []
        for column in columns:
            here = [score for score in row if score.came == column]
            offered = sum(score.offered for score in here)
            cells.append(f"{len(here) or '.'}{f'*{offered}' if offered else ''}".rjust(len(column)))
        lines.append(f"{meant:<{width}}  {'  '.join(cells)}")
    return lines


def _refuses(words: str) -> bool:
    """Whether it was said that this footage can't carry what is meant."""
    return "This footage can't teach that" in words


def play(scenario: Scenario, model: BaseChatModel, folder: Path) -> Score:
    """Hold one conversation in `folder` and judge it."""
    score = Score(scenario.name)
    begun = time.monotonic()
    project = make_project(folder, scenario.clips, scenario.goal, scenario.captions)
    done: set[str] = set()
    _bring_to(scenario, project)
    with open_session(AgentContext(project, model, played_tools(rehearses=scenario.rehearses))) as session:
        for number, line in enumerate(scenario.talk, start=1):
            try:
                events = list(_speak(line, session))
            except LtxError as error:
                score.expect(False, f"line {number}: {error}")
                break
            done |= {event.tool for event in events if isinstance(event, Returned) and not event.refusal}
            _judge_line(score, number, line, events, exact_words=name_of(model) == PLANNER)
    for tool in scenario.forbidden:
        score.expect(tool not in done, f"{tool} ran, and must not have")
    if scenario.plan is not None:
        text = project.plan_path.read_text(encoding="utf-8") if project.plan_path.exists() else ""
        score.expect(re.search(scenario.plan, text) is not None, f"plan.md lacks {scenario.plan!r}")
    _judge_config(score, scenario, project)
    score.seconds = time.monotonic() - begun
    return score


def offered_objectives(words: str) -> list[str]:
    """The objectives that a question names, by their names or by the words for them."""
    return [name for name in OBJECTIVE_NAMES if re.search(rf"\b{name}\b", words)]


def _bring_to(scenario: Scenario, project: Project) -> None:
    """Set the scene by the built-in planner's own moves, so that the model under test finds a real past."""
    if scenario.stage == "new":
        return
    key = f"{scenario.clips}|{scenario.goal}|{scenario.captions}|{scenario.stage}"
    if key not in _MADE:
        with open_session(AgentContext(project, Planner(), played_tools())) as session:
            list(session.begin(scenario.goal or UNDERSTOOD, until="draft"))
            list(session.answer(True))
            while scenario.stage == "planned" and session.pending() is not None:
                list(session.answer(True))
        _MADE[key] = Path(_SCENES.name) / str(len(_MADE))
        shutil.copytree(project.path, _MADE[key])
    else:
        shutil.copytree(_MADE[key], project.path, dirs_exist_ok=True)
    if scenario.run is not None:
        state, loss = scenario.run.split()
        add_run(project, state, loss)


def _speak(line: Line, session: Session) -> Iterator[Event]:
    if line.begin is not None:
        return session.begin(line.begin, until="monitor")
    if line.say is not None:
        command = parse(line.say)
        if command is not None and command.name == "undo":  # as both faces take it
            return iter([Said(text) for text in obey(session, "undo", "")])
        return session.say(line.say)
    if line.undo:
        return iter([Said(text) for text in session.undo()])
    if isinstance(line.answer, bool):
        return session.answer(line.answer, until="monitor")
    return session.answer(False, str(line.answer), until="monitor")


def _judge_line(score: Score, number: int, line: Line, events: list[Event], *, exact_words: bool) -> None:
    where = f"line {number} ({line.begin or line.say or line.answer!s:.40})"
    called = [event for event in events if isinstance(event, Called) and event.tool != "go_to"]
    names = [event.tool for event in called]
    if line.calls is not None:
        wanted = line.calls if exact_words else [name for name in line.calls if name not in names]
        score.expect(names == wanted if exact_words else not wanted, f"{where}: called {names}, expected {line.calls}")
    if line.arguments:
        given = called[-1].arguments if called else {}
        lacking = {name: value for name, value in line.arguments.items() if given.get(name) != value}
        score.expect(not lacking, f"{where}: the last call had {given}, expected {line.arguments}")
    question = next((event.question for event in events if isinstance(event, Asked)), None)
    if line.asks is not None:
        asked = question.approval if question else NOTHING
        score.expect(asked == line.asks, f"{where}: waits for {asked}, expected {line.asks}")
    if line.card is not None:
        card = "\n".join([question.question, *question.details]) if question else ""
        score.expect(re.search(line.card, card) is not None, f"{where}: the card lacks {line.card!r}: {card:.300}")
    if line.says is not None and exact_words:
        words = "\n".join(event.text for event in events if isinstance(event, Said))
        score.expect(re.search(line.says, words) is not None, f"{where}: said {words!r:.300}, expected {line.says!r}")
    if line.fails is not None:
        failed = [event.tool for event in events if isinstance(event, Returned) and event.refusal]
        score.expect(line.fails in failed, f"{where}: {line.fails} did not fail")


def _judge_config(score: Score, scenario: Scenario, project: Project) -> None:
    if not scenario.config and scenario.skipped is None:
        return
    if not project.config_path.exists():
        score.expect(False, "there is no config.yaml")
        return
    values = flat_values(project.config_path.read_text(encoding="utf-8"))
    for name, wanted in scenario.config.items():
        found = values.get(name)
        score.expect(found == wanted, f"{name} is {found!r}, expected {wanted!r}")
    if scenario.skipped is not None:
        rows = [json.loads(row) for row in project.dataset_path.read_text(encoding="utf-8").splitlines()]
        trained = {Path(row.get("video") or row.get("audio")).name for row in rows}
        score.expect(not trained & set(scenario.skipped), f"{sorted(trained)} train, {scenario.skipped} must not")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", default=PLANNER, help="builtin, auto, or a model of the configured endpoint")
    parser.add_argument("--only", default="", help="play the scenarios whose name holds this")
    parser.add_argument("--jsonl", type=Path, help="write a row a scenario here")
    chosen = parser.parse_args()
    model = choose_model(chosen.llm)
    scores = []
    for one in (*scenarios(), *goals()):
        if chosen.only not in one.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            score = play_goal(one, model, Path(folder)) if isinstance(one, Goal) else play(one, model, Path(folder))
        scores.append(score)
        print(f"{score.share:>5.0%}  {score.seconds:5.1f} s  {score.name}", flush=True)
        for failure in score.failures:
            print(f"        – {failure}")
    print("\n".join(confusion(scores)))
    if chosen.jsonl:
        rows = [{"name": s.name, "score": s.share, "failures": s.failures, "seconds": s.seconds} for s in scores]
        chosen.jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    silent = sum(score.is_silently_wrong for score in scores)
    print(f"{silent} of {sum(bool(score.meant) for score in scores)} goals became another plan without a question")
    whole = sum(score.share == 1 for score in scores)
    mean = sum(score.share for score in scores) / max(1, len(scores))
    print(f"{name_of(model)}: {whole} of {len(scores)} scenarios whole, mean score {mean:.0%}")
    return 0 if whole == len(scores) else 1


if __name__ == "__main__":
    sys.exit(main())
