"""The whole pipeline without a person: clips to an ended run, through the same graph, under a policy, as events.

Run again after it was killed, it goes on where it was: the conversation from its last step, a run that trains by
watching it, one that ended by its result.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.context import AgentContext
from agent.headless.policy import Policy
from agent.llm.choose import PLANNER
from agent.planner.objective_talk import GO_ON, says_what_to_learn
from agent.session.events import Alerted, Called, Event, Listener, Progressed, Question, Returned, Said
from agent.session.session import Session, open_session
from agent.state import artifacts_of
from agent.turn.policies.question_limit import asks
from agent.turn.state_block import offer_of
from tools.monitor.launch import request_stop
from tools.monitor.status import describe_run
from tools.project import Project
from tools.rehearsal.recorded import rehearsed
from trainer_core.errors import ApprovalNeeded, ExternalError, TrainingError, error_of
from trainer_core.run_folder import LIVE_STATES, RunFolder

Emit = Callable[..., None]
"""Called as (event, **fields)."""

POLL_S = 0.5
PROGRESS_EVERY_S = 2.0
DISK_EVERY_S = 20.0
STOP_WAIT_S = 60.0
ENDS_TURN = 8
"""A language model that ends its turn this often without having started training is given up."""


def run_pipeline(context: AgentContext, policy: Policy, emit: Emit, goal: str, fixed: dict[str, Any]) -> RunFolder:
    """Prepare, train and watch; return the run that ended well.

    Raises ApprovalNeeded when the policy doesn't permit a step or a budget is spent, TrainingError when the run failed
    or diverged, and the error of a tool that failed.
    """
    project = context.project
    with open_session(context) as session:
        session.set_budget(policy.model_budget())
        _permit_incomplete(project, policy)
        run = _run_of_this(project)
        if run is None:
            run = _prepare(session, context, policy, emit, goal, fixed)
        _watch(session, run, policy, emit)
        while policy.out_of_memory == "next_rung" and offer_of(run) is not None:
            _resume_with_saving(session, context, policy, emit)  # each rung is offered once, so this ends
            _watch(session, run, policy, emit)
    status = describe_run(run)
    if status.state != "done":
        raise TrainingError(f"Run {run.id} {status.state} at step {status.step} of {status.steps}: {status.error}")
    return run


def _permit_incomplete(project: Project, policy: Policy) -> None:
    """Ask for a plan that leaves incomplete samples out where the policy says so."""
    facts, key = project.facts, "ltx_agent.incomplete_samples"
    if policy.incomplete_samples == "leave_out" and key not in facts.asked:
        project.write_facts(facts.model_copy(update={"asked": {**facts.asked, key: policy.incomplete_samples}}))


def result_of(project: Project, run: RunFolder | None) -> dict[str, Any]:
    """The fields of the result event that the files tell."""
    artifacts = {name: str(project.path / relative) for name, relative in artifacts_of(project).items()}
    if run is None:
        return {"project": str(project.path), "run": None, "artifacts": artifacts, "verdict": None}
    status = describe_run(run)
    for name in ("last_checkpoint", "best_checkpoint"):
        if getattr(status, name):
            artifacts[name] = str(run.path / getattr(status, name))
    artifacts["metrics"] = str(run.metrics_path)
    return {
        "project": str(project.path),
        "run": run.id,
        "artifacts": artifacts,
        "verdict": status.verdict.model_dump(),
    }


def newest_run_of(project: Project) -> RunFolder | None:
    runs = project.runs()
    return runs[-1] if runs else None


def _run_of_this(project: Project) -> RunFolder | None:
    """The newest run, when it goes on or ended well with the plan as it now is."""
    from tools.draft.experiments import changes_since_last_run

    run = newest_run_of(project)
    if run is None:
        return None
    state = run.read_status().state
    if state in LIVE_STATES:
        return run
    return run if state == "done" and not changes_since_last_run(project) else None


def _prepare(
    session: Session, context: AgentContext, policy: Policy, emit: Emit, goal: str, fixed: dict[str, Any]
) -> RunFolder:
    """Bring the conversation to a started run and return it, however it has ended since."""
    heard = _Heard(emit, context)
    events: Iterator[Event]
    if session.is_unfinished:
        events = session.resume()
    elif session.pending() is not None:
        events = iter(())
    elif _was_cut_off(context) and context.tool("resume_training") is not None and "resume" in policy.approvals:
        events = session.say("resume")
    else:
        events = session.begin(goal, until="monitor", fixed=fixed)
    for _ in range(ENDS_TURN):
        _hear_out(session, heard, events, policy, emit)
        run = newest_run_of(context.project)
        if run is not None and (heard.resumed or run != heard.run_before):
            return run
        _fit_to_memory(session, heard, policy, emit)
        run = newest_run_of(context.project)
        if run is not None and run != heard.run_before:
            return run
        if heard.question and says_what_to_learn(goal):
            raise ApprovalNeeded(
                f"A question is open: {heard.question}",
                "Say it in other words with --goal, or name the objective with --objective.",
            )
        events = session.say("start" if session.state.get("stage") == "monitor" else GO_ON)
    raise ExternalError("The language model ended without starting to train.", "Try --llm builtin.")


def _resume_with_saving(session: Session, context: AgentContext, policy: Policy, emit: Emit) -> None:
    """Let the run that ran out of memory go on with what its trainer offers; the rules say it, whatever model talks."""
    session.set_model(PLANNER)
    heard = _Heard(emit, context)
    _hear_out(session, heard, session.say("resume"), policy, emit)


def _fit_to_memory(session: Session, heard: "_Heard", policy: Policy, emit: Emit) -> None:
    """Refuse a plan that didn't fit its rehearsal, or let it take the switches it lacked where the policy says so."""
    seen = rehearsed(session.project)
    if seen is None or seen.trial.fits:
        return
    if not seen.lacking:
        raise TrainingError(
            f"The rehearsal ran out of memory while {seen.trial.ran_out}, with every switch.", "Use smaller clips."
        )
    if policy.out_of_memory != "next_rung":
        lacking = ", ".join(f"{name}: {value}" for name, value in seen.lacking.items())
        raise ApprovalNeeded(
            f"The rehearsal ran out of memory while {seen.trial.ran_out}; the plan fits with {lacking}.",
            "Put these into config.yaml, or permit them with out_of_memory: next_rung and `change` in the policy.",
        )
    session.set_model(PLANNER)
    _hear_out(session, heard, session.say("make it fit"), policy, emit)


