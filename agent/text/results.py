"""Every tool's result in a few plain lines; shared by the planner and the single-step verbs."""

from collections.abc import Callable
from typing import Any

from agent.text.memory import memory_summary, rehearse_summary
from agent.text.run import comparison_lines, diagnosis_lines, resume_lines, run_lines
from trainer_core.units import counted, size_text

SHOWN_PROBLEMS = 6


def _inspect_summary(result: dict[str, Any]) -> list[str]:
    lines = [result["sentence"], f"{result['clips_with_sound']} of {result['usable']} usable have sound."]
    problems = result["problems"]
    lines.extend(f"– {problem}" for problem in problems[:SHOWN_PROBLEMS])
    more = len(problems) - SHOWN_PROBLEMS + result.get("problems_not_shown", 0)
    if more > 0:
        lines.append(f"– and {counted(more, 'problem')} more, all in report.html.")
    return [*lines, f"Pictures and measures: {result['report_html']}"]


def _caption_summary(result: dict[str, Any]) -> list[str]:
    sources = ", ".join(f"{count} {source}" for source, count in result["by_source"].items())
    lines = [
        f"Captions of {counted(result['clips'], 'clip')} ({sources}): {result['written']} written now, "
        f"{result['kept']} kept, {result['needs_review']} to review."
    ]
    if result["trigger"]:
        lines.append(f"Trigger word: {result['trigger']}.")
    findings = ", ".join(f"{count} {name}" for name, count in result.get("findings", {}).items())
    if findings:
        lines.append(f"The lint found: {findings}.")
    cost = result.get("used", {}).get("cost_usd")
    if cost:
        lines.append(f"Cost so far in this run: ${cost:.2f}.")
    if result.get("remaining"):
        lines.append(f"{counted(result['remaining'], 'clip')} wait for your word on the spot check.")
    return lines + result["notes"]


def _fix_summary(result: dict[str, Any]) -> list[str]:
    left = ", ".join(f"{count} {name}" for name, count in result["findings"].items())
    lines = [f"{counted(result['mended'], 'caption')} mended, {result['rewritten']} written again."]
    return [*lines, f"Left: {left}." if left else "Nothing is left to mend.", *result["notes"]]


def _write_caption_summary(result: dict[str, Any]) -> list[str]:
    return [f"The caption of {result['clip']} is yours now: {result['caption']}"]


def _undo_captions_summary(result: dict[str, Any]) -> list[str]:
    line = f"Taken back: the last {result['action']}, {counted(result['back'], 'caption')}."
    return [line, f"{result['left_alone']} were edited since and stay as they are."] if result["left_alone"] else [line]


def _download_summary(result: dict[str, Any]) -> list[str]:
    return [f"{result['model']} is on this machine now ({size_text(result['gib'] * 2**30)})."]


