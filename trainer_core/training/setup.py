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

from trainer_core.adapters import AdapterFacts, add_lora, train_fully
from trainer_core.config import TrainingConfig, refuse_untrainable
from trainer_core.data.dataset import BatchStream
from trainer_core.data.samples import SampleFiles, check_widths, find_samples, leave_out_of, reference_key
from trainer_core.data.windows import training_windows
from trainer_core.doctor.examine import Base
from trainer_core.errors import ConfigError, DataError
from trainer_core.full_checkpoint import load_full
from trainer_core.memory.plan import fitting_master_weights
from trainer_core.model.block_swap import BlockSwap, swapped_indices, to_device
from trainer_core.model.load import open_model
from trainer_core.model.ltx import LtxModel
from trainer_core.model.savings import checkpoint_blocks, chunk_feed_forward
from trainer_core.model.source import ModelSource, Placement
from trainer_core.objective import ModalityName, Objective, objective_of
from trainer_core.optimizer_names import MasterWeights
from trainer_core.pace import RunPace
from trainer_core.quantization_names import quantization_named
from trainer_core.run_folder import RunFolder
from trainer_core.sample_shape import reference_scales
from trainer_core.trained_as import Scales, trained_as
from trainer_core.training.checkpointing.checkpoints import Checkpoints
from trainer_core.training.checkpointing.state import saved_master_weights
from trainer_core.training.continued import Continued, continue_lora
from trainer_core.training.evaluation.split import divide, heldout_names
from trainer_core.training.monitoring.alarms import Alarms
from trainer_core.training.monitoring.weight_change import WeightChange
from trainer_core.training.noise import SigmaSampler, sigma_samplers
from trainer_core.training.optim.ema import WeightAverage
from trainer_core.training.optim.optimizers import build_optimizer, build_schedule
from trainer_core.training.step import MODALITIES
from trainer_core.training.text_contexts import StoredContexts


@dataclass
class TrainingSession:
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
    sampler: dict[ModalityName, SigmaSampler]
    stream: BatchStream
    checkpoints: Checkpoints
    autocast: Callable[[], AbstractContextManager[Any]]
    heldout: list[SampleFiles] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Samples that are not trained on because they are incomplete, with the columns that they lack."""
    average: WeightAverage | None = None
    master_weights: MasterWeights = "float32"
    """What the trained weights are held in, never `auto`."""
    weight_change: WeightChange | None = None
    pace: RunPace = field(default_factory=RunPace)
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


def set_up(config: TrainingConfig, run: RunFolder) -> TrainingSession:
    """Load the model and the data and put the adapter on; refuses what can't work before anything big is loaded."""
    from accelerate import Accelerator

    _refuse_quantized_full_training(config)
    refuse_untrainable(config)
    objective = objective_of(config.strategy)
    source = open_model(config.model)
    left_out: dict[str, str] = {}
    declared = None
    if config.ltx_agent.dataset is not None:
        declared = [window.name for window in training_windows(config, left_out.__setitem__)]
    root, leave_out = Path(config.data.preprocessed_data_root), leave_out_of(config, left_out)
    samples = find_samples(root, objective, source.factors, declared, leave_out)
    check_widths(samples, objective, source.widths)
    _reference_scales(samples, objective)
    samples, heldout = divide(samples, heldout_names(config))
    sampler = sigma_samplers(config.flow_matching, config.ltx_agent.noise)
    accumulation = config.optimization.gradient_accumulation_steps
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), gradient_accumulation_steps=accumulation)
    precision = config.acceleration.mixed_precision_mode
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    master = master_weights_of(config, run, accelerator.device)
    autocast = _autocast(config, precision, accelerator.device)
    savings = config.ltx_agent.memory
    placement = Placement(accelerator.device, config.acceleration.quantization, savings.swap_blocks)
    transformer = source.transformer(dtype, placement)
    model = LtxModel(transformer)
    parameters, continued = _make_trainable(config, transformer, objective, master)
    save_memory(config, transformer, accelerator.device)
    stream = BatchStream(samples, objective, config.optimization.batch_size, config.seed)
    connectors = _connectors(config, source, objective, dtype, accelerator.device)
    if isinstance(connectors, StoredContexts):
        with autocast():
            connectors.add(stream.every_sample(), accelerator.device)
    if config.ltx_agent.torch_compile:
        transformer.compile_repeated_blocks()
    optimizer = build_optimizer(
        config.optimization, parameters, fused=savings.fused_optimizer, master_weights=master, seed=config.seed
    )
    decay = config.ltx_agent.training.ema_decay
    return TrainingSession(
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
        checkpoints=Checkpoints(run, config, source, continued),
        autocast=autocast,
        heldout=heldout,
        left_out=left_out,
        average=None if decay is None else WeightAverage(parameters, decay),
        master_weights=master,
        weight_change=None if master == "stochastic" else WeightChange(parameters, optimizer),
    )


