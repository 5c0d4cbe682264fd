"""A requested sample: a prompt with its conditions, a seed, and where the prompt comes from. No torch."""

from dataclasses import dataclass
from typing import Literal

from trainer_core.config import TrainingConfig
from trainer_core.sections.validation import ValidationSample

PromptKind = Literal["validation", "prompt", "in_distribution", "held_out", "out_of_distribution"]


@dataclass(frozen=True)
class Wanted:
    """A sample to make: what is asked for, its seed, and why it is made."""

    sample: ValidationSample
    seed: int
    kind: PromptKind = "validation"


def samples_due(config: TrainingConfig, step: int) -> bool:
    """True if samples are rendered at `step`: at the interval's steps, and before the first one unless skipped."""
    section = config.validation
    if not section.samples:
        return False
    if step == 0:
        return not section.skip_initial_validation
    return section.interval is not None and step % section.interval == 0
