"""The verbs from clips to a plan: prepare, inspect, draft, encode."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.options import (
    AdapterOption,
    CaptionerOption,
    ClipsArgument,
    GoalOption,
    JsonOption,
    LlmOption,
    ModelOption,
    ObjectiveOption,
    ProjectArgument,
    ProjectOption,
    TargetArgument,
)
from agent.cli.output import check_objective, one_step, progress, say, say_json

if TYPE_CHECKING:
    from agent.cli.progress import ProgressBar
    from agent.session.events import Event, Question
    from agent.ui.plain.shown import EventLines


def prepare(
    clips: ClipsArgument,
    goal: GoalOption = None,
    objective: ObjectiveOption = None,
    adapter: AdapterOption = None,
    model: ModelOption = None,
    project: ProjectOption = None,
    captioner: CaptionerOption = None,
    llm: LlmOption = "auto",
    yes: Annotated[bool, typer.Option("--yes", help="Approve the captions and the plan unseen.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Inspect, caption and draft in one go: from clips to a training plan."""
    check_objective(objective)
    from agent.headless.prepare import prepare as run_prepare
    from agent.llm.choose import choose_model
    from agent.session.projects import project_of
    from agent.ui.plain.shown import EventLines

    chat_model = choose_model(llm)
    opened = project_of(clips, project, goal=goal, objective=objective, adapter=adapter, model=model)
    fixed = {"objective": objective, "adapter": adapter, "captioner": captioner}
    with progress() as bar:
        shown = EventLines(bar)
        document = run_prepare(
            opened,
            chat_model,
            {name: value for name, value in fixed.items() if value is not None},
            lambda question: (yes and question.approval != "fallback") or _approve(question, bar, as_json),
            lambda event: _show(event, shown, as_json),
            lambda: None if yes else _reply(bar, as_json),
        )
    if as_json:
        say_json(document)
        return
    say(f"Project: {document['project']}")
    for name, path in document["artifacts"].items():
        say(f"  {name}: {path}")
    say(f"Next: {document['next']}")


def inspect(
    target: TargetArgument,
    goal: GoalOption = None,
    model: ModelOption = None,
    buckets: Annotated[
        str | None, typer.Option("--buckets", help="Sizes to cut to, WxHxF;WxHxF [proposed from the clips].")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Budget of a sample for proposing sizes; 4032 is 768x448x89.")
    ] = None,
    frame_rate: Annotated[float | None, typer.Option("--frame-rate", help="To work at [what most clips have].")] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the clips: what each holds, what is wrong with it, what can be trained."""
    from agent.session.projects import project_of
    from tools.inspect.tool import INSPECT_TOOL

    wishes = {"buckets": buckets, "max_tokens": max_tokens, "frame_rate": frame_rate}
    one_step(project_of(target, project, goal=goal, model=model), INSPECT_TOOL, wishes, as_json)


def draft(
    target: TargetArgument,
    goal: GoalOption = None,
    objective: ObjectiveOption = None,
    adapter: AdapterOption = None,
    model: ModelOption = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Optimizer steps.")] = None,
    rank: Annotated[int | None, typer.Option("--rank", min=1, max=1024, help="Rank of the LoRA.")] = None,
    lora_kind: Annotated[
        str | None,
        typer.Option("--lora-kind", help="lora, rslora, dora or lokr; what each is for stands in the schema."),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Above 0, below 1.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Samples a step.")] = None,
    held_out: Annotated[
        float | None, typer.Option("--held-out", help="Share of samples to judge training by, 0 to 0.5 [a tenth].")
    ] = None,
    held_out_clips: Annotated[
        list[str] | None, typer.Option("--held-out-clip", help="Hold out this clip, or NAME*; may stand several times.")
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the training plan: config.yaml, each value with its reason."""
    check_objective(objective)
    from agent.session.projects import project_of
    from tools.draft.tool import DRAFT_TOOLS

    opened = project_of(target, project, goal=goal, objective=objective, adapter=adapter, model=model)
    arguments = {
        "objective": objective,
        "adapter": adapter,
        "steps": steps,
        "rank": rank,
        "lora_kind": lora_kind,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "held_out": held_out,
        "held_out_clips": held_out_clips or None,
    }
    one_step(opened, DRAFT_TOOLS[0], arguments, as_json)


def encode(
    project: ProjectArgument = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Processes that share the work [one a GPU].")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Afterwards decode a few samples, to look at and to listen to.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Encode the clips to latents; training does it too, for what is missing."""
    from dataclasses import asdict

    from agent.session.projects import existing_project
    from tools.inspect.discover.names import displayed
    from trainer_core.config import load_config
    from trainer_core.config_paths import resolve_paths

    opened = existing_project(project)
    config = resolve_paths(load_config(opened.config_path), opened.path)
    import torch

    from trainer_core.data.encoding.share import encode_shared

    with progress() as report:

        def tell(reason: str) -> None:
            report.clear()
            say(reason, err=True)

        summary = encode_shared(config, processes or max(1, torch.cuda.device_count()), report, tell)
    looked = None
    if check:
        from trainer_core.data.encoding.look_back import look_back

        with progress() as report:
            looked = look_back(config, opened.path / "look-back", report)
    if as_json:
        checked = {"check": asdict(looked)} if looked is not None else {}
        say_json({"project": str(opened.path), **asdict(summary), **checked})
        return
    say(f"{summary.samples} samples: {summary.encoded} files encoded, {summary.reused} found unchanged.")
    if looked is not None:
        files = [*([looked.picture] if looked.picture else []), *looked.sounds]
        say(f"{len(looked.samples)} samples {looked.label}{f' ({looked.note})' if looked.note else ''}:")
        for number, name in enumerate(looked.samples, start=1):
            say(f"  {number}: {displayed(name)}")
        for file in files:
            say(f"  {file}")


def _approve(question: "Question", bar: "ProgressBar", as_json: bool) -> bool | str:
    """Ask a person, where there is one to ask: yes, no, or words about what is wrong."""
    bar.clear()
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    from agent.session.slash import parse
    from agent.ui.plain.face import ask_approval, show_card
    from agent.ui.plain.terminal import Terminal

    terminal = Terminal()
    show_card(question, terminal)
    while True:
        answer = ask_approval(question, terminal)
        if answer is None:
            return False
        if isinstance(answer, str) and answer.startswith("/") and parse(answer) is not None:
            say("Commands are for `ltx-agent chat`. Here: y, n, or say in your words what is wrong.")
        elif answer != "":
            return answer


def _reply(bar: "ProgressBar", as_json: bool) -> str | None:
    """The user's words after a question, where there is somebody to ask."""
    bar.clear()
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    from agent.ui.plain.terminal import Terminal

    return Terminal().ask("Your answer") or None


def _show(event: "Event", shown: "EventLines", as_json: bool) -> None:
    from agent.session.events import Progressed

    if not as_json or isinstance(event, Progressed):
        shown.show(event)
