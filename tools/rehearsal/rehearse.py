"""The draft node's rehearsal: the training in small, in a child process, measured; a search for what fits fastest."""

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tools.project import Progress, Project
from tools.spec import CostLine, Preview, Tool, nothing
from tools.trainer_environment import trainer_environment
from trainer_core.config import TrainingConfig, dump_config, load_config
from trainer_core.config_paths import resolve_paths
from trainer_core.errors import ConfigError, ExternalError
from trainer_core.files import read_json, write_json, write_text
from trainer_core.memory.ladder import ENCODING_STAGE, RUNGS, Proposal, Stage, next_rung, undone
from trainer_core.run_folder import LIVE_STATES
from trainer_core.strict import Strict

CHILD_MODULE = "trainer_core.training.rehearsal"
FASTER = 0.97
"""A change is kept for its speed when a step takes at most this share of the one before."""


class RehearseArguments(Strict):
    """Extent of a rehearsal."""

    search: Annotated[bool, Field(description="Also undo savings that aren't needed, one at a time, for speed.")] = True
    limit_gb: Annotated[
        float | None, Field(gt=0, description="Pretend that the device has only so many GB; null takes what it has.")
    ] = None


class Trial(Strict):
    """One child process: the change that was tried, and what was seen. Bytes; None where it was not measured."""

    change: str
    changes: dict[str, Any]
    fits: bool
    kept: bool
    ran_out: str | None
    step_s: float | None
    device_peak_bytes: int | None
    tensors_peak_bytes: int | None
    host_peak_bytes: int | None
    stages: list[dict[str, Any]]
    seconds: float
    switches: dict[str, Any] = {}
    """Its memory settings by dotted key: the figures are those of a config that has them."""


class RehearseResult(Strict):
    """Measures, trial by trial; `changes` are the switches to set so that the training fits."""

    device: str
    sample: str
    real_sample: bool
    fits: bool
    changes: dict[str, Any]
    diff: str
    samples_gb: float | None = None
    """The most that was held of the card, sampling included: what samples may fill while the run trains."""
    trials: list[Trial]
    not_measured: list[str]
    config_digest: str
    time: float


def rehearse_training(
    project: Project, arguments: RehearseArguments, progress: Progress | None = None
) -> RehearseResult:
    """Rehearse the project's training: its largest sample once through forward, backward, optimizer, evaluation,
    sampling and save, in a child process. Measures memory and step time; goes down the ladder while memory runs out.

    The result is kept in the project (rehearsal.json) and the next draft takes its switches from it. It takes a minute
    or more and uses the GPU. Without one it measures host memory and the tensors of a step, and says what it could not.
    """
    refuse_beside_a_run(project)
    config = resolve_paths(load_config(project.config_path), project.path)
    result = search(config, arguments, progress or _quiet)
    write_json(project.path / REHEARSAL_NAME, result.model_dump(mode="json"))
    return result


def refuse_beside_a_run(project: Project) -> None:
    """A rehearsal beside a run that trains would measure both, and may take the memory that the run needs."""
    live = next((run for run in project.runs() if run.read_status().state in LIVE_STATES), None)
    if live is not None:
        raise ConfigError(f"Run {live.id} is still going on and needs the machine.", "Wait for it, or stop it.")


def preview_rehearsal(project: Project, _arguments: RehearseArguments) -> Preview:
    """Return the card before the machine is used to measure."""
    refuse_beside_a_run(project)
    load_config(project.config_path)
    lines = [
        "The largest sample goes once through forward, backward, optimizer, evaluation, sampling and save, in a "
        "process of its own; nothing of it is kept but its figures.",
        "They then stand on the card of the start: seconds a step, memory, and what could not be measured here.",
        "No leaves it out: training can start without, on estimates.",
    ]
    costs = [
        CostLine("time", "usually one to a few minutes: loading the model takes the most of it"),
        CostLine("memory", "as much of this machine's as the training will take: that is what it measures"),
        *nothing("disk"),
    ]
    return Preview("Rehearse the training once before it starts?", lines, costs)