def master_weights_of(config: TrainingConfig, run: RunFolder, device: torch.device) -> MasterWeights:
    """The precision that this run holds its trained weights in: what its newest state was saved in, or what fits.

    A run that goes on elsewhere keeps what it began with.
    """
    asked = config.ltx_agent.training.master_weights
    saved = saved_master_weights(run.states)
    if asked == "auto" and saved is not None:
        return saved
    if device.type == "cuda":
        room = torch.cuda.get_device_properties(device).total_memory
    else:
        import psutil

        room = psutil.virtual_memory().total
    limit_gb = config.ltx_agent.memory.limit_gb
    return fitting_master_weights(config, room if limit_gb is None else min(room, limit_gb * 1e9))


def adapter_facts(session: TrainingSession, step: int) -> AdapterFacts:
    """Return the facts that the file will state about itself."""
    scales = _reference_scales(session.stream.samples, session.objective)
    spatial, temporal = next((scales[one.latents_dir] for one in session.objective.video.references), (1, 1))
    lora = session.config.lora if session.config.model.training_mode == "lora" else None
    return AdapterFacts(
        version=session.source.version,
        base=session.source.label,
        base_fingerprint=session.source.fingerprint("transformer"),
        objective=session.config.objective_name,
        step=step,
        rank=lora.rank if lora is not None and not session.checkpoints.continued.rank_differs(lora.rank) else None,
        kind=session.config.ltx_agent.lora.kind if lora is not None else "lora",
        reference_spatial_scale=spatial,
        reference_temporal_scale=temporal,
        trained_as=trained_as(session.objective, scales),
    )


def _reference_scales(samples: list[SampleFiles], objective: Objective) -> dict[str, Scales]:
    """(spatial, temporal) scale of each reference of video by its `latents_dir`; a single image has no temporal one.

    Raises DataError when one reference is of several scales: the adapter's file states one for each.
    """
    return {
        reference.latents_dir: _scale_of(samples, reference_key("video", number), reference.latents_dir)
        for number, reference in enumerate(objective.video.references, start=1)
    }


def _scale_of(samples: list[SampleFiles], key: str, directory: str) -> Scales:
    spatial: dict[int, str] = {}
    temporal: dict[int, str] = {}
    for sample in samples:
        grids = dict(sample.shape)
        scales = reference_scales(grids["video"], grids[key], sample.name)
        spatial.setdefault(scales[0], sample.name)
        if grids[key][0] > 1:
            temporal.setdefault(scales[1], sample.name)
    for what, found in (("size", spatial), ("length", temporal)):
        if len(found) > 1:
            said = ", ".join(f"1/{scale} for {name}" for scale, name in sorted(found.items()))
            raise DataError(
                f"The references in {directory} are of several scales, {said} of the target's {what}; the adapter's "
                "file can state only one.",
                "Encode all of them at one scale.",
            )
    return next(iter(spatial), 1), next(iter(temporal), 1)


def _refuse_quantized_full_training(config: TrainingConfig) -> None:
    name = config.acceleration.quantization
    if name is None:
        return
    quantization_named(name)
    if config.model.training_mode == "full":
        raise ConfigError(
            f"acceleration.quantization {name} quantises the base, and full training moves every weight of it.",
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


def _make_trainable(
    config: TrainingConfig, transformer: Any, objective: Objective, master: MasterWeights
) -> tuple[list[nn.Parameter], Continued]:
    """The parameters that train, and what is kept beside them of a LoRA that the run begins from."""
    if config.model.training_mode == "full":
        # wide first: a checkpoint in float32 then loses nothing
        trained = train_fully(transformer, objective, torch.float32 if master == "float32" else None)
        if config.model.load_checkpoint is not None:
            load_full(transformer, Path(config.model.load_checkpoint))
        return trained, Continued()
    assert config.lora is not None
    kind = config.ltx_agent.lora
    parameters = add_lora(transformer, config.lora, objective, config.seed, kind)
    if config.model.load_checkpoint is None:
        return parameters, Continued()
    path, others = Path(config.model.load_checkpoint), config.ltx_agent.training.other_modules
    return parameters, continue_lora(transformer, path, config.lora, kind, objective, others)


def _autocast(
    config: TrainingConfig, precision: str, device: torch.device
) -> Callable[[], AbstractContextManager[Any]]:
    if precision == "no":
        return nullcontext
    # float32 weights would all be kept as bf16 copies until the forward ends; each is used once, so none is kept
    cached = config.model.training_mode == "lora"
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=cached)
