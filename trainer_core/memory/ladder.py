"""The ladder of memory savings: which switch comes next when a training doesn't fit, what it costs, what it changes.

The rungs are data, quickest first. No torch: the chat and the draft read it.
"""

import difflib
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from trainer_core.config import TrainingConfig, dump_config, parse_config
from trainer_core.errors import ConfigError
from trainer_core.objective import merged, nested

INT8_NAMES = ("int8-quanto", "int8", "int8-dynamic", "fp8-quanto", "fp8")


@dataclass(frozen=True)
class Rung:
    """One step down: `changes` by dotted key, taken where the first key holds one of `instead_of`.

    `exact`: the losses are those without it, up to rounding; otherwise something is approximated. `needs` must hold
    before, by dotted key. `stage`: whether it saves memory in the training's step, or before it, where captions and
    prompts are encoded.
    """

    name: str
    changes: dict[str, Any]
    instead_of: tuple[Any, ...]
    words: str
    cost: str
    exact: bool = True
    adapter: Literal["lora", "full"] | None = None
    needs: dict[str, Any] = field(default_factory=dict)
    stage: "Stage" = "step"


Stage = Literal["encoding", "step"]
ENCODING_STAGE = "encoding prompts"
"""What a rehearsal calls the stage that the rungs of `encoding` are for."""
_CHECKPOINTING = {"optimization.enable_gradient_checkpointing": True}
_SWAP = "ltx_agent.memory.swap_blocks"

RUNGS: tuple[Rung, ...] = (
    Rung(
        "text-encoder-8bit",
        {"acceleration.load_text_encoder_in_8bit": True},
        (False,),
        "hold the text encoder in 8-bit integers while captions and prompts are encoded",
        "encoding takes a little longer; the text features are rounded slightly",
        exact=False,
        stage="encoding",
    ),
    Rung(
        "gradient-checkpointing",
        _CHECKPOINTING,
        (False,),
        "keep only each block's input and compute the rest again in the backward pass",
        "a step takes about a third longer",
    ),
    Rung(
        "precompute-text",
        {"ltx_agent.memory.precompute_text": True},
        (False,),
        "run the text connectors once before training and drop them",
        "seconds at the start",
    ),
    Rung(
        "single-sample-batches",
        {},
        (),
        "one sample at a time, gradients accumulated: a step still sees as many samples",
        "a step takes up to twice as long",
    ),
    Rung(
        "8-bit-optimizer",
        {"optimization.optimizer_type": "adamw8bit"},
        ("adamw",),
        "hold the optimizer's two moments in 8 bits",
        "nothing to speak of; updates are rounded slightly",
        exact=False,
    ),
    Rung(
        "fused-optimizer",
        {"ltx_agent.memory.fused_optimizer": True, "optimization.max_grad_norm": 0.0},
        (False,),
        "update each weight as soon as its gradient is there, so that the gradients never lie in memory together",
        "gradients can't be clipped by their common norm",
        exact=False,
        adapter="full",
        needs={"optimization.gradient_accumulation_steps": 1},
    ),
    Rung(
        "24-bit-weights",
        {"ltx_agent.training.master_weights": "float24"},
        ("auto", "float32"),
        "hold every weight in bf16 with 8 more bits instead of in float32, and the moments in 8 bits",
        "updates are rounded slightly; none is lost",
        exact=False,
        adapter="full",
        needs={"acceleration.mixed_precision_mode": "bf16", "optimization.optimizer_type": "adamw8bit"},
    ),
    Rung(
        "stochastic-rounding",
        {"ltx_agent.training.master_weights": "stochastic"},
        ("float24",),
        "hold every weight in bf16 alone and round each update up or down by chance",
        "updates are right on average and noisy: use a learning rate of 1e-4 or more",
        exact=False,
        adapter="full",
        needs={"acceleration.mixed_precision_mode": "bf16"},
    ),
    Rung(
        "int8-base",
        {"acceleration.quantization": "int8-quanto"},
        (None,),
        "hold the frozen base in 8-bit integers",
        "a step takes a little longer; the base is approximated, see `ltx-agent quantization`",
        exact=False,
        adapter="lora",
    ),
    Rung(
        "chunked-feed-forward",
        {"ltx_agent.memory.feed_forward_chunk_tokens": 1024},
        (None,),
        "compute the feed-forward layers 1,024 tokens at a time",
        "the feed-forward layers run once more in the backward pass",
    ),
    Rung(
        "offload-activations",
        {"ltx_agent.memory.offload_activations": True},
        (False,),
        "keep the blocks' inputs in host memory until the backward pass needs them",
        "they cross the bus twice a step",
        needs=_CHECKPOINTING,
    ),
    *(
        Rung(
            f"swap-{count}-blocks",
            {_SWAP: count},
            tuple(range(count)),
            f"keep {count} of the transformer's blocks in host memory and bring each in time",
            "weights cross the bus in the forward and again in the backward pass",
            adapter="lora",
            needs=_CHECKPOINTING,
        )
        for count in (12, 24, 36)
    ),
    Rung(
        "4-bit-base",
        {"acceleration.quantization": "int4-quanto"},
        (None, *INT8_NAMES),
        "hold the frozen base in 4-bit normal floats",
        "the base is approximated coarsely, see `ltx-agent quantization`",
        exact=False,
        adapter="lora",
    ),
)


