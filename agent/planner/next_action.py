"""The built-in planner's moves: from what a person wants and where the work stands to words or one tool call."""

import json
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from langchain_core.messages import ToolMessage

from agent.planner.adapter_slots import NEWEST
from agent.planner.intents import Wish, read_goal
from agent.planner.slots import draft_values, numbers_in, relative_values
from agent.state import DECLINED, STAGES, Stage
from agent.text.results import SUMMARIES
from agent.text.run import advice_lines, best_lines, speed_lines
from prompts.fence import unfence
from prompts.render import section, sections
from trainer_core.run_folder import LIVE_STATES

Call = tuple[str, dict[str, Any]]

_STAGE_OF: dict[str, Stage] = {"inspect": "inspect", "caption": "caption", "draft": "draft", "start": "monitor"}
_KEY_OF = {
    "steps": "optimization.steps",
    "rank": "lora.rank",
    "learning_rate": "optimization.learning_rate",
    "batch_size": "optimization.batch_size",
}
_AFTER_A_RUN = {
    "sample": "sample_adapter",
    "export": "export_adapter",
    "push": "push_to_hub",
    "doctor": "examine_adapter",
    "compare_files": "compare_adapters",
    "edit": "edit_adapter",
    "rehearse": "rehearse_training",
}
_NEEDS_A_PLAN = {"memory": "plan_memory", "fit": "draft_config"}
_ABOUT_A_RUN = ("status", "advice", "slow", "best")
_MORE = r"\b(?:more|higher|bigger|larger|raise|increase|longer|slower)\b"
_FREE_TEXT_REASON = 160
_CAPTIONING = ("caption_clips", "caption_rest", "retune_captions")


def answer(
    words: str, wishes: list[Wish], state: dict[str, Any], bound: Collection[str], *, assume: bool = False
) -> str | Call:
    """Answer what the person said last: with words, with a tool of this stage, or by going to the stage that has it.

    Training needs a plan, a plan captions, captions the report: what is missing is made first, in this order.
    `assume`: no question is left, so what is unclear is taken as it most likely was meant.
    """
    wish = _in_numbers(_assumed(wishes[-1], words, state) if assume else wishes[-1], words, state)
    stage: Stage = state["stage"]
    missing = _first_missing(state)
    spoken = _in_words(wish, state)
    if spoken is not None:
        return spoken
    if wish.intent in _ABOUT_A_RUN:
        return _in_stage("monitor", ("run_status", {}), state)
    if wish.intent in _AFTER_A_RUN:
        return _about_an_adapter(wish, state)
    if wish.intent in _NEEDS_A_PLAN and missing == "monitor":
        return _in_stage("draft", (_NEEDS_A_PLAN[wish.intent], {}), state)
    if wish.intent in _NEEDS_A_PLAN:
        return _in_stage(missing, _work_of_stage(missing, wishes, state, ""), state)
    if wish.intent == "stop":
        return _in_stage("monitor", ("stop_training", {}), state)
    if wish.intent == "resume":
        return _resume(wish, words, state, bound)
    if wish.intent == "compare":
        return _in_stage("draft", ("list_experiments", {}), state)
    if wish.intent in _STAGE_OF:
        wanted = min(_STAGE_OF[wish.intent], missing, key=STAGES.index)
        return _in_stage(wanted, _work_of_stage(wanted, [*wishes[:-1], wish], state, words), state)
    if wish.intent in ("yes", "empty"):
        return _go_on(stage, missing, wishes, state)
    if stage == "caption" and state.get("captions_by_model") and "retune_captions" in bound:
        return "retune_captions", {"note": words}
    if stage == missing != "monitor" and wish.intent == "other":  # what it is all about, before anything was made
        return _work_of_stage(stage, wishes, state, words)
    if stage == "caption":
        return section("planner", "no_captions")
    if wish.intent == "no":
        return section("planner", "no")
    return section("planner", "not_understood", words=words)


def begin_stage(state: dict[str, Any], wishes: list[Wish]) -> str | Call:
    """The first move in a stage that the work has just come to."""
    if state["stage"] == "monitor" and state.get("runs"):
        live = _live(state)
        return section(
            "planner", "plan_while_running" if live else "plan_after_run", run=live or state["runs"][-1]["id"]
        )
    return _work_of_stage(state["stage"], wishes, state, "")


