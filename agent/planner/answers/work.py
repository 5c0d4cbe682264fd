"""Answers about where the work stands: what comes next, where things are, how a run goes."""

from typing import Any

from agent.planner.calls import Call, live_run
from prompts.render import section


def next_step(state: dict[str, Any]) -> str:
    """What is due now, in a sentence that says what to say."""
    made, runs = state["artifacts"], state.get("runs", [])
    live = live_run(state)
    if live:
        return section("planner", "next_running", run=live)
    if runs:
        return section("planner", "next_after_run", run=runs[-1]["id"], state=runs[-1]["state"])
    for name in ("report", "captions", "config"):
        if name not in made:
            return section("planner", f"next_{name}")
    return section("planner", "next_start" if "plan" in state["approvals"] else "next_plan")


def files(state: dict[str, Any]) -> str:
    """The project's folder and what lies in it."""
    made = ", ".join(sorted(state["artifacts"].values())) or "nothing yet"
    runs = f" Runs, with their checkpoints: {state['project']}/runs." if state.get("runs") else ""
    return section("planner", "files", project=state["project"], made=made, runs=runs)


def model(state: dict[str, Any]) -> str:
    """The base that is trained."""
    named = str(state.get("plan", {}).get("model") or state["facts"].get("model") or "tiny")
    return section("planner", "model_tiny" if named.startswith("tiny") else "model", model=named)


def trigger(state: dict[str, Any]) -> str:
    """The trigger word, or that there is none."""
    word = state["facts"].get("trigger")
    return section("planner", "trigger" if word else "no_trigger", trigger=word or "")


def quality(state: dict[str, Any]) -> str | Call:
    """What the newest run's figures say; before a run, what could be said."""
    return ("run_status", {}) if state.get("runs") else section("planner", "no_quality")


def status(state: dict[str, Any]) -> str | Call:
    """How the newest run goes; without one, what is due instead."""
    return ("run_status", {}) if state.get("runs") else f"{section('planner', 'no_run')} {next_step(state)}"
