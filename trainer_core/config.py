"""The training YAML: upstream's schema, strict, plus our optional `ltx_agent:` section (`sections/`). No torch.

Source of names and defaults: the official LTX trainer's configuration (see ARCHITECTURE.md, "Formats").
A key that nobody knows, a value out of range and a duplicate key are errors with line and column.
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from trainer_core.errors import ConfigError
from trainer_core.files import write_text
from trainer_core.objective import name_of
from trainer_core.optimizer_names import optimizer_conflict
from trainer_core.sections.base import Section
from trainer_core.sections.own import LoraKindSection, LtxAgentSection
from trainer_core.sections.run import (
    AccelerationSection,
    CheckpointsSection,
    DataSection,
    FlowMatchingSection,
    HubSection,
    LoraSection,
    ModelSection,
    OptimizationSection,
    WandbSection,
)
from trainer_core.sections.strategy import FlexibleStrategy, TextToVideoStrategy, VideoToVideoStrategy, as_flexible
from trainer_core.sections.validation import ValidationSection
from trainer_core.yaml_errors import Loader, describe, one_line, refuse_duplicates


class TrainingConfig(Section):
    """One training run, completely."""

    model: ModelSection
    lora: LoraSection | None = None
    training_strategy: Annotated[
        FlexibleStrategy | TextToVideoStrategy | VideoToVideoStrategy, Field(discriminator="name")
    ] = TextToVideoStrategy(name="text_to_video")
    optimization: OptimizationSection = OptimizationSection()
    acceleration: AccelerationSection = AccelerationSection()
    data: DataSection
    validation: ValidationSection = Field(default_factory=ValidationSection)
    checkpoints: CheckpointsSection = CheckpointsSection()
    hub: HubSection = HubSection()
    wandb: WandbSection = WandbSection()
    flow_matching: FlowMatchingSection = FlowMatchingSection()
    seed: int = 42
    output_dir: str = "outputs"
    ltx_agent: LtxAgentSection = LtxAgentSection()

    @model_validator(mode="before")
    @classmethod
    def _name_the_strategy(cls, values: Any) -> Any:
        strategy = values.get("training_strategy") if isinstance(values, dict) else None
        if isinstance(strategy, dict) and "name" not in strategy:
            return {**values, "training_strategy": {"name": "flexible", **strategy}}
        return values

    @model_validator(mode="before")
    @classmethod
    def _move_the_kind_of_lora(cls, values: Any) -> Any:
        """`lora.kind` and `lora.factor` are read as ours: upstream's `lora:` knows neither."""
        lora = values.get("lora") if isinstance(values, dict) else None
        if not isinstance(lora, dict) or lora.keys().isdisjoint(LoraKindSection.model_fields):
            return values
        ours = {name: lora[name] for name in LoraKindSection.model_fields if name in lora}
        agent = dict(values.get("ltx_agent") or {})
        there = dict(agent.get("lora") or {})
        if both := sorted(name for name in ours if name in there and there[name] != ours[name]):
            raise ValueError(f"lora.{both[0]} and ltx_agent.lora.{both[0]} differ; keep one of them")
        agent["lora"] = {**there, **ours}
        return {**values, "lora": {name: value for name, value in lora.items() if name not in ours}, "ltx_agent": agent}

    @model_validator(mode="after")
    def _the_kind_of_lora_can_train(self) -> Self:
        kind = self.ltx_agent.lora.kind
        if kind != "lora" and self.model.training_mode == "full":
            raise ValueError(
                f"ltx_agent.lora.kind {kind} is for model.training_mode: lora; full training has no adapter"
            )
        if kind == "lokr" and self.lora is not None and self.lora.dropout:
            raise ValueError(
                "LoKr has no dropout of a layer's inputs: set lora.dropout: 0, or ltx_agent.lora.kind: lora"
            )
        return self

    @model_validator(mode="after")
    def _lora_has_its_section(self) -> Self:
        if self.model.training_mode == "lora" and self.lora is None:
            raise ValueError(
                "training_mode is lora but there is no `lora:` section; add one (rank, alpha, target_modules)"
            )
        return self

    @model_validator(mode="after")
    def _memory_switches_go_together(self) -> Self:
        savings, options = self.ltx_agent.memory, self.optimization
        full = self.model.training_mode == "full"
        if (savings.swap_blocks or savings.offload_activations) and not options.enable_gradient_checkpointing:
            key = "swap_blocks" if savings.swap_blocks else "offload_activations"
            raise ValueError(
                f"ltx_agent.memory.{key} needs optimization.enable_gradient_checkpointing: true; without it the "
                "backward pass would keep everything on the device"
            )
        if savings.swap_blocks and full:
            raise ValueError("ltx_agent.memory.swap_blocks is for a frozen base; full training moves every block")
        if savings.swap_blocks and self.ltx_agent.torch_compile:
            raise ValueError("ltx_agent.memory.swap_blocks can't go with ltx_agent.torch_compile: set one of them off")
        if savings.fused_optimizer:
            if not full:
                raise ValueError("ltx_agent.memory.fused_optimizer is for full training; a LoRA's gradients are small")
            if options.gradient_accumulation_steps != 1 or options.max_grad_norm != 0:
                raise ValueError(
                    "ltx_agent.memory.fused_optimizer updates before the other gradients exist: set "
                    "optimization.gradient_accumulation_steps: 1 and max_grad_norm: 0"
                )
        return self

    @model_validator(mode="after")
    def _optimizer_and_weights_go_together(self) -> Self:
        master, full = self.ltx_agent.training.master_weights, self.model.training_mode == "full"
        if master in ("float24", "stochastic"):
            key = f"ltx_agent.training.master_weights: {master}"
            if not full:
                raise ValueError(f"{key} is for full training; a LoRA's weights are always float32: leave it out")
            if self.acceleration.mixed_precision_mode == "no":
                raise ValueError(f"{key} is for bf16; mixed_precision_mode: no holds float32 weights: leave it out")
        conflict = optimizer_conflict(
            self.optimization.optimizer_type,
            learning_rate=self.optimization.learning_rate,
            scheduler=self.optimization.scheduler_type,
            fused=self.ltx_agent.memory.fused_optimizer,
            averaged=self.ltx_agent.training.ema_decay is not None,
            master_weights=master,
        )
        if conflict is not None:
            raise ValueError(conflict)
        return self

    @property
    def objective_name(self) -> str:
        """Name of the trained objective: as `ltx_agent.objective` says, else by roles and conditions."""
        return self.ltx_agent.objective or name_of(self.strategy)

    @property
    def strategy(self) -> FlexibleStrategy:
        """The training strategy, a legacy one rewritten as the flexible one it stands for."""
        return as_flexible(self.training_strategy)