def goal_wish(state: dict[str, Any], *, is_latest: bool) -> Wish:
    """What the goal names, less what project.json settles already.

    `is_latest`: nothing was said since the goal, so it wins over what was asked for before it.
    """
    wish, facts = read_goal(state["goal"]), state["facts"]
    settled = facts if is_latest else {**facts, **facts.get("asked", {})}
    return replace(
        wish,
        draft={name: value for name, value in wish.draft.items() if settled.get(name) is None},
        caption={name: value for name, value in wish.caption.items() if settled.get(name) is None},
    )


def after_tool(message: ToolMessage, wish: Wish) -> str | Call:
    """What a tool's answer comes to, seen from what the person asked."""
    content = str(message.content)
    name = message.name or ""
    if message.status == "error":
        if content == DECLINED:
            return section("planner", "declined" if name == "start_training" else "declined_change")
        told = (unfence("data", content) or content).split("\nSchema: ")[0]
        return section("planner", "failed", message=told)
    result = json.loads(unfence("data", content) or "{}")
    if name in _CAPTIONING and result.get("remaining"):
        return "caption_rest", {}
    if name == "run_status":
        if wish.intent == "advice":
            return "\n".join(advice_lines(result))
        if wish.intent == "slow":
            return "\n".join(speed_lines(result))
        if wish.intent == "best":
            return "\n".join(best_lines(result))
    if name == "rehearse_training":
        lacking = result["fits"] and not result["trials"][0]["fits"]
        follows = section("planner", "rehearsed_lacking" if lacking else "rehearsed")
        return "\n".join([*SUMMARIES[name](result), follows])
    if name in SUMMARIES:
        return "\n".join(SUMMARIES[name](result))
    return "\n".join(
        f"{key.replace('_', ' ')}: {value}" for key, value in result.items() if value not in (None, [], {})
    )


def _in_words(wish: Wish, state: dict[str, Any]) -> str | None:
    """The answers that need no tool; None where one is needed."""
    if wish.intent == "help":
        return section("planner", "help", terms=", ".join(sections("glossary")))
    if wish.intent == "term":
        return _explain(wish.term)
    if wish.intent == "refused":
        return section("planner", "refused")
    if wish.intent == "why":
        return section("planner", "why")
    if wish.intent == "contradiction":
        return section("planner", "contradiction", what=wish.term)
    if wish.intent == "vague":
        now = state.get("plan", {}).get(wish.term)
        known = f" It is {now} now." if now is not None else ""
        return section("planner", "vague", value=wish.term.replace("_", " "), now=known)
    return None


def _in_numbers(wish: Wish, words: str, state: dict[str, Any]) -> Wish:
    """Turn "double the rank" into the number it comes to in the plan that stands."""
    plan = state.get("plan", {})
    found: dict[str, Any] = {}
    if wish.intent in ("vague", "other", "yes", "draft"):
        for name, factor in relative_values(" ".join(words.lower().split())).items():
            if isinstance(plan.get(name), int | float) and name not in wish.draft:
                value = plan[name] * factor
                found[name] = float(f"{value:.6g}") if name == "learning_rate" else max(1, round(value))
    return replace(wish, intent="draft", draft={**wish.draft, **found}) if found else wish


def _assumed(wish: Wish, words: str, state: dict[str, Any]) -> Wish:
    """What unclear words most likely mean: twice or half of the value, the last of several that were named."""
    text = " ".join(words.lower().split())
    if wish.intent == "vague" and isinstance(now := state.get("plan", {}).get(wish.term), int | float):
        value = now * (2 if re.search(_MORE, text) else 0.5)
        return replace(wish, intent="draft", draft={wish.term: value if isinstance(now, float) else max(1, int(value))})
    if wish.intent == "contradiction":
        last = {name: numbers[-1] for name, numbers in numbers_in(text).items()}
        return replace(wish, intent="draft", draft={**draft_values(text), **last})
    return wish


def _go_on(stage: Stage, missing: Stage, wishes: list[Wish], state: dict[str, Any]) -> str | Call:
    """Where "yes" and "go on" lead; never to a second run of what was trained already."""
    if stage == "monitor" and missing == "monitor" and state.get("runs"):
        live = _live(state)
        if live:
            return "run_status", {}
        last = state["runs"][-1]
        return section("planner", "run_ended", run=last["id"], state=last["state"])
    if stage == "draft" and missing == "monitor" and "plan" not in state["approvals"]:
        return "draft_config", {}  # the plan is looked at again before anything follows from it
    wanted = _following(stage, missing)
    return _in_stage(wanted, _work_of_stage(wanted, wishes, state, ""), state)


