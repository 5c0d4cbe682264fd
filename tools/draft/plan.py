"""plan.md: what will be trained, on which clips and why, in a filmmaker's words."""

from typing import Any

from tools.draft.choices import Draft
from tools.draft.objective_words import OBJECTIVE_WORDS
from tools.inspect.discover.names import displayed
from tools.inspect.report.report import Clip
from tools.inspect.report.variety import lost_in
from tools.plain_text import plain_text
from trainer_core.config import is_tiny
from trainer_core.units import counted

LEAST_SAID_S = 0.5
"""Footage in no sample from which it is worth a word, in seconds."""
_ADAPTERS = {
    "lora": "a LoRA: a small file that bends the model, and that you own",
    "ic-lora": "an IC-LoRA: a small file that teaches the model to follow a reference, and that you own",
    "full": "the whole model: every weight is trained, and the file is as large as the model",
}


def plan_text(draft: Draft, captions_to_review: int, said: str = "") -> str:
    """Return plan.md. `said`: the words that the objective was read from; empty where the clips alone led to it."""
    sections = [
        ("What you said, and what I understood", _understood(draft, said)),
        ("What will be trained", _what(draft)),
        ("On which clips", _clips(draft)),
        ("Which values, and why", _values(draft)),
        ("What this rests on", _assumptions(draft, captions_to_review)),
        ("What happens next", _next(draft)),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return f"# Training plan\n\n{body}\n"


def clip_count_sentence(draft: Draft) -> str:
    """Return `38 of 50 clips will train.`"""
    total = len(draft.training) + len(draft.left_out)
    held_out = len(draft.split.heldout)
    judged = f", {held_out} {'is' if held_out == 1 else 'are'} held out to judge it by" if held_out else ""
    return f"{len(draft.training) - held_out} of {counted(total, 'clip')} will train{judged}."


def code_span(text: str) -> str:
    """Return untrusted text as a Markdown code span that it can't leave."""
    return f"`{displayed(text).replace('`', chr(39))}`"


def _understood(draft: Draft, said: str) -> str:
    """The words beside their meaning, so that a misunderstanding shows before anything is trained."""
    makes = OBJECTIVE_WORDS[draft.objective].makes
    alone = " The sound is left out." if draft.video_only else ""
    quoted = _escaped(code_span(" ".join(said.split()))) if said.strip() else "nothing about what to learn"
    likeliest = "" if said.strip() else "the likeliest for these clips: "
    understood = f"{likeliest}it learns to make {makes} ({draft.objective}).{alone}"
    table = f"| you said | I understood |\n| --- | --- |\n| {quoted} | {understood} |"
    return f"{table}\n\nNot what you meant? Say it in other words; nothing was trained yet."


def _what(draft: Draft) -> str:
    strategy = draft.config["training_strategy"]
    roles = "\n".join(f"- {name}: {_role(strategy[name])}" for name in ("video", "audio"))
    what = f"{draft.objective}, video only" if draft.video_only else draft.objective
    return f"Objective **{what}**, as {_ADAPTERS[draft.adapter]}.\n\n{roles}"


def _role(section: dict[str, Any] | None) -> str:
    if section is None:
        return "absent, it is not touched"
    conditions = ", ".join(condition["type"] for condition in section.get("conditions", []))
    role = "learned" if section["is_generated"] else "given to the model, not learned"
    return f"{role} (conditions: {conditions})" if conditions else role


def _clips(draft: Draft) -> str:
    samples = [sample for clip in draft.training for sample in clip.samples]
    lines = [
        f"Trained on {draft.coverage.sentence}.",
        f"{clip_count_sentence(draft)} Cut to the training size, they make {counted(len(samples), 'sample')}.",
    ]
    remainder = next((lost for lost in lost_in(draft.training) if lost.reason == "remainder"), None)
    if remainder is not None and remainder.seconds >= LEAST_SAID_S:
        lines.append(
            f"{remainder.seconds:.0f} s of {counted(remainder.clips, 'clip')} go into no sample: tails shorter than "
            "half of the usual one, and silence."
        )
    if draft.left_out:
        lines.append("\nThese don't train:\n")
        lines += [f"- {code_span(clip.path)}: {plain_text(reason)}" for clip, reason in draft.left_out]
    lines.append("\nThese train:\n")
    lines += [f"- {code_span(clip.path)}" for clip in _side(draft, held_out=False)]
    lines.append(f"\nHeld out, to judge the training by: {draft.split.reason}.")
    if draft.split.heldout:
        lines.append("\nThese are never trained on, and none of those above looks like one of them:\n")
        lines += [f"- {code_span(clip.path)}" for clip in _side(draft, held_out=True)]
    return "\n".join(lines)


def _side(draft: Draft, *, held_out: bool) -> list[Clip]:
    return [clip for index, clip in enumerate(draft.training) if (index in draft.split.heldout) == held_out]


def _values(draft: Draft) -> str:
    rows = ["| value | | why |", "| --- | --- | --- |"]
    for name, value, reason in draft.values():
        rows.append(f"| {name} | {_cell(value)} | {_escaped(reason)} |")
    return "\n".join(rows) + "\n\nEvery other value is the objective's recipe; config.yaml holds them all."


def _cell(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return counted(len(value), "entry")
    shown = (
        ", ".join(str(item) for item in value) if isinstance(value, list) else "none" if value is None else str(value)
    )
    return _escaped(code_span(shown)) if shown else "none"


def _escaped(text: str) -> str:
    return plain_text(text).replace("|", "\\|")


def _assumptions(draft: Draft, captions_to_review: int) -> str:
    lines = [f"- {note}" for note in draft.notes]
    if draft.assumptions:
        lines.append("- Nobody measured or asked for these; say so if one is wrong:")
        lines += [f"  - {plain_text(assumption)}" for assumption in draft.assumptions]
    if captions_to_review:
        count = f"{captions_to_review} of {len(draft.training)} captions"
        lines.append(
            f"- {count} are drafts nobody has reviewed. The adapter learns what captions say: read them first."
        )
    if is_tiny(draft.config["model"]["model_path"]):
        lines.append(
            "- The model is **tiny and random**: it shows that your data, the settings and the machine work. It knows "
            "nothing, so neither it nor its adapter can generate anything."
        )
    lines.append(
        "- Nobody can promise from these numbers that the result will please you: that shows only in what it generates."
    )
    return "\n".join(lines)


def _next(draft: Draft) -> str:
    steps = draft.config["optimization"]["steps"]
    return "\n".join(
        [
            "1. Read this plan and config.yaml; change what you like in either the talk or the file.",
            "2. After your yes the clips are encoded once (their latents are kept in .precomputed), then "
            f"{counted(steps, 'step')} of training run in a process of its own: closing the chat doesn't end it.",
            "3. `ltx-agent status` shows how it goes; the adapter appears in the run's folder under checkpoints/.",
        ]
    )
