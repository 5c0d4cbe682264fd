"""lora | ic-lora | full: which parameters train; what of a LoRA is saved, under which keys.

An IC-LoRA is a LoRA whose objective has a reference condition; its file carries the reference's scale factors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainer_core.errors import ConfigError
from trainer_core.lora.act import linears_of
from trainer_core.lora.file import read_lora_file
from trainer_core.lora.kinds import loaded_parts, peft_config, saved_parts
from trainer_core.model.ltx import branch_of
from trainer_core.model.names import to_upstream
from trainer_core.model.source import Version
from trainer_core.objective import Objective
from trainer_core.sections.own import LoraKindSection
from trainer_core.sections.run import LoraSection
from trainer_core.trained_as import TrainedAs
from trainer_core.weights_file import write_tensors

LORA_PREFIX = "diffusion_model."
_FULL_PREFIXES = ("model.diffusion_model.", LORA_PREFIX, "transformer.")
PEFT_NAME = "default"
"""What PEFT calls the layers that train."""


@dataclass(frozen=True)
class AdapterFacts:
    """A saved file's metadata about itself."""

    version: Version
    base: str
    base_fingerprint: str
    objective: str
    step: int
    rank: int | None = None
    reference_spatial_scale: int = 1
    reference_temporal_scale: int = 1
    average_decay: float | None = None
    trained_as: TrainedAs | None = None
    kind: str = "lora"

    def metadata(self) -> dict[str, str]:
        """safetensors metadata; scale factors only where they are not 1, under every name that a reader knows."""
        found = {
            "format": "pt",
            "model_version": self.version,
            "base_model": self.base,
            "base_fingerprint": self.base_fingerprint,
            "objective": self.objective,
            "step": str(self.step),
            "trainer": "ltx-agent",
        }
        if self.rank is not None:
            found["rank"] = str(self.rank)
        if self.kind != "lora":
            found["adapter_kind"] = self.kind
        if self.average_decay is not None:
            found["ema_decay"] = str(self.average_decay)
        if self.trained_as is not None:
            found |= self.trained_as.metadata()
        if self.reference_spatial_scale != 1:
            for key in (
                "reference_downscale_factor",
                "reference_spatial_scale_factor",
                "ss_reference_downscale_factor",
            ):
                found[key] = str(self.reference_spatial_scale)
        if self.reference_temporal_scale != 1:
            found["reference_temporal_scale_factor"] = str(self.reference_temporal_scale)
        return found


def lora_targets(transformer: nn.Module, patterns: list[str], objective: Objective) -> list[str]:
    """Return the full names of the linear layers that `patterns` reach, without those of an absent modality.

    A pattern matches as PEFT's do: the whole name or its end at a dot; `attn1.*` reaches every linear layer inside.
    Raises ConfigError when a pattern reaches nothing at all.
    """
    branches = trained_branches(objective)
    linears = [name for name, module in transformer.named_modules() if isinstance(module, nn.Linear)]
    chosen: set[str] = set()
    for pattern in patterns:
        reached = [name for name in linears if _matches(name, pattern)]
        if not reached:
            raise ConfigError(
                f"lora.target_modules: `{pattern}` reaches no linear layer of this model.",
                "Use names such as to_k, to_q, to_v, to_out.0, ff.net.0.proj, attn1.*, audio_attn1.*.",
            )
        chosen.update(name for name in reached if branch_of(name) in branches)
    if not chosen:
        raise ConfigError(
            f"lora.target_modules {patterns} reach only layers of a modality that this objective doesn't have.",
            f"This objective trains the branches: {', '.join(sorted(branches))}.",
        )
    return [name for name in linears if name in chosen]


def trained_branches(objective: Objective) -> frozenset[str]:
    """The transformer branches whose parameters this objective can move."""
    video, audio = objective.video.present, objective.audio.present
    if video and audio:
        return frozenset({"video", "audio", "cross"})
    return frozenset({"video"} if video else {"audio"})


def add_lora(
    transformer: Any, section: LoraSection, objective: Objective, seed: int, kind: LoraKindSection = LoraKindSection()
) -> list[nn.Parameter]:
    """Put fresh adapter layers on `transformer`, freeze the rest, and return the trained parameters (float32)."""
    transformer.requires_grad_(False)
    targets = lora_targets(transformer, section.target_modules, objective)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer.add_adapter(peft_config(section, kind, targets), adapter_name=PEFT_NAME)
    if kind.kind == "lokr":
        # it has no dropout, and yet PEFT draws a number for one at every call of a layer in training mode
        for name in targets:
            transformer.get_submodule(name).eval()
    trained = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    return trained


def train_fully(
    transformer: nn.Module, objective: Objective, matrices: torch.dtype | None = None
) -> list[nn.Parameter]:
    """Make every parameter of the objective's branches trainable and return them.

    `matrices` is the precision of those with two dimensions (None: as they are); the others, few and near 1, get
    float32.
    """
    branches = trained_branches(objective)
    trained = []
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_(branch_of(name) in branches)
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32 if parameter.ndim < 2 else matrices or parameter.dtype)
            trained.append(parameter)
    return trained