def rehearse_file(path: Path, arguments: RehearseArguments, progress: Progress | None = None) -> RehearseResult:
    """The same for a config file without a project; nothing is kept."""
    return search(resolve_paths(load_config(path), path.resolve().parent), arguments, progress or _quiet)


REHEARSAL_NAME = "rehearsal.json"


def search(config: TrainingConfig, arguments: RehearseArguments, progress: Progress) -> RehearseResult:
    """Try `config`; go down the ladder until it fits, then undo what isn't needed, one change at a time."""
    asked = config
    if arguments.limit_gb is not None:
        config = _with_memory(config, limit_gb=arguments.limit_gb)
    trials: list[Trial] = []
    last: dict[str, Any] = {}

    def attempt(change: str, changes: dict[str, Any], candidate: TrainingConfig) -> Trial:
        progress(f"rehearsing: {change}", len(trials), len(trials) + 1)
        nonlocal last
        trial, last = _child(change, changes, candidate)
        trials.append(trial)
        return trial

    best = attempt("as drafted", {}, config)
    taken: list[Proposal] = []
    while not best.fits and (step := next_rung(config, stage=_stage(best))) is not None:
        config = step.config
        taken.append(step)
        best = attempt(step.rung, {key: new for key, (_, new) in step.changes.items()}, config)
    best.kept = True
    on_card = best.device_peak_bytes is not None
    # without a card the savings cost time that says nothing of one: only those that the limit asked for are tried again
    if best.fits and arguments.search and (on_card or taken):
        config, best = _faster(config, best, attempt, None if on_card else {step.rung for step in taken})
    samples_gb = _samples_gb(best)
    if samples_gb is not None:
        config = _with_memory(config, samples_gb=samples_gb)
    before, after = asked.model_dump(mode="json"), config.model_dump(mode="json")
    return RehearseResult(
        device=last["device"],
        sample=last["sample"],
        real_sample=last["real_sample"],
        fits=best.fits,
        changes=_changed(before, after),
        diff="\n".join(f"{key}: {old} → {new}" for key, (old, new) in _pairs(before, after).items()),
        samples_gb=samples_gb,
        trials=trials,
        not_measured=last["not_measured"],
        config_digest=digest(asked),
        time=time.time(),
    )


def digest(config: TrainingConfig) -> str:
    """Return the digest of a rehearsal's subject: everything that memory and step time depend on."""
    import hashlib

    document = config.model_dump(mode="json")
    kept = {name: document[name] for name in ("model", "lora", "training_strategy")}
    text = f"{kept}{document['ltx_agent']['buckets']}{document['optimization']['batch_size']}"
    return hashlib.sha256(text.encode("utf-8", errors="surrogateescape")).hexdigest()[:16]


def _with_memory(config: TrainingConfig, **settings: Any) -> TrainingConfig:
    memory = config.ltx_agent.memory.model_copy(update=settings)
    return config.model_copy(update={"ltx_agent": config.ltx_agent.model_copy(update={"memory": memory})})


def _stage(trial: Trial) -> Stage:
    """Where memory ran out: a saving of the step is of no use where the text encoder was too large."""
    return "encoding" if trial.ran_out == ENCODING_STAGE else "step"


def _samples_gb(best: Trial) -> float | None:
    """None where nothing of a card was measured, or no sample was made. What was held before the training began, by
    the text encoder, doesn't count."""
    sampled = any(stage["name"] == "sampling" for stage in best.stages)
    peak = _most([stage for stage in best.stages if stage["name"] != ENCODING_STAGE], "reserved")
    if not best.fits or not sampled or peak is None:
        return None
    return math.ceil(peak / 1e7) / 100