def _about_an_adapter(wish: Wish, state: dict[str, Any]) -> str | Call:
    """The call that a sentence about an adapter names; "my adapter" is the newest checkpoint of the project's runs."""
    arguments = dict(wish.call)
    if wish.intent == "compare_files" and not arguments:
        return section("planner", "which_files")
    if wish.intent == "edit" and not arguments:
        return section("planner", "which_edit")
    if NEWEST in arguments.values():
        newest = next((run["checkpoint"] for run in reversed(state.get("runs", [])) if run.get("checkpoint")), None)
        if newest is None:
            return section("planner", "no_adapter")
        arguments = {name: newest if value == NEWEST else value for name, value in arguments.items()}
    if "output" in arguments and "/" not in arguments["output"]:
        arguments["output"] = f"{state['project']}/{arguments['output']}"
    return _in_stage("monitor", (_AFTER_A_RUN[wish.intent], arguments), state)


def _resume(wish: Wish, words: str, state: dict[str, Any], bound: Collection[str]) -> str | Call:
    """Resume with what was named; after memory ran out, with the saving that the trainer offers, unless told not to."""
    if state["stage"] != "monitor":
        return "go_to", {"stage": "monitor"}
    if "resume_training" not in bound:
        return section("planner", "no_resume")
    offer = state["runs"][-1].get("offer") if state.get("runs") else None
    unchanged = "without" in words.lower() or "as it was" in words.lower()
    return "resume_training", {**wish.call, **({"settings": offer} if offer and not unchanged else {})}


def _following(stage: Stage, missing: Stage) -> Stage:
    """Where "go on" leads: captions are looked at again for what the person corrected, else to what is missing."""
    return "caption" if stage == "caption" and missing != "inspect" else missing


def _first_missing(state: dict[str, Any]) -> Stage:
    """The first stage whose file is not there yet; monitoring when all are."""
    made: dict[str, Stage] = {"report": "inspect", "captions": "caption", "config": "draft"}
    return next((stage for name, stage in made.items() if name not in state["artifacts"]), "monitor")


def _live(state: dict[str, Any]) -> str | None:
    return next((run["id"] for run in reversed(state.get("runs", [])) if run["state"] in LIVE_STATES), None)


def _in_stage(stage: Stage, call: Call, state: dict[str, Any]) -> Call:
    return call if state["stage"] == stage else ("go_to", {"stage": stage})


def _work_of_stage(stage: Stage, wishes: list[Wish], state: dict[str, Any], words: str) -> Call:
    """The stage's own tool, with the values the person named; the latest word on each counts."""
    if stage == "inspect":
        return "inspect_clips", {}
    if stage == "caption":
        return "caption_clips", _folded([wish.caption for wish in wishes])
    if stage == "draft":
        return _draft(wishes, state, words)
    return "start_training", {}


def _draft(wishes: list[Wish], state: dict[str, Any], words: str) -> Call:
    """Draft with all that was said so far; a plan that stands keeps it, so it is only given what is new."""
    if "config" not in state["artifacts"]:
        values = _folded([wish.draft for wish in wishes])
        skips = [wish.draft["skip"] for wish in wishes if "skip" in wish.draft]
        return "draft_config", _fitting({**values, **({"skip": _joined(skips)} if skips else {})}, state)
    values = dict(wishes[-1].draft if words else wishes[0].draft)
    if len(values) == 1 and (name := next(iter(values))) in _KEY_OF:
        reason = " ".join(words.split())[:_FREE_TEXT_REASON]
        return "change_config", {"name": _KEY_OF[name], "value": values[name], "reason": f"you said: {reason}"}
    if "skip" in values:
        values["skip"] = _joined([state["facts"].get("asked", {}).get("skip", []), values["skip"]])
    return "draft_config", _fitting(values, state)


def _joined(skips: list[list[str]]) -> list[str]:
    """All clips to skip, each once; an empty list takes back what stands before it."""
    found: list[str] = []
    for skip in skips:
        found = [*found, *(name for name in skip if name not in found)] if skip else []
    return found


def _fitting(values: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """The values without a direction that the objective has no use for: "what comes next" is said of many things."""
    objective = values.get("objective") or state["facts"].get("objective") or state.get("plan", {}).get("objective")
    if "direction" in values and not str(objective).endswith("_extension"):
        return {name: value for name, value in values.items() if name != "direction"}
    return values


def _folded(values: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: value for each in values for name, value in each.items()}


def _explain(term: str) -> str:
    glossary = sections("glossary")
    for name in (term, term.removesuffix("s"), term.replace("-", " "), term.replace("_", " ")):
        if name in glossary:
            return f"{name.capitalize()}: {glossary[name]}"
    return section("planner", "unknown_term", term=term, terms=", ".join(glossary))
