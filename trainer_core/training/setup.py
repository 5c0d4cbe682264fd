"""Setting a run up: everything that can be refused is, then the model is loaded, made trainable and given its data."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from trainer_core.adapters import AdapterFacts, add_lora, load_lora, train_fully
from trainer_core.config import TrainingConfig
from trainer_core.data.dataset import BatchStream, SampleFiles, check_widths, find_samples
from trainer_core.data.windows import read_windows
from trainer_core.doctor.examine import Base
from trainer_core.errors import ConfigError, DataError
from trainer_core.full_checkpoint import load_full
from trainer_core.lora.kinds import strength_of
from trainer_core.model.block_swap import BlockSwap, swapped_indices, to_device
from trainer_core.model.load import open_model
from trainer_core.model.ltx import LtxModel
from trainer_core.model.savings import checkpoint_blocks, chunk_feed_forward
from trainer_core.model.source import ModelSource, Placement
from trainer_core.objective import Objective, name_of, objective_of, reference_scales
from trainer_core.pace import Pace
from trainer_core.quantization_names import quantization_named
from trainer_core.run_folder import RunFolder
from trainer_core.training.checkpointing.checkpoints import Checkpoints
from trainer_core.training.evaluation.split import divide, heldout_names
from trainer_core.training.monitoring.alarms import Alarms
from trainer_core.training.noise import SigmaSampler, sigma_sampler
from trainer_core.training.optim.ema import WeightAverage
from trainer_core.training.optim.optimizers import build_optimizer, build_schedule
from trainer_core.training.step import MODALITIES
from trainer_core.training.text_contexts import StoredContexts


@dataclass
class Session:
    """Everything a running training holds."""

    config: TrainingConfig
    run: RunFolder
    accelerator: Any
    source: ModelSource
    objective: Objective
    model: LtxModel
    connectors: Any
    parameters: list[nn.Parameter]
    optimizer: Optimizer
    schedule: LRScheduler
    sampler: SigmaSampler
    stream: BatchStream
    checkpoints: Checkpoints
    autocast: Callable[[], AbstractContextManager[Any]]
    heldout: list[SampleFiles] = field(default_factory=list)
    average: WeightAverage | None = None
    pace: Pace = field(default_factory=Pace)
    alarms: Alarms = field(default_factory=Alarms)
    skipped: int = 0
    skip_note: str | None = None
    step: int = 0
    """Optimizer steps done."""
    saved_step: int = 0
    checked_step: int = 0
    mid_update: bool = False
    """True while weights, optimizer and schedule may disagree: such a state is never saved."""
    base: Base | None = None
    random_before: dict[str, Any] | None = None
    """The random states at the beginning of a step that is under way, where the model draws any (dropout)."""


def set_up(config: TrainingConfig, run: RunFolder) -> Session:
    """Load the model and the data and put the adapter on; refuses what can't work before anything big is loaded."""
    from accelerate import Accelerator

    _refuse_quantized_full_training(config)
    objective = objective_of(config.strategy)
    source = open_model(config.model)
    declared = None if config.ltx_agent.dataset is None else [window.name for window in read_windows(config)]
    samples = find_samples(Path(config.data.preprocessed_data_root), objective, source.factors, declared)
    check_widths(samples, objective, source.widths)
    _reference_scale(samples)
    samples, heldout = divide(samples, heldout_names(config))
    sampler = sigma_sampler(config.flow_matching.timestep_sampling_mode, config.flow_matching.timestep_sampling_params)
    accumulation = config.optimization.gradient_accumulation_steps
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), gradient_accumulation_steps=accumulation)
    precision = config.acceleration.mixed_precision_mode
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    autocast = _autocast(precision, accelerator.device)
    savings = config.ltx_agent.memory
    placement = Placement(accelerator.device, config.acceleration.quantization, savings.swap_blocks)
    transformer = source.transformer(dtype, placement)
    model = LtxModel(transformer)
    parameters = _make_trainable(config, transformer, objective)
    save_memory(config, transformer, accelerator.device)
    stream = BatchStream(samples, objective, config.optimization.batch_size, config.seed)
    connectors = _connectors(config, source, objective, dtype, accelerator.device)
    if isinstance(connectors, StoredContexts):
        with autocast():
            connectors.add(stream.every_sample(), accelerator.device)
    if config.ltx_agent.torch_compile:
        transformer.compile_repeated_blocks()
    optimizer = build_optimizer(config.optimization, parameters, fused=savings.fused_optimizer)
    decay = config.ltx_agent.training.ema_decay
    return Session(
        config=config,
        run=run,
        accelerator=accelerator,
        source=source,
        objective=objective,
        model=model,
        connectors=connectors,
        parameters=parameters,
        optimizer=optimizer,
        schedule=build_schedule(config.optimization, optimizer, config.ltx_agent.warmup_steps),
        sampler=sampler,
        stream=stream,
        checkpoints=Checkpoints(run, config, source),
        autocast=autocast,
        heldout=heldout,
        average=None if decay is None else WeightAverage(parameters, decay),
    )


