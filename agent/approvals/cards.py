"""The cards a person is shown to decide on: what is asked, what to judge by, what a yes costs. Reads only."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agent.llm.settings import Settings
from agent.session.events import Question
from agent.text.sanitize import clean, clean_lines
from tools.draft.annotated import is_as_drafted
from tools.draft.coverage import read_coverage
from tools.draft.edit import check_text
from tools.monitor.cost import start_costs
from tools.prices import money_of
from tools.project import Project
from tools.spec import FREE, CostKind, CostLine, Preview, Tool
from trainer_core.config import TrainingConfig, load_config
from trainer_core.errors import LtxError
from trainer_core.files import read_jsonl
from trainer_core.units import counted

SPOT_CHECK_CAPTIONS = 3
PLAN_LINES = 80
FILES_SHOWN = 5


def captions_card(project: Project) -> Question:
    """A spot check: the captions that most need a person's eye."""
    rows = _captions(project)
    waiting = sum(row["needs_review"] for row in rows)
    lines = [f"{counted(len(rows), 'caption')}, {waiting} of them drafts that need a review."]
    for number, row in enumerate(captions_shown(project), start=1):
        lines.append(f"{number}. {clean(row['path'])} ({row['source']}): {clean(row['caption'])}")
    if len(rows) > SPOT_CHECK_CAPTIONS:
        lines.append("/clips opens all of them.")
    lines.append("Not right? Say what is wrong, such as: the second caption is wrong, it's a fox.")
    return Question("captions", "Are these captions right?", lines, FREE)


def captions_shown(project: Project) -> list[dict[str, Any]]:
    """The captions that the card shows, in its order: those that need a person's eye first."""
    return sorted(_captions(project), key=lambda row: not row["needs_review"])[:SPOT_CHECK_CAPTIONS]


def _captions(project: Project) -> list[dict[str, Any]]:
    return read_jsonl(project.captions_path) if project.captions_path.exists() else []


def inputs_card(project: Project) -> Question:
    """The conditioning inputs: what is given to the model beside the text, and where each comes from."""
    lines = conditioning_inputs(project)
    return Question("inputs", "Are these the inputs the training shall be given?", lines, FREE)


def plan_card(project: Project) -> Question:
    """The plan as it stands: first of all on how much of what was given it trains."""
    lines = [*_trained_on(project), *_plan_to_read(project), *_forecast(project)]
    return Question("plan", "Is this plan right?", lines, FREE)


def call_card(
    tool: Tool, arguments: BaseModel, project: Project, unseen: list[str], settings: Settings
) -> Question | None:
    """The card of one tool call; None when these arguments need no approval here.

    `unseen` names what was never reviewed as it now is; `settings` have the price of an hour of the GPU.
    """
    if tool.needs_approval is None:
        return None
    if tool.preview is None:
        given = ", ".join(f"{name} {value}" for name, value in arguments.model_dump(exclude_none=True).items())
        preview: Preview | None = Preview(f"{tool.name}: allow it?", [clean(given)] if given else [])
    else:
        preview = tool.preview(project, arguments)
    if preview is None:
        return None
    lines = [clean(line) for line in preview.lines]
    if unseen:
        lines.append(f"Not reviewed as they now are: {', '.join(unseen)}.")
    costs = _every_kind(tool, preview.costs, settings)
    return Question(preview.approval or tool.needs_approval, preview.question, lines, costs)


def cost_lines(costs: list[CostLine]) -> list[str]:
    """The costs as a person reads them: a line a kind, what costs nothing in one."""
    free = [cost.kind for cost in costs if cost.value == 0 and cost.text == FREE[0].text]
    lines = [f"{cost.kind}: {clean(cost.text)} ({cost.basis})" for cost in costs if cost.kind not in free]
    return [*lines, *([f"{', '.join(free)}: {FREE[0].text}"] if free else [])]


def fallback_card(error: dict[str, Any]) -> Question:
    """Consent to go on without the language model."""
    lines = [clean_lines(f"{error['message']} {error['hint']}".strip())]
    lines.append("The built-in planner is made of rules: it knows the whole path, but not every sentence.")
    return Question("fallback", "Go on with the built-in planner?", lines, FREE)


def as_json(question: Question) -> dict[str, Any]:
    """The card as an interrupt carries it."""
    return asdict(question)