def _draft_summary(result: dict[str, Any]) -> list[str]:
    values = {value["name"]: value["value"] for value in result["values"] if isinstance(value, dict)}
    shown = ", ".join(f"{name.split('.')[-1]} {value}" for name, value in values.items() if name in _NAMED_VALUES)
    kind = f"{result['objective']}{', picture alone' if result['video_only'] else ''}, {result['adapter']}"
    by_reason: dict[str, list[str]] = {}
    for one in result["left_out"][:SHOWN_PROBLEMS]:
        by_reason.setdefault(one["reason"], []).append(repr(one["path"]))
    left_out = [f"– {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    more = len(result["left_out"]) - SHOWN_PROBLEMS + result.get("left_out_not_shown", 0)
    if more > 0:
        left_out.append(f"– and {more} more, all in plan.md.")
    first = f"Plan: {kind}{', ' if shown else ''}{shown}."
    return [first, result["sentence"], *(["Left out:", *left_out] if left_out else []), *result["notes"]]


def _start_summary(result: dict[str, Any]) -> list[str]:
    if result["error"]:
        return [f"Run {result['run']} {result['state']}: {result['error']}"]
    return [
        f"Training started: run {result['run']}, {result['steps']} steps. It goes on when this chat ends.",
        'Ask "status" or "is it working?", or say "stop".',
    ]


def _stop_summary(result: dict[str, Any]) -> list[str]:
    return [result["message"]]


def _change_summary(result: dict[str, Any]) -> list[str]:
    if not result["diff"]:
        return [f"{result['name']} is {result['after']} already."]
    changed = f"Changed: {result['name']} {result['before']} → {result['after']}."
    return [changed, *([result["note"]] if result["note"] else [])]


def _experiments_summary(result: dict[str, Any]) -> list[str]:
    if not result["experiments"]:
        return ["No run yet, so there is nothing to compare."]
    lines = [_experiment_line(experiment) for experiment in result["experiments"]]
    return [*lines, *([result["advice"]] if result["advice"] else [])]


def _experiment_line(experiment: dict[str, Any]) -> str:
    changed = ", ".join(f"{change['name']} {change['before']} → {change['after']}" for change in experiment["changed"])
    first, last = experiment["loss_first"], experiment["loss_last"]
    loss = f"loss {first:.3f} → {last:.3f}" if first is not None and last is not None else "no loss measured"
    note = f" ({experiment['note']})" if experiment["note"] else ""
    state = f"{experiment['state']} at step {experiment['step']}"
    return f"Run {experiment['run']}: {changed or 'nothing changed'}; {state}, {loss}, {experiment['verdict']}{note}."


def _remedy_summary(result: dict[str, Any]) -> list[str]:
    lines = [result["sentence"]]
    for one in result["remedied"]:
        left = f", {one['seconds_left_away']:g} s left away" if one["seconds_left_away"] else ""
        lines.append(f"– {one['clip']}: {one['done']}; {', '.join(one['copies'])}{left}.")
    return [*lines, *result["notes"], result["inspection"]]


def _inputs_summary(result: dict[str, Any]) -> list[str]:
    lines = [result["sentence"], *result["notes"]]
    if result["unpaired"]:
        lines.append(f"Without a file: {', '.join(result['unpaired'])}.")
    return [*lines, result["inspection"]]


_NAMED_VALUES = ("optimization.steps", "optimization.learning_rate", "optimization.batch_size", "lora.rank")


def _sample_summary(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{counted(len(result['files']), 'sample')} of {counted(len(result['prompts']), 'prompt')}: {result['model']}.",
        f"Look at them: {result['page']}",
        *(f"– {sentence}" for sentence in (*result["conflicts"], *result["notes"])),
    ]
    if result["tiny"]:
        lines.append("The model is a tiny random one: this is noise and says nothing about the adapter.")
    return lines


def _export_summary(result: dict[str, Any]) -> list[str]:
    return [
        f"Exported run {result['run']}: {result['folder']}",
        *(f"– {form}: {checked}" for form, checked in result["checked"].items()),
        *(f"– {note}" for note in result["notes"]),
    ]


def _push_summary(result: dict[str, Any]) -> list[str]:
    seen = "public" if result["public"] else "private"
    return [f"Pushed {counted(len(result['files']), 'file')} to {result['repo_id']} ({seen}): {result['url']}"]


SUMMARIES: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "project_facts": lambda result: list(result["facts"]),
    "plan_memory": memory_summary,
    "rehearse_training": rehearse_summary,
    "inspect_clips": _inspect_summary,
    "caption_clips": _caption_summary,
    "caption_rest": _caption_summary,
    "retune_captions": _caption_summary,
    "fix_captions": _fix_summary,
    "write_caption": _write_caption_summary,
    "undo_captions": _undo_captions_summary,
    "download_captioner": _download_summary,
    "make_inputs": _inputs_summary,
    "remedy_clips": _remedy_summary,
    "undo_remedies": _remedy_summary,
    "draft_config": _draft_summary,
    "change_config": _change_summary,
    "list_experiments": _experiments_summary,
    "start_training": _start_summary,
    "run_status": run_lines,
    "stop_training": _stop_summary,
    "sample_adapter": _sample_summary,
    "resume_training": resume_lines,
    "examine_adapter": diagnosis_lines,
    "compare_adapters": comparison_lines,
    "edit_adapter": lambda result: [result["sentence"]],
    "export_adapter": _export_summary,
    "push_to_hub": _push_summary,
}
