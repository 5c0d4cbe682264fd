"""Writing a run's weights: each file once, whole, and the oldest removed only after the newest is there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer_core.adapters import AdapterFacts, check_lora_keys, full_state, lora_state, save_weights
from trainer_core.config import TrainingConfig
from trainer_core.model.reader_keys import LORA_KEYS
from trainer_core.run_folder import RunFolder

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints folder of one run."""

    run: RunFolder
    config: TrainingConfig

    def save(self, transformer: Any, facts: AdapterFacts) -> Path:
        """Write the weights of `facts.step` and return their path; then keep only the newest `keep_last_n`."""
        dtype = _DTYPES[self.config.checkpoints.precision]
        if self.config.model.training_mode == "lora":
            assert self.config.lora is not None
            path = self.run.checkpoints / f"lora_weights_step_{facts.step:05d}.safetensors"
            state = lora_state(transformer, self.config.lora.alpha / self.config.lora.rank, dtype)
            check_lora_keys(state, LORA_KEYS)
            save_weights(path, state, facts)
        else:
            path = self.run.checkpoints / f"model_weights_step_{facts.step:05d}.safetensors"
            save_weights(path, full_state(transformer, dtype), facts, dict(transformer.config))
        self._prune()
        return path

    def _prune(self) -> None:
        kept = self.config.checkpoints.keep_last_n
        if kept < 1:
            return
        saved = sorted(self.run.checkpoints.glob("*_weights_step_*.safetensors"), key=_step_of)
        for old in saved[:-kept]:
            old.unlink()


def _step_of(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])