def conditioning_inputs(project: Project) -> list[str]:
    """One line for every input a person should know of: masks, references, boundaries, regions. Empty: none.

    The first frame of each clip is the clip's own, so it needs nobody's word.
    """
    config = _config(project)
    if config is None:
        return []
    rows = read_jsonl(project.dataset_path) if project.dataset_path.exists() else []
    lines = []
    for modality in ("video", "audio"):
        section = getattr(config.strategy, modality)
        for condition in section.conditions if section is not None else []:
            line = _input_line(modality, condition.model_dump(), rows)
            if line:
                lines.append(line)
    return lines


def inputs_fingerprint(project: Project) -> str:
    """Changes when an input changes; empty when there is none to approve."""
    lines = conditioning_inputs(project)
    return hashlib.sha256(json.dumps(lines).encode("utf-8", "surrogateescape")).hexdigest() if lines else ""


def _every_kind(tool: Tool, costs: list[CostLine], settings: Settings) -> list[CostLine]:
    """Time, memory, disk and money: what a tool doesn't say of itself is said to be unknown, never left out."""
    kinds: tuple[CostKind, ...] = ("time", "memory", "disk")
    named = {cost.kind for cost in costs}
    told = [*costs, *(CostLine(kind, f"{tool.name} can't tell beforehand") for kind in kinds if kind not in named)]
    return [*told, *_money(told, settings)]


def _money(costs: list[CostLine], settings: Settings) -> list[CostLine]:
    """What the time costs, where the settings name a price and the tool has not named the money itself."""
    times = [cost for cost in costs if cost.kind == "time"]
    if any(cost.kind == "money" for cost in costs):
        return []
    return [money_of(times[0], settings.prices)]


def _input_line(modality: str, condition: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    kind = condition["type"]
    often = "" if condition["probability"] == 1 else f" in {condition['probability']:.0%} of the steps"
    if kind in ("prefix", "suffix"):
        end = "beginning" if kind == "prefix" else "end"
        made = "what comes after it" if kind == "prefix" else "what comes before it"
        count = condition["temporal_boundary"]
        return f"{modality}: the {end} of each clip ({count} latent frames) is given{often}; {made} is learned."
    if kind == "spatial_crop":
        y1, x1, y2, x2 = condition["spatial_region"]
        return f"{modality}: the picture within x {x1}–{x2}, y {y1}–{y2} is given{often}; what lies around is learned."
    if kind in ("mask", "reference"):
        column = f"{modality}_mask" if kind == "mask" else f"reference_{modality}"
        files = [str(row[column]) for row in rows if row.get(column)]
        shown = ", ".join(clean(name) for name in files[:FILES_SHOWN])
        more = f" and {len(files) - FILES_SHOWN} more" if len(files) > FILES_SHOWN else ""
        return f"{modality}: a {kind} file for {len(files)} of {len(rows)} clips{often}: {shown or 'none'}{more}."
    return ""


def _config(project: Project) -> TrainingConfig | None:
    try:
        return load_config(project.config_path)
    except LtxError:  # the plan's card and every later step name what is wrong with the file
        return None


def _trained_on(project: Project) -> list[str]:
    coverage = read_coverage(project)
    return [f"Trained on {clean(coverage.sentence)}.", ""] if coverage is not None else []


def _plan_to_read(project: Project) -> list[str]:
    edited = _edited_by_hand(project)
    if not project.plan_path.exists():
        return [f"The values and their reasons are in {_name(project.config_path)}."]
    lines = clean_lines(project.plan_path.read_text(encoding="utf-8", errors="surrogateescape")).strip().split("\n")
    if len(lines) > PLAN_LINES:
        lines = [*lines[:PLAN_LINES], f"… {len(lines) - PLAN_LINES} lines more in {_name(project.plan_path)}."]
    return [*lines, "", *edited, f"Every value with its reason: {_name(project.config_path)}."]


def _forecast(project: Project) -> list[str]:
    """What the training itself will take once it is started: its card says it again, measured where it can be."""
    try:
        costs = start_costs(project)
    except LtxError:
        return []
    return [
        "",
        "Saying yes here starts nothing. The training will then take:",
        *(f"- {line}" for line in cost_lines(costs)),
    ]


def _edited_by_hand(project: Project) -> list[str]:
    """What a person should know of a config.yaml that is not as it was drafted: its faults, with their lines."""
    path = project.config_path
    if not path.exists() or is_as_drafted(path):
        return []
    faults = check_text(path.read_text(encoding="utf-8", errors="replace"), path.name)
    lines = [f"{path.name} was edited by hand since it was drafted: what it says counts, not this plan."]
    return lines + [clean(f"It can't be used: {fault.message}") for fault in faults]


def _name(path: Path) -> str:
    return clean(str(path))
