"""The part of the state that the chat model sees on every turn: progress and the user's wishes, in plain JSON."""

from typing import Any

from agent.approvals.cards import captions_shown
from agent.context import AgentContext
from agent.state import AgentState, Stage, earlier_of
from agent.turn.policies.question_limit import questions_left
from agent.turn.tool_output import printable
from tools.inspect.report.footage import read_footage
from tools.project import Project
from trainer_core.errors import LtxError
from trainer_core.files import read_jsonl
from trainer_core.run_folder import RunFolder

RUNS_SHOWN = 3
_PLAN = {
    "objective": "ltx_agent.objective",
    "model": "model.model_path",
    "rank": "lora.rank",
    "steps": "optimization.steps",
    "learning_rate": "optimization.learning_rate",
    "batch_size": "optimization.batch_size",
}


def state_block(stage: Stage, state: AgentState, context: AgentContext) -> dict[str, Any]:
    """Return the state block of the system prompt."""
    project = context.project
    footage = read_footage(project.report_path)
    return {
        "stage": stage,
        "finished": state["finished"],
        "until": state["until"],
        "goal": state["goal"],
        "project": state["project"],
        "artifacts": state["artifacts"],
        "approvals": sorted(state["approvals"]),
        "facts": {**project.facts.model_dump(exclude={"sources"}), "goal": state["goal"]},
        "fixed": state.get("fixed", {}),
        "footage": footage.model_dump() if footage is not None else None,
        "plan": plan_of(project),
        "captions_by_model": _captions_by_model(project),
        "standing": [entry["card"] for entry in state.get("standing", [])],
        "captions_shown": _captions_shown(project),
        "runs": [_run_seen(run) for run in project.runs()[-RUNS_SHOWN:]],
        "questions_left": questions_left(state),
        "earlier": earlier_of(state),
    }


def plan_of(project: Project) -> dict[str, Any]:
    """The values of config.yaml that people talk about; empty when there is none or it can't be read."""
    from tools.draft.experiments import flat_values

    if not project.config_path.exists():
        return {}
    try:
        values = flat_values(project.config_path.read_text(encoding="utf-8", errors="replace"))
    except Exception:  # whatever is wrong with a file that a person edits, the plan's card says it
        return {}
    return {name: values[key] for name, key in _PLAN.items() if key in values}


def _captions_by_model(project: Project) -> bool:
    try:
        rows = read_jsonl(project.captions_path) if project.captions_path.exists() else []
    except LtxError:
        return False
    return any(isinstance(row, dict) and row.get("source") in ("endpoint", "local") for row in rows)


def _captions_shown(project: Project) -> list[dict[str, Any]]:
    """The captions on the card, in its order, for what is said of "the second one"."""
    try:
        rows = captions_shown(project)
    except (LtxError, KeyError, TypeError):  # a file that a person is at work in
        return []
    return [{name: row[name] for name in ("path", "source", "caption")} for row in rows]


def offer_of(run: RunFolder) -> dict[str, Any] | None:
    """The settings that a run whose memory ran out could go on with; None where it ended otherwise, or none is left."""
    try:
        events = run.events() if run.read_status().state == "failed" else []
    except LtxError:
        return None
    begun = max((index for index, event in enumerate(events) if event["kind"] in ("started", "resumed")), default=0)
    failed = next((event for event in events[begun:] if event["kind"] == "out of memory"), {})
    settings: dict[str, Any] | None = (failed.get("offer") or {}).get("settings")
    return settings


def _run_seen(run: RunFolder) -> dict[str, Any]:
    """A run's state, its checkpoint to look at, and what its trainer offers to save when memory ran out."""
    try:
        status = run.read_status()
    except LtxError:
        return {"id": run.id, "state": "unknown"}
    checkpoint = status.best_checkpoint or status.last_checkpoint
    return {
        "id": run.id,
        "state": str(status.state),
        "checkpoint": printable(str(run.path / checkpoint)) if checkpoint else None,
        "offer": offer_of(run),
    }