def _hear_out(session: Session, heard: "_Heard", events: Iterator[Event], policy: Policy, emit: Emit) -> None:
    """Hear a turn to its end, its approvals answered by the policy. Raises the error of a tool that failed."""
    heard.turn(events)
    question = session.pending()
    while question is not None:
        heard.turn(_answered(session, question, policy, emit))
        question = session.pending()
    error = session.state.get("error")
    if error is not None and not error.get("by_model"):  # the model may do better; if not, rules are offered
        raise error_of(error["message"], error["hint"], error["exit_code"])


def _answered(session: Session, question: Question, policy: Policy, emit: Emit) -> Iterator[Event]:
    refusal = policy.refusal(question, session.spent().money)
    costs = [
        {"kind": cost.kind, "text": cost.text, "value": cost.value, "basis": cost.basis} for cost in question.costs
    ]
    emit(
        "approval",
        approval=question.approval,
        granted=not refusal,
        reason=refusal,
        question=question.question,
        costs=costs,
    )
    if refusal and question.approval in ("fallback", "rehearse"):
        return session.answer(False, until="monitor")  # what failed is raised then; a start needs no rehearsal
    if refusal:
        raise ApprovalNeeded(
            f"The approval `{question.approval}` is needed: {refusal}.",
            f"Look at what it is about in {session.project.path}, then permit it in the policy, or change the plan.",
        )
    return session.answer(True, until="monitor")


def _was_cut_off(context: AgentContext) -> bool:
    run = newest_run_of(context.project)
    return run is not None and run.read_status().state == "failed" and run.read_status().last_checkpoint is not None


def _watch(session: Session, run: RunFolder, policy: Policy, emit: Emit) -> None:
    """Follow the run to its end; one that grows over a budget is stopped, which saves it first."""
    told, told_at, measured, disk_bytes = ("", -1), 0.0, 0.0, 0
    while True:
        status = run.read_status()
        for alert in session.alerts():
            emit("alert", about=alert.about, level=alert.level, message=alert.message, evidence=alert.evidence)
        if status.state not in LIVE_STATES:
            return
        now = time.monotonic()
        what = (status.stage or "training", status.step)
        if what != told and now - told_at >= PROGRESS_EVERY_S:
            told, told_at = what, now
            emit("progress", what=what[0], done=status.step, total=status.steps, eta_s=status.eta_s)
        if policy.budgets.disk_gb is not None and now - measured >= DISK_EVERY_S:
            measured, disk_bytes = now, _size_of(session.project.path)
        overrun = policy.overrun(time.time() - (status.started_at or time.time()), disk_bytes)
        if overrun:
            emit("alert", about=f"run {run.id}", level="stop", message=f"Over budget: {overrun}.", evidence=[])
            request_stop(run, STOP_WAIT_S)
            raise ApprovalNeeded(
                f"Over budget: {overrun}.", "The run was stopped and saved; resume it with a larger one."
            )
        time.sleep(POLL_S)


def _size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


class _Heard(Listener[None]):
    """Turns what a conversation says into headless events."""

    def __init__(self, emit: Emit, context: AgentContext) -> None:
        self.run_before = newest_run_of(context.project)
        self.resumed = False
        """Whether a run was resumed, which is then the one to watch."""
        self._emit = emit
        self._stage_of = {tool.name: stage for stage, tools in context.tools.items() for tool in tools}
        self.question = ""
        """The question that the last turn ended with; empty where it ended otherwise."""
        self._stage = ""
        self._told = 0.0

    def turn(self, events: Iterator[Event]) -> None:
        self.question = ""
        for event in events:
            if isinstance(event, Said | Called):
                self.question = event.text if isinstance(event, Said) and asks(event.text) else ""
            event.tell(self)

    def called(self, event: Called) -> None:
        stage = self._stage_of.get(event.tool, self._stage)
        if stage != self._stage:
            self._stage = stage
            self._emit("node", node=stage)
        if event.tool != "go_to":
            self._emit("tool", tool=event.tool, arguments=event.arguments, state="called")

    def returned(self, event: Returned) -> None:
        if event.tool == "go_to":
            return
        state = "failed" if event.refusal else "returned"
        self.resumed = self.resumed or (event.tool == "resume_training" and not event.refusal)
        self._emit("tool", tool=event.tool, state=state, result=event.result, error=event.refusal or None)

    def said(self, event: Said) -> None:
        self._emit("node", node=self._stage, said=event.text)

    def progressed(self, event: Progressed) -> None:
        if event.done == event.total or time.monotonic() - self._told >= PROGRESS_EVERY_S:
            self._told = time.monotonic()
            self._emit("progress", what=event.what, done=event.done, total=event.total)

    def alerted(self, event: Alerted) -> None:
        self._emit("alert", about=event.about, level=event.level, message=event.message, evidence=event.evidence)

    def other(self, event: Event) -> None:
        """Streamed words come again whole; what is asked is answered when the turn has ended."""
