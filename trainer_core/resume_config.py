"""Changes a resume may make to a run's config, and the config that it then trains with. No torch."""

import contextlib
from datetime import datetime
from typing import Any

import yaml

from trainer_core.config import TrainingConfig, load_config, parse_config
from trainer_core.errors import ConfigError
from trainer_core.files import append_jsonl
from trainer_core.objective import merged
from trainer_core.run_folder import RunFolder

CHANGEABLE = (
    "optimization.learning_rate",
    "optimization.steps",
    "optimization.scheduler_type",
    "optimization.scheduler_params",
    "optimization.max_grad_norm",
    "optimization.enable_gradient_checkpointing",
    "acceleration",
    "data.num_dataloader_workers",
    "validation",
    "checkpoints.interval",
    "checkpoints.keep_last_n",
    "checkpoints.precision",
    "ltx_agent.warmup_steps",
    "ltx_agent.torch_compile",
    "ltx_agent.evaluation",
    "ltx_agent.training.ema_decay",
    "ltx_agent.training.non_finite",
    "ltx_agent.training.max_skipped_steps",
    "ltx_agent.training.early_stop",
    "ltx_agent.training.other_modules",
    "ltx_agent.memory",
)
"""Settings that leave the saved state its meaning: the same weights, the same optimizer, the same order of samples."""

SCHEDULE_SETTINGS = ("learning_rate", "steps", "scheduler_type", "scheduler_params")


def run_config(run: RunFolder) -> TrainingConfig:
    """The config that the run trains with now: config.yaml, then what each resume changed."""
    changes = [row["overrides"] for row in run.resumes() if row["overrides"]]
    return _changed(load_config(run.config_path), changes, f"{run.config_path} with {run.resumes_path.name}")


def request_resume(run: RunFolder, overrides: dict[str, Any], from_step: int | None = None) -> TrainingConfig:
    """Write down what the next start of `run` changes, and return the config it will have.

    Raises ConfigError when a change isn't possible, when there is nothing to go on from, or nothing left to do.
    """
    before = run_config(run)
    after = changed_config(before, overrides)
    _refuse_impossible(run, after, from_step)
    if overrides or from_step is not None:
        row = {"time": datetime.now().astimezone().isoformat(), "from_step": from_step, "overrides": overrides}
        append_jsonl(run.resumes_path, row)
    return after


def changed_config(config: TrainingConfig, overrides: dict[str, Any]) -> TrainingConfig:
    """`config` with `overrides` (nested as in the YAML). Raises ConfigError for one that a resume can't change."""
    refuse_unchangeable(overrides)
    return _changed(config, [overrides], "the changed config") if overrides else config


def is_changeable(name: str) -> bool:
    """True if a resume may change the setting under this dotted name."""
    return any(name == known or name.startswith(f"{known}.") for known in CHANGEABLE)


def refuse_unchangeable(overrides: dict[str, Any]) -> None:
    """Raise ConfigError naming the first setting that a resume can't change."""
    for name in _leaves(overrides):
        if not is_changeable(name):
            raise ConfigError(
                f"`{name}` can't change when a run is resumed: its saved state would lose its meaning.",
                f"Start a new run from its weights (model.load_checkpoint), or change one of {', '.join(CHANGEABLE)}.",
            )


def parse_setting(text: str) -> tuple[str, Any]:
    """`optimization.steps=400` as name and value; the value is YAML. Raises ConfigError."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"`{text}` is no setting.", "Write it as NAME=VALUE, such as optimization.steps=4000.")
    try:
        found: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"The value of `{text}` is not valid YAML.", "Write a number, a word, or {key: value}."
        ) from error
    if isinstance(found, str):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-4 as a word
            found = float(found)
    return name.strip(), found


def changes_in_words(before: TrainingConfig, after: TrainingConfig) -> list[str]:
    """`optimization.steps 2000 → 4000`, one a changed setting."""
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    return [f"{name} {old.get(name)} → {new[name]}" for name in new if old.get(name) != new[name]]


def _refuse_impossible(run: RunFolder, config: TrainingConfig, from_step: int | None) -> None:
    steps = run.state_steps()
    if config.checkpoints.no_resume:
        raise ConfigError(
            f"Run {run.id} was made with checkpoints.no_resume: its state is not saved.",
            "Start a new run from its weights: model.load_checkpoint.",
        )
    if config.checkpoints.save_training_state == "off":
        raise ConfigError(
            f"Run {run.id} was made with checkpoints.save_training_state off: there is no state to go on from.",
            "Start a new run from its weights: model.load_checkpoint.",
        )
    if from_step is not None and from_step not in steps:
        known = ", ".join(map(str, steps)) or "none"
        raise ConfigError(f"Run {run.id} has no saved state of step {from_step}.", f"Steps with one: {known}.")
    reached = from_step if from_step is not None else max(steps, default=0)
    if reached >= config.optimization.steps:
        raise ConfigError(
            f"Run {run.id} has all its {config.optimization.steps} steps: there is nothing left to train.",
            "Give it more with --steps, or go back to an earlier checkpoint with --from-step.",
        )


def _changed(config: TrainingConfig, changes: list[dict[str, Any]], name: str) -> TrainingConfig:
    document = config.model_dump(mode="json")
    for change in changes:
        document = merged(document, change)
    return parse_config(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), name)


def _leaves(document: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in document.items():
        name = f"{prefix}{key}"
        found += _leaves(value, f"{name}.") if isinstance(value, dict) and value else [name]
    return found


def _flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict) and value:
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found