def lora_state(transformer: Any, strength: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the adapter's layers under upstream's keys, `strength` folded in: readers fuse plain products.

    What scales whole rows of the base (DoRA) stays float32: bfloat16 would round the base itself.
    """
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(transformer, adapter_name=PEFT_NAME)
    return {
        f"{LORA_PREFIX}{to_upstream(module)}.{part}": tensor.to(
            "cpu", torch.float32 if part in ("lora_magnitude_vector", "dora_scale") else dtype
        ).contiguous()
        for module, parts in saved_parts(transformer, state, strength).items()
        for part, tensor in parts.items()
    }


def save_weights(path: Path, state: Mapping[str, Tensor], facts: AdapterFacts) -> None:
    """Write `state` as safetensors with its facts as metadata.

    Never overwrites: raises ConfigError when the file exists.
    """
    refuse_second_save(path)
    write_tensors(path, state, facts.metadata())


def refuse_second_save(path: Path) -> None:
    """Raise ConfigError when the checkpoint `path` exists."""
    if path.exists():
        raise ConfigError(f"{path} exists already; checkpoints are written once.", "Start another run.")


def load_lora(
    transformer: Any, path: Path, strength: float, rest: dict[str, tuple[Tensor, Tensor]] | None = None
) -> int:
    """Load an adapter file of any form into the adapter's layers of `transformer`, of which each multiplies by
    `strength`: the file's matrices are divided by it, so that the sum stays what the file says.

    Layers of the file that `transformer` has no adapter for go into `rest` as (A, B); without `rest` they are refused.

    Returns how many modules were filled. Raises ConfigError naming the first that doesn't fit.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    file = read_lora_file(path).sound()
    expected = get_peft_model_state_dict(transformer, adapter_name=PEFT_NAME)
    trained = {key.partition(".lora_")[0].partition(".lokr_")[0] for key in expected}
    layers = linears_of(transformer)
    state = {}
    for module, change in file.changes.items():
        if module not in trained and rest is not None and module not in file.magnitudes:
            rest[module] = change.pair()
            continue
        if module not in trained:
            raise ConfigError(
                f"{path} has LoRA weights for {module}, which this run doesn't train.",
                "Use the same target_modules and objective family as the file was trained with.",
            )
        magnitude = file.magnitudes.get(module)
        try:
            parts = loaded_parts(module, change, magnitude, expected, strength, layers[module])
        except ConfigError as error:
            raise ConfigError(f"{path} can't be continued: {error.message}", error.hint) from error
        for part, tensor in parts.items():
            key = f"{module}.{part}"
            if key not in expected or expected[key].shape != tensor.shape:
                own = tuple(expected[key].shape) if key in expected else "in another form"
                raise ConfigError(
                    f"{path}: {key} is {tuple(tensor.shape)}, this run's is {own}.",
                    "Set lora.rank (and for LoKr ltx_agent.lora.factor) to the file's and use the same LTX version.",
                )
            state[key] = tensor
    missing = sorted(trained - set(file.changes))
    if missing:
        raise ConfigError(
            f"{path} lacks {len(missing)} modules that this run trains, the first is {missing[0]}.",
            "Set lora.target_modules to what the file was trained with: it has "
            f"{', '.join(sorted({_layer_of(module) for module in file.changes}))}.",
        )
    set_peft_model_state_dict(transformer, state, adapter_name=PEFT_NAME)
    return len(file.changes) - len(rest or {})


def read_lora(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return {diffusers module name: (A, B)} of a LoRA file in any form, its strength folded into B.

    Raises ConfigError for a file that is no sound adapter for LTX-2, and for DoRA, which is more than B·A.
    """
    file = read_lora_file(path).sound()
    if file.magnitudes:
        raise ConfigError(f"{path} is a DoRA: it is more than two matrices a module.", "Give a plain LoRA.")
    return dict(file.pairs.items())


def check_lora_keys(state: Mapping[str, Tensor], accepted: frozenset[str]) -> None:
    """Refuse to call a file done when a key is not one that readers accept (block number taken out)."""
    for key in state:
        if block_free(key) not in accepted:
            raise ConfigError(f"`{key}` is not a key that ComfyUI and diffusers read.", "Train other target_modules.")


def block_free(key: str) -> str:
    """`diffusion_model.transformer_blocks.7.attn1.to_q…` with the block number replaced by N."""
    return ".".join("N" if part.isdigit() and before == "transformer_blocks" else part for before, part in _paired(key))


def _layer_of(module: str) -> str:
    """`attn1.to_q` of `transformer_blocks.7.attn1.to_q`; a module outside the blocks by its whole name."""
    parts = module.split(".")
    return ".".join(parts[2:]) if parts[0] == "transformer_blocks" and len(parts) > 2 else module


def _paired(key: str) -> list[tuple[str, str]]:
    parts = key.split(".")
    return list(zip(["", *parts[:-1]], parts, strict=True))


def without_prefix(key: str) -> str:
    """A weight's name without what a reader puts in front of it."""
    return next((key.removeprefix(prefix) for prefix in _FULL_PREFIXES if key.startswith(prefix)), key)


def _matches(name: str, pattern: str) -> bool:
    if pattern.endswith(".*"):
        stem = pattern.removesuffix(".*")
        return f".{stem}." in f".{name}"
    return name == pattern or name.endswith(f".{pattern}")
