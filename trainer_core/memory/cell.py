"""One training as memory arithmetic sees it: version, roles, adapter, sizes, switches. No torch, no files."""

from dataclasses import dataclass
from typing import Literal

from trainer_core.optimizer_names import OptimizerName
from trainer_core.sections.own import AdapterKind

Version = Literal["2.0", "2.3", "2.5"]


@dataclass(frozen=True)
class Side:
    """One modality of a training: tokens of one sample, references included; None of it where it is absent."""

    tokens: int
    generated: bool = True


@dataclass(frozen=True)
class Cell:
    """Facts that set the memory of a step. `rank` 0: full training. `targets` as in `lora.target_modules`, `kind` and
    `factor` as in `ltx_agent.lora`.

    `checkpointing` off keeps every activation. `swap_blocks`, `offload`, `chunk_tokens`, `fused`, `moments_8bit` and
    `precompute_text` are the switches of the same names in the config. `master` is what full training in bf16 holds its
    weights in; all but float32 have 8-bit moments of their own.
    """

    version: Version
    video: Side | None
    audio: Side | None
    rank: int = 32
    targets: tuple[str, ...] = ("to_k", "to_q", "to_v", "to_out.0")
    kind: AdapterKind = "lora"
    factor: int = 8
    batch: int = 1
    text_tokens: int = 1024
    precision: Literal["bf16", "no"] = "bf16"
    quantization: str | None = None
    checkpointing: bool = True
    offload: bool = False
    swap_blocks: int = 0
    chunk_tokens: int | None = None
    moments_8bit: bool = False
    optimizer: OptimizerName = "adamw"
    master: Literal["float32", "float24", "stochastic"] = "float32"
    fused: bool = False
    precompute_text: bool = False
    layers: int = 48

    @property
    def trained_bytes(self) -> int:
        """Bytes of one trained weight, and of its gradient."""
        return 2 if self.full and self.precision == "bf16" and self.master != "float32" else 4

    @property
    def full(self) -> bool:
        return self.rank == 0