@dataclass(frozen=True)
class Proposal:
    """The next rung for a config that ran out of memory: what would change, and the config that results."""

    rung: str
    words: str
    cost: str
    exact: bool
    changes: dict[str, tuple[Any, Any]]
    config: TrainingConfig
    diff: str

    @property
    def sentence(self) -> str:
        changed = ", ".join(f"{key}: {old} → {new}" for key, (old, new) in self.changes.items())
        return f"{self.rung}: {self.words} ({changed}). Cost: {self.cost}."


def next_rung(config: TrainingConfig, skip: frozenset[str] = frozenset(), stage: Stage = "step") -> Proposal | None:
    """Return the first rung of a stage that `config` doesn't stand on yet; None at the foot of its ladder.

    `skip` names rungs that were tried and don't help here.
    """
    for rung in RUNGS:
        if rung.stage != stage or rung.name in skip:
            continue
        changes = _changes(rung, config)
        if not changes:
            continue
        try:
            return proposal(config, rung, changes)
        except ConfigError:  # another setting forbids it, as an optimizer that can't be fused does
            continue
    return None


def undone(config: TrainingConfig, rung: Rung) -> Proposal | None:
    """Return `config` one step up again: without what `rung` switched on; None where it isn't on or others need it."""
    document = config.model_dump(mode="json")
    if not rung.changes or any(value_at(document, key) != value for key, value in rung.changes.items()):
        return None
    if rung.instead_of[0] == value_at(document, next(iter(rung.changes))):
        return None
    before = {next(iter(rung.changes)): rung.instead_of[0]}
    try:
        return proposal(config, rung, before)
    except ConfigError:  # another switch needs this one
        return None


def ladder_of(config: TrainingConfig, stage: Stage = "step") -> list[Proposal]:
    """Every rung of a stage below `config`, each laid over the one before it."""
    found = []
    while (step := next_rung(config, stage=stage)) is not None:
        found.append(step)
        config = step.config
    return found


def proposal(config: TrainingConfig, rung: Rung, changes: dict[str, Any]) -> Proposal:
    """Lay `changes` over `config`."""
    document = config.model_dump(mode="json")
    before = {key: value_at(document, key) for key in changes}
    changed = parse_config(yaml.safe_dump(merged(document, nested(changes))))
    return Proposal(
        rung=rung.name,
        words=rung.words,
        cost=rung.cost,
        exact=rung.exact,
        changes={key: (before[key], value) for key, value in changes.items()},
        config=changed,
        diff=_diff(config, changed),
    )


def value_at(document: dict[str, Any], key: str) -> Any:
    """The value under a dotted key."""
    value: Any = document
    for part in key.split("."):
        value = value[part]
    return value


def _changes(rung: Rung, config: TrainingConfig) -> dict[str, Any]:
    document = config.model_dump(mode="json")
    if rung.name == "single-sample-batches":
        size, steps = config.optimization.batch_size, config.optimization.gradient_accumulation_steps
        changed = {"optimization.batch_size": 1, "optimization.gradient_accumulation_steps": size * steps}
        fused = config.ltx_agent.memory.fused_optimizer  # it can't accumulate
        return changed if size > 1 and not fused else {}
    fits = (
        rung.adapter in (None, config.model.training_mode)
        and all(value_at(document, key) == value for key, value in rung.needs.items())
        and value_at(document, next(iter(rung.changes))) in rung.instead_of
    )
    return {key: value for key, value in rung.changes.items() if value_at(document, key) != value} if fits else {}


def _diff(before: TrainingConfig, after: TrainingConfig) -> str:
    lines = difflib.unified_diff(
        dump_config(before).splitlines(),
        dump_config(after).splitlines(),
        "config.yaml",
        "config.yaml",
        n=1,
        lineterm="",
    )
    return "\n".join(lines)
