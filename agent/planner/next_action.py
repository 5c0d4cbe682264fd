"""The planner's next move: from the wishes of an utterance and where the work stands to words or one tool call."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from agent.planner.adapter_slots import NEWEST
from agent.planner.answers.assistant import term
from agent.planner.answers.kinds import answer_to
from agent.planner.calls import Call, Spoken, live_run
from agent.planner.caption_slots import correction_in
from agent.planner.clauses import VALUES
from agent.planner.draft_call import draft_call
from agent.planner.in_context import assumed, in_context
from agent.planner.intents import Wish, is_question, read_goal
from agent.planner.offers import not_understood
from agent.state import STAGES, Stage
from prompts.render import section

_STAGE_OF: dict[str, Stage] = {"inspect": "inspect", "caption": "caption", "draft": "draft", "start": "monitor"}
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
_ONE_CALL = {
    **dict.fromkeys(_ABOUT_A_RUN, "run_status"),
    **_AFTER_A_RUN,
    "memory": "plan_memory",
    "stop": "stop_training",
    "resume": "resume_training",
    "compare": "list_experiments",
}
"""Wishes that one call of one tool fulfils; the others go through the stages of the work."""


def answer_all(
    wishes: tuple[Wish, ...],
    before: list[Wish],
    state: dict[str, Any],
    bound: Collection[str],
    called: list[Call],
    *,
    assume: bool = False,
    told: str = "",
) -> str | Call | Spoken:
    """Answer the wishes of the last utterance in their order, as far as the first call that is still to be made.

    `before`: the wishes of the goal and of earlier utterances; `called`: the calls made since this one; `told`: what
    stands before the answers.
    """
    done = max((index + 1 for index, wish in enumerate(wishes) if _is_done(wish, state, called)), default=0)
    said = [told] if told else []
    for index, wish in enumerate(wishes[done:], start=done):
        move = answer(wish, before, state, bound, assume=assume)
        if isinstance(move, str):
            said.append(move)
        if isinstance(move, str) or move in called:  # a call that was made answers this wish as well
            continue
        said += [_how_much(one, state) for one in wishes[index + 1 :] if one.intent == "vague"]
        later = [one.words for one in wishes[index + 1 :] if _goes_unheard(wish, one)]
        if later:
            said.append(section("planner", "later", words=" · ".join(later)))
        return Spoken("\n".join(said), move) if said else move
    return "\n".join(said)


def answer(
    wish: Wish, before: list[Wish], state: dict[str, Any], bound: Collection[str], *, assume: bool = False
) -> str | Call:
    """Answer one wish: with words, with a tool of this stage, or by going to the stage that has it.

    Training needs a plan, a plan captions, captions the report: what is missing is made first, in this order.
    `assume`: no question is left, so what is unclear is taken as it most likely was meant.
    """
    words = wish.words
    assume = assume or _is_put_to_a_card(wish, words, state)
    wish = in_context(assumed(wish, words, state) if assume else wish, words, before, state)
    stage: Stage = state["stage"]
    missing = _first_missing(state)
    spoken = _in_words(wish, state)
    if spoken is not None:
        return spoken
    if wish.intent == "question" and wish.question is not None:
        answered = answer_to(wish.question, words, state)
        return _in_stage("monitor", answered, state) if answered == ("run_status", {}) else answered
    corrected = caption_corrected(words, wish, state, bound)
    if corrected is not None:
        return corrected
    if wish.intent in _ABOUT_A_RUN:
        return _in_stage("monitor", ("run_status", {}), state)
    if wish.intent in _AFTER_A_RUN:
        return _about_an_adapter(wish, state)
    if wish.intent in _NEEDS_A_PLAN and missing == "monitor":
        return _in_stage("draft", (_NEEDS_A_PLAN[wish.intent], {}), state)
    if wish.intent in _NEEDS_A_PLAN:
        return _in_stage(missing, _work_of_stage(missing, before, wish, state, ""), state)
    if wish.intent == "stop":
        return _in_stage("monitor", ("stop_training", {}), state)
    if wish.intent == "resume":
        return _resume(wish, words, state, bound)
    if wish.intent == "compare":
        return _in_stage("draft", ("list_experiments", {}), state)
    if wish.intent in _STAGE_OF:
        wanted = min(_STAGE_OF[wish.intent], missing, key=STAGES.index)
        return _in_stage(wanted, _work_of_stage(wanted, before, wish, state, words), state)
    if wish.intent in ("yes", "empty"):
        return _go_on(stage, missing, before, wish, state)
    return _unclear(wish, stage, missing, before, state, bound)


def caption_corrected(words: str, wish: Wish, state: dict[str, Any], bound: Collection[str]) -> str | Call | None:
    """What a correction of a caption leads to; None where the words make none."""
    asked = state["stage"] == "caption" and wish.intent in ("other", "caption", "no")
    if wish.draft or wish.caption or not (asked or wish.intent in ("other", "caption")):
        return None
    found = correction_in(words, state.get("captions_shown", []), asked=asked)
    if found is None or (state["stage"] == "caption" and "write_caption" not in bound):
        return None
    if found.call is not None:
        return _in_stage("caption", ("write_caption", found.call), state)
    return section("planner", "what_caption" if found.clip else "which_caption", clip=found.clip or "")


def begin_stage(state: dict[str, Any], wishes: list[Wish]) -> str | Call:
    """The first move in a stage that the work has just come to."""
    if state["stage"] == "monitor" and state.get("runs"):
        live = live_run(state)
        return section(
            "planner", "plan_while_running" if live else "plan_after_run", run=live or state["runs"][-1]["id"]
        )
    last = wishes[-1]
    named = last.words if last.intent == "caption" and last.draft else ""  # the plan's part of what was said
    return _work_of_stage(state["stage"], wishes[:-1], last, state, named)


def goal_wish(state: dict[str, Any], replaced: str, *, is_latest: bool) -> Wish:
    """What the goal names, less what project.json settles already.

    `replaced`: the goal before it, whose values no longer hold where this one names no others. `is_latest`: nothing
    was said since the goal, so it wins over what was asked for before it.
    """
    wish, facts = read_goal(state["goal"]), state["facts"]
    settled = facts if is_latest else {**facts, **facts.get("asked", {})}
    draft = {name: value for name, value in wish.draft.items() if settled.get(name) is None}
    if is_latest and replaced:
        standing = {**facts, **facts.get("asked", {})}
        was = {name for name, value in read_goal(replaced).draft.items() if standing.get(name) == value}
        draft |= {name: value for name, value in wish.draft.items() if name in was}
        forgotten = sorted(was - set(wish.draft))
        draft |= {"forget": forgotten} if forgotten else {}
    return replace(
        wish,
        draft=draft,
        caption={name: value for name, value in wish.caption.items() if settled.get(name) is None},
    )


def _is_done(wish: Wish, state: dict[str, Any], called: list[Call]) -> bool:
    """Whether a call of this turn was this wish's own."""
    names = [name for name, _ in called]
    if wish.intent in _ONE_CALL:
        return _ONE_CALL[wish.intent] in names
    if wish.intent == "question" and wish.question is not None:
        return answer_to(wish.question, wish.words, state) in called
    if wish.intent in VALUES:
        return any(name in names for name in ("draft_config", "change_config", "caption_clips"))
    return "start_training" in names if wish.intent == "start" else wish.intent in ("yes", "empty") and bool(called)


