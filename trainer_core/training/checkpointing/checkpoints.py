"""A run's checkpoints: weights for others to read, written once, and what is kept of them."""

import contextlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from trainer_core.adapters import AdapterFacts, check_lora_keys, lora_state, save_weights
from trainer_core.config import TrainingConfig
from trainer_core.frozen_lora import kept_state
from trainer_core.full_checkpoint import save_full
from trainer_core.lora.kinds import strength_of
from trainer_core.model.reader_keys import ADAPTER_KEYS
from trainer_core.model.source import ModelSource
from trainer_core.run_folder import RunFolder
from trainer_core.training.checkpointing.state import list_states, remove_state
from trainer_core.training.continued import Continued
from trainer_core.training.optim.ema import WeightAverage

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
_WEIGHTS = re.compile(r"(ema_)?(lora|model)_weights_step_(\d+)\.safetensors")
BEST_LINK = "best.safetensors"
STATES_KEPT = 2
"""The newest state, and the one before in case the newest turns out damaged."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints folder of one run that trains on `source`."""

    run: RunFolder
    config: TrainingConfig
    source: ModelSource
    continued: Continued = field(default_factory=Continued)

    @property
    def saves_state(self) -> bool:
        """True if what a resume needs is saved beside the weights."""
        return self.config.checkpoints.save_training_state != "off" and not self.config.checkpoints.no_resume

    def weights_path(self, step: int) -> Path:
        kind = "lora" if self.config.model.training_mode == "lora" else "model"
        return self.run.checkpoints / f"{kind}_weights_step_{step:05d}.safetensors"

    def save(self, transformer: Any, facts: AdapterFacts, average: WeightAverage | None = None) -> Path:
        """Write the weights of `facts.step`, its moving average beside them, and return the path of the weights."""
        path = self.weights_path(facts.step)
        self._write(path, transformer, facts)
        if average is not None:
            with average.in_place():
                self._write(
                    path.with_name(f"ema_{path.name}"), transformer, replace(facts, average_decay=average.decay)
                )
        return path

    def prune(self, best_step: int | None) -> None:
        """Keep the newest `keep_last_n` weights and the best; of states the newest two, with `full` those of all kept.

        Runs only when the newest is complete, so the newest complete one is never among those removed.
        """
        settings = self.config.checkpoints
        steps = sorted(weights_by_step(self.run.checkpoints))
        kept = steps if settings.keep_last_n < 1 else steps[-settings.keep_last_n :]
        for step in steps:
            if step not in kept and step != best_step:
                for path in weights_by_step(self.run.checkpoints)[step]:
                    path.unlink()
        states = list_states(self.run.states)
        for step, path in states[:-STATES_KEPT]:
            if not (settings.save_training_state == "full" and (step in kept or step == best_step)):
                remove_state(path)

    def mark_best(self, step: int) -> Path | None:
        """Link `best.safetensors` to the weights of `step` (the averaged ones, if there are); None when it has none."""
        paths = weights_by_step(self.run.checkpoints).get(step)
        if not paths:
            return None
        link = self.run.checkpoints / BEST_LINK
        temporary = link.with_name(".best-link")
        with contextlib.suppress(OSError):  # a file system without links: the status names the file all the same
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(paths[0].name)
            temporary.replace(link)
        return paths[0]

    def _write(self, path: Path, transformer: Any, facts: AdapterFacts) -> None:
        dtype = _DTYPES[self.config.checkpoints.precision]
        if self.config.model.training_mode == "lora":
            assert self.config.lora is not None
            state = lora_state(transformer, strength_of(self.config.lora, self.config.ltx_agent.lora), dtype)
            state |= kept_state(self.continued.kept)
            check_lora_keys(state, ADAPTER_KEYS)
            save_weights(path, state, facts)
        else:
            save_full(path, transformer, facts, self.source, dtype)


def weights_by_step(checkpoints: Path) -> dict[int, list[Path]]:
    """The weights files of each step; an averaged one stands first."""
    found: dict[int, list[Path]] = {}
    for path in sorted(checkpoints.iterdir()) if checkpoints.is_dir() else []:
        if (step := step_of(path)) is not None:
            found.setdefault(step, []).append(path)
    return found


def step_of(path: Path) -> int | None:
    """The step of a weights file, None when its name isn't one's."""
    found = _WEIGHTS.fullmatch(path.name)
    return int(found[3]) if found else None
