"""Steps, learning rate, rank and batch of a training: one rule, from the data's amount, for every real model.

Sources: the values that upstream ships its recipes with (2,000 or 3,000 steps of one sample, rank 32, learning rate
1e-4 or 2e-4) hold for the sizes people report to work, 10 to 30 clips or 20 to 50 images, so for about 30 samples.
From there on, in words and as the constants and the table below:

- amount   = sqrt(samples x scenes): a hundred windows of one scene are worth ten, not a hundred
- passes   = the recipe's steps x sqrt(amount / 30), and no sample more than 150 times
- a step   = 1 sample for little data, 2 or 4 for much (steadier); small samples (stills, sound) go four at a time
- steps    = passes / sqrt(samples a step), at most three times the recipe's: with Adam a larger step goes no further
- rank     = 16 for a handful, 32 (the recipe), 64 for a hundred and more; control by a reference needs no more than 32
- rate     = the recipe's whatever the amount; a tenth of it where every weight is trained

| amount | samples a step | rank | rank with a reference |
| ------ | -------------- | ---- | --------------------- |
| < 10   | 1              | 16   | 16                    |
| < 100  | 1              | 32   | 32                    |
| < 500  | 2              | 64   | 32                    |
| more   | 4              | 64   | 32                    |

Nobody measured these on the data at hand: the plan says that they are a judgement, and the held-out loss judges it.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.inspect.report.report import Clip
from trainer_core.data.buckets import REAL_LIMITS, parse_buckets
from trainer_core.objective import AdapterName
from trainer_core.units import counted

USUAL_AMOUNT = 30
MOST_PASSES_A_SAMPLE = 150
MOST_TIMES_THE_RECIPE = 3
STEPS_OF = 200
"""Steps are a multiple of this, so that saves and samples fall on the same steps."""
SMALL_TOGETHER = 4
AUDIO_TOKENS_A_SECOND = 25
FULL_RATE = 0.1
SAVES, MOST_BETWEEN_SAVES = (8, 12, 16, 20), 500
TINY_STEPS, TINY_RANK, TINY_LEARNING_RATE, TINY_BATCH_SIZE = 60, 8, 2e-3, 2


@dataclass(frozen=True)
class Row:
    """A line of the table: for amounts below `below`, samples a step and ranks."""

    below: float
    together: int
    rank: int
    reference_rank: int


TABLE = (Row(10, 1, 16, 16), Row(100, 1, 32, 32), Row(500, 2, 64, 32), Row(math.inf, 4, 64, 32))


@dataclass(frozen=True)
class Material:
    """Data that the rule goes by: samples to train on, scenes among them, tokens of the largest, samples that share
    their shape with three others, so that they can go four at a time; what the scenes are called."""

    samples: int
    scenes: int
    largest_tokens: int
    batchable: int
    noun: str = "scene"

    @property
    def amount(self) -> float:
        return math.sqrt(self.samples * self.scenes)


@dataclass(frozen=True)
class Schedule:
    """The chosen values by dotted config key, each with its reason; how many samples a step sees."""

    values: dict[str, tuple[Any, str]]
    samples_a_step: int


def material_of(trained: Sequence[Clip], groups: Sequence[str]) -> Material:
    """Measure the clips that are trained on (held-out ones not among them); clips of one group show one scene.

    A film with cuts counts as many scenes as shots of it train.
    """
    shots: dict[str, int] = {}
    for clip, group in zip(trained, groups, strict=True):
        shots[group] = max(shots.get(group, 1), _shots_trained(clip))
    samples = [sample for clip in trained for sample in clip.samples]
    shapes = Counter((sample.bucket, None if sample.bucket else round(sample.duration_s, 2)) for sample in samples)
    tokens = [
        parse_buckets(sample.bucket)[0].tokens
        if sample.bucket
        else math.ceil(sample.duration_s * AUDIO_TOKENS_A_SECOND)
        for sample in samples
    ]
    noun = "recording" if all(clip.kind == "audio" for clip in trained) else "scene"
    batchable = sum(count for count in shapes.values() if count >= SMALL_TOGETHER)
    return Material(len(samples), max(sum(shots.values()), 1), max(tokens, default=0), batchable, noun)


def _shots_trained(clip: Clip) -> int:
    return len({bisect_right(clip.measures.cuts_s, sample.start_s + 1e-3) for sample in clip.samples})


def schedule_of(material: Material, adapter: AdapterName, recipe: dict[str, Any]) -> Schedule:
    """Apply the rule to a recipe's `lora` and `optimization`."""
    base = recipe["optimization"]
    row = next(row for row in TABLE if material.amount < row.below)
    small = min(SMALL_TOGETHER, REAL_LIMITS.max_tokens // max(material.largest_tokens, 1))
    if material.samples < 2 * SMALL_TOGETHER or 2 * material.batchable < material.samples:
        small = 1
    together = max(row.together, small)
    batch = small if small > 1 else 1
    accumulation = max(1, together // batch)
    steps = _steps(material, base["steps"], batch * accumulation)
    values = {
        "optimization.learning_rate": _rate(adapter, base["learning_rate"]),
        "optimization.steps": (steps, _why_steps(material, base["steps"], steps, batch * accumulation)),
        "optimization.batch_size": (batch, _why_batch(material, batch)),
        "optimization.gradient_accumulation_steps": (accumulation, _why_accumulation(material, accumulation)),
    }
    if adapter != "full":
        values["lora.rank"] = _rank(material, adapter, row)
    return Schedule(values, batch * accumulation)


def tiny_schedule(material: Material) -> Schedule:
    """The values of a demonstration: they show that the whole way works, and follow from no data."""
    batch = max(1, min(TINY_BATCH_SIZE, material.samples))
    return Schedule(
        {
            "lora.rank": (TINY_RANK, "the tiny model's layers are a few dozen wide"),
            "optimization.learning_rate": (TINY_LEARNING_RATE, "high, so that few steps show a change"),
            "optimization.steps": (TINY_STEPS, "enough to see the whole way work, in about a minute"),
            "optimization.batch_size": (batch, f"of {counted(material.samples, 'sample')} in all"),
        },
        batch,
    )


def saving_interval(steps: int) -> tuple[int, str]:
    """Steps between saved adapters: eight to choose from in a long run, two in a short one."""
    if steps < STEPS_OF:
        interval = max(1, steps // 2)
    else:
        even = (steps // parts for parts in SAVES if steps % parts == 0 and steps // parts <= MOST_BETWEEN_SAVES)
        interval = next(even, min(MOST_BETWEEN_SAVES, steps // SAVES[0]))
    return interval, "steps between saved adapters; the last step is always saved"


def _steps(material: Material, recipe_steps: int, together: int) -> int:
    passes = recipe_steps * math.sqrt(material.amount / USUAL_AMOUNT)
    passes = min(passes, MOST_PASSES_A_SAMPLE * material.samples)
    steps = min(passes / math.sqrt(together), MOST_TIMES_THE_RECIPE * recipe_steps)
    most = MOST_PASSES_A_SAMPLE * material.samples / together
    return max(STEPS_OF, round(steps / STEPS_OF) * STEPS_OF if steps < most - STEPS_OF else _floored(steps))


def _floored(steps: float) -> int:
    return int(steps // STEPS_OF) * STEPS_OF


def _why_steps(material: Material, recipe_steps: int, steps: int, together: int) -> str:
    seen = steps * together / max(material.samples, 1)
    data = f"{counted(material.samples, 'sample')} of {counted(material.scenes, material.noun)}"
    return f"for {data}, each seen about {seen:.0f} times; the recipe's {recipe_steps} are for about {USUAL_AMOUNT}"


def _why_batch(material: Material, batch: int) -> str:
    if batch > 1:
        return f"{batch} samples of at most {material.largest_tokens} tokens are no more work than one of 768x448x89"
    return "one at a time, as the recipes: it takes the least memory"


def _why_accumulation(material: Material, accumulation: int) -> str:
    if accumulation > 1:
        return f"a step sees {accumulation} batches: with {counted(material.samples, 'sample')} it goes steadier"
    return "each batch is a step of its own"


def _rate(adapter: AdapterName, recipe_rate: float) -> tuple[float, str]:
    if adapter == "full":
        return float(f"{FULL_RATE * recipe_rate:.6g}"), "a tenth of the recipe's: every weight moves, not a small file"
    return recipe_rate, "the objective's recipe, whatever the amount of data: the steps follow that"


def _rank(material: Material, adapter: AdapterName, row: Row) -> tuple[int, str]:
    if adapter == "ic-lora":
        return row.reference_rank, "following a reference takes 16 to 32, people report; fewer for a handful of pairs"
    data = counted(material.scenes, material.noun)
    if row.rank > 32:
        return row.rank, f"{data} are more than one style or person: people report 64 and more for those"
    if row.rank < 32:
        return row.rank, f"{data}: a larger file would learn them by heart"
    return row.rank, f"the recipe's; for {data} of a style, person or thing people report 32 to 64"