def _goes_unheard(now: Wish, later: Wish) -> bool:
    """Whether `later` is lost when the stages of the work follow `now`: cards come between, and a turn ends there."""
    through_stages = now.intent not in _ONE_CALL and now.intent != "question"
    return through_stages and (later.intent in _ONE_CALL or later.intent in VALUES - {"vague"})


def _in_words(wish: Wish, state: dict[str, Any]) -> str | None:
    """The answers that need no tool; None where one is needed."""
    if wish.intent == "term":
        return term(wish.term, wish.words)
    if wish.intent == "contradiction":
        return section("planner", "contradiction", what=wish.term)
    if wish.intent == "vague":
        if wish.term in _VAGUE_SECTIONS:
            return section("planner", _VAGUE_SECTIONS[wish.term], words=wish.term)
        return _how_much(wish, state)
    return section("planner", wish.intent) if wish.intent in ("refused", "deferred") else None


def _how_much(wish: Wish, state: dict[str, Any]) -> str:
    """The question for the number that a vague wish lacks."""
    now = state.get("plan", {}).get(wish.term)
    known = f" It is {now} now." if now is not None else ""
    return section("planner", "vague", value=wish.term.replace("_", " "), now=known)


_VAGUE_SECTIONS = {
    "trigger": "which_trigger",
    "longer": "longer_what",
    "clips": "which_clips",
    **dict.fromkeys(("half", "a third", "a quarter", "double", "twice", "triple", "ten times"), "how_many_of_what"),
}