def adapter_facts(session: Session, step: int) -> AdapterFacts:
    """What the file will say about itself."""
    spatial, temporal = _reference_scale(session.stream.samples)
    lora = session.config.lora if session.config.model.training_mode == "lora" else None
    return AdapterFacts(
        version=session.source.version,
        base=session.source.label,
        base_fingerprint=session.source.fingerprint("transformer"),
        objective=session.config.ltx_agent.objective or name_of(session.config.strategy) or "custom",
        step=step,
        rank=lora.rank if lora is not None else None,
        kind=session.config.ltx_agent.lora.kind if lora is not None else "lora",
        reference_spatial_scale=spatial,
        reference_temporal_scale=temporal,
    )


def _reference_scale(samples: list[SampleFiles]) -> tuple[int, int]:
    """(spatial, temporal) scale of the references, which the adapter's file states; a single image has no temporal one.

    Raises DataError when they are of several scales: a file states only one.
    """
    spatial: dict[int, str] = {}
    temporal: dict[int, str] = {}
    for sample in samples:
        grids = dict(sample.shape)
        if "video_reference" not in grids:
            continue
        scales = reference_scales(grids["video"], grids["video_reference"], sample.name)
        spatial.setdefault(scales[0], sample.name)
        if grids["video_reference"][0] > 1:
            temporal.setdefault(scales[1], sample.name)
    for what, found in (("size", spatial), ("length", temporal)):
        if len(found) > 1:
            said = ", ".join(f"1/{scale} for {name}" for scale, name in sorted(found.items()))
            raise DataError(
                f"The references are of several scales, {said} of the target's {what}; the adapter's file can state "
                "only one.",
                "Encode all references at one scale.",
            )
    return next(iter(spatial), 1), next(iter(temporal), 1)


def _refuse_quantized_full_training(config: TrainingConfig) -> None:
    name = config.acceleration.quantization
    if name is None:
        return
    quantization_named(name)
    if config.model.training_mode == "full":
        raise ConfigError(
            f"acceleration.quantization {name} holds the base in few bits, and full training moves every weight of it.",
            "Set it to null, or train a LoRA.",
        )


def save_memory(config: TrainingConfig, transformer: Any, device: torch.device) -> BlockSwap | None:
    """Switch on what the config saves memory with, and move the trainable `transformer` to the device."""
    savings = config.ltx_agent.memory
    if config.optimization.enable_gradient_checkpointing:
        checkpoint_blocks(transformer, offload=savings.offload_activations)
    if savings.feed_forward_chunk_tokens is not None:
        chunk_feed_forward(transformer, savings.feed_forward_chunk_tokens)
    blocks = transformer.transformer_blocks
    swapped = swapped_indices(len(blocks), savings.swap_blocks)
    to_device(transformer, device, [blocks[index] for index in swapped])
    return BlockSwap(blocks, savings.swap_blocks, device) if swapped else None


def _connectors(
    config: TrainingConfig, source: ModelSource, objective: Objective, dtype: torch.dtype, device: torch.device
) -> Any:
    if not config.ltx_agent.memory.precompute_text:
        return source.connectors(dtype).to(device)
    present = tuple(name for name in MODALITIES if objective.modality(name).present)
    return StoredContexts(lambda: source.connectors(dtype).to(device), present)


def _make_trainable(config: TrainingConfig, transformer: Any, objective: Objective) -> list[nn.Parameter]:
    if config.model.training_mode == "full":
        if config.model.load_checkpoint is not None:
            load_full(transformer, Path(config.model.load_checkpoint))
        return train_fully(transformer, objective)
    assert config.lora is not None
    kind = config.ltx_agent.lora
    parameters = add_lora(transformer, config.lora, objective, config.seed, kind)
    if config.model.load_checkpoint is not None:
        load_lora(transformer, Path(config.model.load_checkpoint), strength_of(config.lora, kind))
    return parameters


def _autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    if precision == "fp16":
        raise ConfigError(
            "mixed_precision_mode fp16 is not available: fp16 gradients vanish unless the loss is scaled, which this "
            "trainer doesn't do, and the weights are published in bf16, whose range fp16 doesn't hold.",
            "Use bf16, which takes as much memory, or no.",
        )
    if precision == "no":
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
