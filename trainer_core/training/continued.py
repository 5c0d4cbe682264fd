"""A run that begins from a LoRA: its layers that the run trains, and the others, which are kept as they are or dropped.

Kept layers that the objective's branches hold act while the run trains, frozen; those of an absent modality can't.
All of them are saved in every checkpoint, number for number as they were read.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trainer_core.adapters import load_lora, trained_branches
from trainer_core.errors import ConfigError
from trainer_core.frozen_lora import add_frozen_lora
from trainer_core.lora.kinds import strength_of
from trainer_core.model.ltx import branch_of
from trainer_core.objective import Objective
from trainer_core.sections.own import LoraKindSection
from trainer_core.sections.run import LoraSection

MODULES_NAMED = 3


@dataclass(frozen=True)
class Continued:
    """Untrained part of the LoRA that a run began from. `kept` maps a module to its (A, B), scale folded in."""

    kept: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    note: str = ""

    def rank_differs(self, rank: int) -> bool:
        """True if a kept layer has another rank than the run's own, so that the file can't state one for all."""
        return any(down.shape[0] != rank for down, _ in self.kept.values())


def continue_lora(
    transformer: Any, path: Path, section: LoraSection, kind: LoraKindSection, objective: Objective, others: str
) -> Continued:
    """Fill the run's LoRA layers from `path`; `others` is `ltx_agent.training.other_modules`.

    Raises ConfigError for a file that lacks a layer of the run, or has one that this model doesn't.
    """
    rest: dict[str, tuple[Tensor, Tensor]] = {}
    load_lora(transformer, path, strength_of(section, kind), rest)
    if not rest:
        return Continued()
    _refuse_foreign(transformer, path, rest)
    named = ", ".join([*list(rest)[:MODULES_NAMED], *(["…"] if len(rest) > MODULES_NAMED else [])])
    what = f"{len(rest)} layers of {path.name} that this run doesn't train ({named})"
    if others == "drop":
        return Continued(note=f"{what} are dropped, as ltx_agent.training.other_modules asks.")
    branches = trained_branches(objective)
    acting = {name: pair for name, pair in rest.items() if branch_of(name) in branches}
    if acting:
        add_frozen_lora(transformer, acting)
    return Continued(
        rest,
        f"{what} are kept and saved unchanged; set ltx_agent.training.other_modules: drop to leave them out.",
    )


def _refuse_foreign(transformer: nn.Module, path: Path, rest: dict[str, tuple[Tensor, Tensor]]) -> None:
    for name, (down, up) in rest.items():
        try:
            layer = transformer.get_submodule(name)
        except AttributeError:
            layer = None
        wanted = (getattr(layer, "out_features", None), getattr(layer, "in_features", None))
        if layer is None or (up.shape[0], down.shape[1]) != wanted:
            is_there = "doesn't have" if layer is None else f"has as {wanted[0]}x{wanted[1]}"
            raise ConfigError(
                f"{path} has LoRA weights for {name} ({up.shape[0]}x{down.shape[1]}), which this model {is_there}.",
                "Give a LoRA of the same LTX version.",
            )