def load_config(path: Path) -> TrainingConfig:
    """Read a training YAML. Raises ConfigError that names line, column and the nearest known key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"There is no config file {path}.", "Draft one with `ltx-agent draft`.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}.", "Give a readable UTF-8 YAML file.") from error
    return parse_config(text, str(path))


def parse_config(text: str, name: str = "config") -> TrainingConfig:
    """Parse a training YAML given as text; `name` stands in error messages."""
    try:
        root = yaml.compose(text, Loader=Loader)
        refuse_duplicates(root, name)
        values = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {one_line(str(error))}.", "Correct it and try again.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{name} holds no mapping of sections.", "Start it with `model:`, `data:`, …")
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        problems = [describe(problem, root, name, TrainingConfig) for problem in error.errors()]
        raise ConfigError("\n".join(problems), "Correct the file and try again.") from error


def dump_config(config: TrainingConfig) -> str:
    """Return the resolved YAML of `config`, every value written out; `load_config` reads it back equal."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def refuse_untrainable(config: TrainingConfig) -> None:
    """Raise ConfigError for what upstream's schema allows and no run here can do."""
    if config.acceleration.mixed_precision_mode == "fp16":
        raise ConfigError(
            "acceleration.mixed_precision_mode fp16 is not available: fp16 gradients vanish unless the loss is scaled, "
            "which this trainer doesn't do, and the weights are published in bf16, whose range fp16 doesn't hold.",
            "Use bf16, which takes as much memory, or no.",
        )


def settings_without_effect(config: TrainingConfig) -> list[str]:
    """Name the settings of an upstream YAML that this version accepts and does not act on, one sentence each."""
    found = []
    if config.hub.push_to_hub:
        found.append("hub.push_to_hub: the trainer pushes nothing; `ltx-agent export --push` does, after you said yes.")
    for name, key in wanted_trackers(config).items():
        if find_spec(name) is None:
            found.append(
                f"{key}: the package {name} is not installed; nothing is logged there, see metrics.jsonl. "
                "`pip install 'ltx-agent[trackers]'` brings it."
            )
    return found


def wanted_trackers(config: TrainingConfig) -> dict[str, str]:
    """The experiment trackers that the config asks for: the package of each, and the key that asks."""
    asked = {
        "wandb": ("wandb.enabled", config.wandb.enabled),
        "trackio": ("ltx_agent.trackers.trackio", config.ltx_agent.trackers.trackio),
        "tensorboard": ("ltx_agent.trackers.tensorboard", config.ltx_agent.trackers.tensorboard),
    }
    return {name: key for name, (key, wanted) in asked.items() if wanted}


def schema_text() -> str:
    """Return the JSON schema of the training YAML, for editors to complete from."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **TrainingConfig.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


def is_tiny(model_path: str) -> bool:
    """True if `model_path` asks for the small random model: `tiny`, `tiny:2.0`, `tiny:2.3`, `tiny:2.5`."""
    return model_path == "tiny" or model_path.startswith("tiny:")


if __name__ == "__main__":
    write_text(Path("examples/training.schema.json"), schema_text())