def _unclear(
    wish: Wish, stage: Stage, missing: Stage, before: list[Wish], state: dict[str, Any], bound: Collection[str]
) -> str | Call:
    """Words that name nothing known: a note to whoever writes captions, a goal before anything was made, else help."""
    words = wish.words
    asked = is_question(words)
    if stage == "caption" and state.get("captions_by_model") and "retune_captions" in bound and not asked:
        return "retune_captions", {"note": words}
    if stage == missing != "monitor" and wish.intent == "other" and not asked:
        return _work_of_stage(stage, before, wish, state, words)
    if wish.intent == "no":
        return section("planner", "no_captions" if stage == "caption" else "no")
    if stage == "caption" and not asked:
        return section("planner", "no_captions")
    return not_understood(words, state, state.get("last_said", ""))


def _is_put_to_a_card(wish: Wish, words: str, state: dict[str, Any]) -> bool:
    """Whether a value was named without a number in answer to a card: what is assumed stands on the next one."""
    return wish.intent == "vague" and bool(state.get("standing")) and wish.term.replace("_", " ") in words.lower()


def _go_on(stage: Stage, missing: Stage, before: list[Wish], wish: Wish, state: dict[str, Any]) -> str | Call:
    """Where "yes" and "go on" lead; never to a second run of what was trained already."""
    if stage == "monitor" and missing == "monitor" and state.get("runs"):
        if live_run(state):
            return "run_status", {}
        last = state["runs"][-1]
        return section("planner", "run_ended", run=last["id"], state=last["state"])
    if stage == "draft" and missing == "monitor" and "plan" not in state["approvals"]:
        return "draft_config", {}  # the plan is looked at again before anything follows from it
    wanted = "caption" if stage == "caption" and missing != "inspect" else missing
    return _in_stage(wanted, _work_of_stage(wanted, before, wish, state, ""), state)


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


def _first_missing(state: dict[str, Any]) -> Stage:
    """The first stage whose file is not there yet; monitoring when all are."""
    made: dict[str, Stage] = {"report": "inspect", "captions": "caption", "config": "draft"}
    return next((stage for name, stage in made.items() if name not in state["artifacts"]), "monitor")


def _in_stage(stage: Stage, call: Any, state: dict[str, Any]) -> Call:
    return call if state["stage"] == stage else ("go_to", {"stage": stage})


def _work_of_stage(stage: Stage, before: list[Wish], wish: Wish, state: dict[str, Any], words: str) -> Call:
    """The stage's own tool, with the values the user named; the latest word on each counts."""
    wishes = [*before, wish]
    if stage == "inspect":
        return "inspect_clips", {}
    if stage == "caption":
        return "caption_clips", {name: value for one in wishes for name, value in one.caption.items()}
    if stage == "draft":
        return draft_call(wishes, state, words)
    return "start_training", {}
