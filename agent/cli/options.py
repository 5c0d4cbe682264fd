"""The options and arguments that verbs share, each spelled once."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Adapter = Literal["lora", "ic-lora", "full"]

ClipsArgument = Annotated[Path, typer.Argument(metavar="CLIPS", help="Folder of clips, or one film; never written to.")]
TargetArgument = Annotated[Path, typer.Argument(metavar="CLIPS|PROJECT", help="Clips, one film, or a project.")]
ProjectArgument = Annotated[
    Path | None, typer.Argument(metavar="[PROJECT]", help="Project folder; default: the one of this folder.")
]
TrainArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[PROJECT|CONFIG.yaml]", help="Project, or any training YAML, upstream's included."),
]
RunArgument = Annotated[
    Path | None, typer.Argument(metavar="[PROJECT|RUN]", help="Project or run folder; default: the newest run here.")
]
ProjectOption = Annotated[Path | None, typer.Option("--project", help="Project folder [./ltx-projects/<name>].")]
GoalOption = Annotated[str | None, typer.Option("--goal", help="What to learn, in your own words.")]
ObjectiveOption = Annotated[str | None, typer.Option("--objective", help="t2v, i2v, v2a, … [from goal and clips].")]
AdapterOption = Annotated[Adapter | None, typer.Option("--adapter", help="What is trained [lora].")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Checkpoint, diffusers folder, or tiny [tiny].")]
CaptionerOption = Annotated[
    str | None,
    typer.Option("--captioner", help="auto, existing, endpoint[:MODEL], local[:FOLDER|HUB-ID], measured [auto]."),
]
LlmOption = Annotated[str, typer.Option("--llm", help="auto, builtin, or a model of the configured endpoint.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]
WaitOption = Annotated[bool | None, typer.Option("--wait/--no-wait", help="Follow the run [on a terminal].")]