def switches_of(config: TrainingConfig) -> dict[str, Any]:
    """The settings that a step's memory and time depend on beside those of `digest`, by dotted key."""
    document = config.model_dump(mode="json")
    memory = {name: value for name, value in document["ltx_agent"]["memory"].items() if name not in _LIMITS}
    found = {f"acceleration.{name}": value for name, value in document["acceleration"].items()}
    found |= {f"ltx_agent.memory.{name}": value for name, value in memory.items()}
    found["ltx_agent.training.master_weights"] = document["ltx_agent"]["training"]["master_weights"]
    return found | {f"optimization.{name}": document["optimization"][name] for name in _SWITCHES}


_LIMITS = ("limit_gb", "samples_gb")
_SWITCHES = ("enable_gradient_checkpointing", "optimizer_type", "gradient_accumulation_steps")


def _faster(config: TrainingConfig, best: Trial, attempt: Any, among: set[str] | None) -> tuple[TrainingConfig, Trial]:
    """Switch single savings off again (of `among`, None: any), dearest first; keep what still fits and is faster."""
    for rung in reversed(RUNGS):
        if rung.stage != "step" or (among is not None and rung.name not in among):
            continue
        without = undone(config, rung)
        if without is None:
            continue
        trial = attempt(f"without {rung.name}", {key: new for key, (_, new) in without.changes.items()}, without.config)
        quicker = trial.fits and trial.step_s is not None and best.step_s is not None
        if quicker and (trial.step_s or 0.0) <= FASTER * (best.step_s or 0.0):
            best.kept, trial.kept = False, True
            config, best = without.config, trial
    return config, best


def _child(change: str, changes: dict[str, Any], config: TrainingConfig) -> tuple[Trial, dict[str, Any]]:
    """Run one rehearsal in a process of its own. Raises ExternalError when it fails for another reason than memory."""
    folder = Path(tempfile.mkdtemp(prefix="ltx-rehearsal-"))
    started = time.monotonic()
    try:
        write_text(folder / "config.yaml", dump_config(config))
        with (folder / "log").open("wb") as log:
            code = subprocess.run(
                [sys.executable, "-P", "-m", CHILD_MODULE, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=trainer_environment(os.environ),
                check=False,
            ).returncode
        killed = code in (-9, 137)
        if not (folder / "result.json").exists() and not killed:
            lines = (folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ExternalError(f"The rehearsal ended with exit code {code}: {lines[-1] if lines else 'no word'}.")
        document = _killed() if killed else read_json(folder / "result.json")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if document["error"]:
        raise ExternalError(f"The rehearsal failed while {document['error']}", "Correct that, then rehearse again.")
    stages = document["stages"]
    return (
        Trial(
            change=change,
            changes=changes,
            fits=document["ran_out"] is None,
            kept=False,
            ran_out=document["ran_out"],
            step_s=document["step_s"],
            device_peak_bytes=_most(stages, "reserved"),
            tensors_peak_bytes=_most(stages, "tensors"),
            host_peak_bytes=_most(stages, "host"),
            stages=stages,
            seconds=time.monotonic() - started,
            switches=switches_of(config),
        ),
        document,
    )


def _killed() -> dict[str, Any]:
    """The kernel ends a process that takes the last of the host's memory without asking it."""
    return {
        "device": "unknown",
        "sample": "unknown",
        "real_sample": False,
        "stages": [],
        "step_s": None,
        "ran_out": "the host's memory",
        "error": None,
        "not_measured": [],
    }


def _most(stages: list[dict[str, Any]], name: str) -> int | None:
    return max((stage[name] for stage in stages if stage[name] is not None), default=None)


def _pairs(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            found |= _pairs(old, value, f"{prefix}{key}.")
        elif old != value and key != "limit_gb":
            found[f"{prefix}{key}"] = (old, value)
    return found


def _changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {key: new for key, (_, new) in _pairs(before, after).items()}


def _quiet(_what: str, _done: int, _total: int) -> None:
    return


REHEARSE_TOOL = Tool(
    "rehearse_training",
    rehearse_training,
    RehearseArguments,
    needs_approval="rehearse",
    preview=preview_rehearsal,
)
