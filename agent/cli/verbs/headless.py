"""The verb of CI: run, the whole pipeline without a person."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.cli.options import (
    AdapterOption,
    CaptionerOption,
    ClipsArgument,
    GoalOption,
    LlmOption,
    ModelOption,
    ObjectiveOption,
    ProjectOption,
)
from agent.cli.output import check_objective


def run(
    clips: ClipsArgument,
    headless: Annotated[bool, typer.Option("--headless", help="Without a person: JSON events, one a line.")] = False,
    policy: Annotated[Path | None, typer.Option("--policy", help="What it may do and spend.")] = None,
    goal: GoalOption = None,
    objective: ObjectiveOption = None,
    adapter: AdapterOption = None,
    model: ModelOption = None,
    captioner: CaptionerOption = None,
    project: ProjectOption = None,
    llm: LlmOption = "auto",
    summary: Annotated[Path | None, typer.Option("--summary", help="Append a Markdown summary here.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write the data's problems as JUnit XML.")] = None,
    sarif: Annotated[Path | None, typer.Option("--sarif", help="Write the data's problems as SARIF.")] = None,
) -> None:
    """Run the whole pipeline, clips to a trained adapter, under a policy file. Run again, it goes on where it was."""
    from agent.headless.ci_report import write_junit, write_sarif, write_summary
    from agent.headless.policy import load_policy
    from trainer_core.errors import ConfigError, LtxError

    if not headless or policy is None:
        raise ConfigError(
            "`run` works without a person: it needs --headless and --policy FILE.", "To talk, use `ltx-agent chat`."
        )
    check_objective(objective)
    from agent.context import AgentContext
    from agent.headless.pipeline import newest_run_of, result_of, run_pipeline
    from agent.llm.choose import choose_model
    from agent.llm.settings import load_settings
    from agent.session.projects import project_of

    opened, error, interrupted = None, None, False
    try:
        rules, settings = load_policy(policy), load_settings()
        chat_model = choose_model(llm, settings)
        opened = project_of(clips, project, goal=goal, objective=objective, adapter=adapter, model=model)
        context = AgentContext(opened, chat_model, settings=settings)
        chosen = {"objective": objective, "adapter": adapter, "captioner": captioner}
        fixed = {name: value for name, value in chosen.items() if value is not None}
        run_pipeline(context, rules, _emit, opened.facts.goal, fixed)
    except LtxError as refusal:
        error = refusal
    except KeyboardInterrupt:
        interrupted = True
    except Exception:
        _emit("result", exit_code=1, project=str(opened.path) if opened else None, run=None, artifacts={}, verdict=None)
        raise
    known: dict[str, Any] = {"project": None, "run": None, "artifacts": {}, "verdict": None}
    found = result_of(opened, newest_run_of(opened)) if opened is not None else known
    code = 130 if interrupted else error.exit_code if error is not None else 0
    told = {"message": error.message, "hint": error.hint, "exit_code": code} if error is not None else None
    result = {"exit_code": code, **found, "error": told}
    if opened is not None:
        for path, write in ((junit, write_junit), (sarif, write_sarif)):
            if path is not None:
                write(path, opened)
        if summary is not None:
            write_summary(summary, opened, result)
    _emit("result", **result)
    if code:
        raise typer.Exit(code)


def _emit(event: str, **fields: Any) -> None:
    from agent.headless.ci_report import event_line

    print(event_line({"event": event, "time": time.time(), **fields}), flush=True)
