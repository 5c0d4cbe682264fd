"""Samples while a run trains: rendered after a checkpoint is saved, base against adapter at the same seed.

Nothing here may harm the run: a failure is an event, files are written once, a kill leaves what was there before.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainer_core.config import TrainingConfig, is_tiny
from trainer_core.errors import LtxError
from trainer_core.frozen_lora import enable_adapters
from trainer_core.model.load import open_model
from trainer_core.model.source import ModelSource
from trainer_core.run_folder import RunFolder
from trainer_core.sampling.cached_inputs import INPUTS_FOLDER, Prepared, prepare_inputs
from trainer_core.sampling.decode import Tiles
from trainer_core.sampling.guidance import Guidance, guidance_of
from trainer_core.sampling.index import SampleIndex, read_index
from trainer_core.sampling.memory_budget import (
    NoRoom,
    Room,
    denoise_bytes,
    held_bytes,
    no_room,
    room_for_samples,
    tiles_that_fit,
)
from trainer_core.sampling.prompts import Wanted
from trainer_core.sampling.render import Decoders, Shot, write_shots
from trainer_core.sampling.sampler import SampleInputs, denoise, draw_noise
from trainer_core.sampling.schedule import dev_sigmas
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.optim.optimizers import finished_weights
from trainer_core.training.setup import TrainingSession
from trainer_core.training.step import MODALITIES

StopAsked = Callable[[], bool]


class _Abandoned(Exception):
    """Someone asked the run to stop while a sample was being made."""


def wanted_samples(config: TrainingConfig) -> list[Wanted]:
    """The samples that the config's `validation:` section asks for."""
    section = config.validation
    return [Wanted(one, one.seed if one.seed is not None else section.seed) for one in section.samples]


def check_samples(config: TrainingConfig) -> None:
    """Raise ConfigError for guidance that the config's model can't give; nothing is loaded."""
    if config.validation.samples:
        guidance_of(config.validation, open_model(config.model), is_tiny(config.model.model_path))


def prepare_samples(
    config: TrainingConfig, run: RunFolder, source: ModelSource, device: torch.device, keeper: StatusKeeper
) -> list[Prepared]:
    """Encode the prompts and conditions of the run's samples, once; later calls read them back.

    `keeper` shows how far it is and keeps what has to be said of it.
    """
    return prepare_inputs(
        source,
        config.validation,
        wanted_samples(config),
        run.samples / INPUTS_FOLDER,
        device,
        lambda what: keeper.update(stage=what),
        text_in_8bit=config.acceleration.load_text_encoder_in_8bit,
        tell=lambda said: keeper.record("encoding", message=said),
    )


def prepare_samples_early(config: TrainingConfig, run: RunFolder, keeper: StatusKeeper) -> None:
    """Encode prompts and conditions before the transformer is loaded. Raises what a person has to mend first.

    That is a missing file, a prompt that is too long, conditions that don't fit: the run hasn't cost anything yet.
    """
    from accelerate import Accelerator

    source, device = open_model(config.model), Accelerator(cpu=not torch.cuda.is_available()).device
    prepare_samples(config, run, source, device, keeper)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def rehearse_samples(session: TrainingSession, keeper: StatusKeeper) -> None:
    """Make the largest of the config's samples in two steps, decode it and write nothing: what a rehearsal measures.

    Raises whatever goes wrong, an out-of-memory error among it; does nothing when the config names no sample.
    """
    config, device = session.config, session.accelerator.device
    prepared = prepare_samples(config, session.run, session.source, device, keeper)
    if not prepared:
        return
    largest = max(prepared, key=lambda one: one.shape.width * one.shape.height * one.shape.frames)
    guidance, _ = guidance_of(config.validation, session.source, is_tiny(config.model.model_path))
    room = room_for_samples(config.ltx_agent.memory, device)
    decoders = Decoders(session.source, device, partial(_tiles, session, room, lambda _tiles: None))
    try:
        inputs = largest.inputs()
        _refuse_too_large(session, largest.wanted, inputs, room)
        with _ready_to_sample(session), torch.random.fork_rng(), session.autocast():
            latents = denoise(
                session.model, connectors_of(session), inputs, guidance, dev_sigmas(2), draw_noise(inputs, 0)
            )
        if "video" in latents:
            for _stretch in decoders.pictures(latents["video"][0]):
                pass
        if "audio" in latents:
            decoders.sound(latents["audio"][0])
    except NoRoom as error:  # a rehearsal goes down its ladder when memory runs out
        raise torch.OutOfMemoryError(str(error)) from error
    finally:
        decoders.close()


def _refuse_too_large(session: TrainingSession, wanted: Wanted, inputs: SampleInputs, room: Room) -> None:
    """Raise NoRoom for a sample whose denoising would pass the room there is."""
    device = session.accelerator.device
    config, element_bytes = session.model.transformer.config, 4 if device.type == "cpu" else 2
    widths = {"video": config.num_attention_heads * config.attention_head_dim}
    widths["audio"] = config.audio_num_attention_heads * config.audio_attention_head_dim
    sides = [(inputs.batch.modality(name), widths[name]) for name in MODALITIES]
    tokens = [
        (side.tokens + sum(reference.tokens for reference in side.references.values()), width)
        for side, width in sides
        if side is not None
    ]
    need = held_bytes(device, _held(session)) + sum(
        denoise_bytes(count, width, element_bytes) for count, width in tokens
    )
    if need > room.total:
        raise no_room(f"The sample `{wanted.sample.prompt[:60]}`", need, room)


def _held(session: TrainingSession) -> Iterator[Tensor]:
    """The tensors of a training that stay while samples are made."""
    yield from session.model.parameters()
    yield from session.model.buffers()
    if not session.config.acceleration.offload_optimizer_during_validation:
        yield from (
            value for state in session.optimizer.state.values() for value in state.values() if torch.is_tensor(value)
        )


def _tiles(session: TrainingSession, room: Room, tell: Callable[[Tiles], None], vae: Any, latents: Tensor) -> Tiles:
    """The tiles that decode `latents` [C, F, H, W] in the room there is; smaller ones than usual are told."""
    device, grid = session.accelerator.device, (latents.shape[1], latents.shape[2], latents.shape[3])
    held = held_bytes(device, [*_held(session), *vae.parameters()])
    tiles = tiles_that_fit(vae.config, grid, vae.dtype.itemsize, room, held)
    if tiles != Tiles():
        tell(tiles)
    return tiles


def render_samples(
    session: TrainingSession, step: int, keeper: StatusKeeper, should_stop: StopAsked = lambda: False
) -> None:
    """Render the config's samples with the weights as they are at `step`; what exists already is left alone.

    The base is rendered once: by a LoRA run at any step, by a full run at step 0 alone. The main process calls it.
    Never raises for what can go wrong with samples: it becomes an event, and training goes on.
    """
    stage = keeper.status.stage
    try:
        _render(session, step, keeper, should_stop)
    except _Abandoned:
        keeper.record("samples abandoned", step=step)
    except torch.cuda.OutOfMemoryError as error:
        keeper.record("samples failed", step=step, error=f"out of memory: {error}")
    except (LtxError, RuntimeError, OSError, ValueError) as error:
        keeper.record("samples failed", step=step, error=str(error) or type(error).__name__)
    finally:
        gc.collect()
        if session.accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        keeper.update(stage=stage)


def _render(session: TrainingSession, step: int, keeper: StatusKeeper, should_stop: StopAsked) -> None:
    config, run, device = session.config, session.run, session.accelerator.device
    folder = run.samples
    for leftover in folder.rglob(".part-*"):
        leftover.unlink(missing_ok=True)
    started = time.perf_counter()
    prepared = prepare_samples(config, run, session.source, device, keeper)
    tiny = is_tiny(config.model.model_path)
    index = read_index(folder) or SampleIndex(session.source.label, tiny)
    guidance, notes = guidance_of(config.validation, session.source, tiny)
    lora = config.model.training_mode == "lora"
    shots: list[Shot] = []
    room = room_for_samples(config.ltx_agent.memory, device)

    def check_stop() -> None:
        if should_stop() or run.stop_request_path.exists():
            raise _Abandoned

    def tell_tiles(tiles: Tiles) -> None:
        size = f"{tiles.frames} latent frames, {tiles.px} px"
        keeper.record("samples in smaller tiles", step=step, tiles=size, room=room.total, source=room.source)

    def decoding(what: str) -> None:
        check_stop()
        keeper.update(stage=what)

    connectors = connectors_of(session)
    with _ready_to_sample(session), torch.random.fork_rng():
        for number, one in enumerate(prepared, start=1):
            check_stop()
            missing = [adapter for adapter in (False, True) if _is_missing(index, one, step, adapter, config)]
            if not missing:
                continue
            one.given.notes.extend(note for note in notes if note not in one.given.notes)
            inputs = one.inputs()
            try:
                _refuse_too_large(session, one.wanted, inputs, room)
            except NoRoom as error:
                keeper.record("sample skipped", step=step, error=str(error))
                continue
            for adapter in missing:

                def progress(done: int, total: int, number: int = number, adapter: bool = adapter) -> None:
                    check_stop()
                    which = "" if adapter else " (base)"
                    keeper.update(stage=f"sampling {number} of {len(prepared)}{which}: step {done} of {total}")

                with _without_adapter(session, lora and not adapter):
                    shots.append(_shoot(session, connectors, one, inputs, guidance, step, adapter, progress))
        if not shots:
            return
        write_shots(
            shots,
            folder,
            index,
            Decoders(session.source, device, partial(_tiles, session, room, tell_tiles)),
            config.validation.inference_steps,
            f"run {run.id}",
            decoding,
        )
    keeper.record("samples", step=step, samples=len(shots), seconds=round(time.perf_counter() - started, 1))


def connectors_of(session: TrainingSession) -> Any:
    """The text connectors; a run whose contexts were all made beforehand has let go of them, so they are loaded."""
    if isinstance(session.connectors, torch.nn.Module):
        return session.connectors
    dtype = session.model.transformer.proj_in.weight.dtype
    return session.source.connectors(dtype).to(session.accelerator.device)


def _is_missing(index: SampleIndex, prepared: Prepared, step: int, adapter: bool, config: TrainingConfig) -> bool:
    if adapter:  # a fresh adapter is the base at step 0
        fresh = step == 0 and config.model.load_checkpoint is None
        return not fresh and not index.holds(prepared.id, step, adapter=True)
    reachable = config.model.training_mode == "lora" or step == 0
    return reachable and index.base_of(prepared.id) is None


def _shoot(
    session: TrainingSession,
    connectors: Any,
    prepared: Prepared,
    inputs: SampleInputs,
    guidance: Guidance,
    step: int,
    adapter: bool,
    progress: Callable[[int, int], None],
) -> Shot:
    started = time.perf_counter()
    with session.autocast():
        latents = denoise(
            session.model,
            connectors,
            inputs,
            guidance,
            dev_sigmas(session.config.validation.inference_steps),
            draw_noise(inputs, prepared.wanted.seed),
            progress,
        )
    return Shot(prepared, step, adapter, latents, time.perf_counter() - started)


@contextmanager
def _ready_to_sample(session: TrainingSession) -> Iterator[None]:
    """Evaluation mode, the weights that would be saved, the optimizer's state in host memory where that is asked."""
    model = session.model
    training = model.training
    moved = session.config.acceleration.offload_optimizer_during_validation
    model.eval()
    with finished_weights(session.optimizer):
        if moved:
            _move_optimizer(session, torch.device("cpu"))
        try:
            yield
        finally:
            if moved:
                _move_optimizer(session, session.accelerator.device)
            model.train(training)


def _move_optimizer(session: TrainingSession, device: torch.device) -> None:
    for state in session.optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.ndim > 0:
                state[name] = value.to(device)


@contextmanager
def _without_adapter(session: TrainingSession, off: bool) -> Iterator[None]:
    transformer: Any = session.model.transformer
    if not off:
        yield
        return
    transformer.disable_adapters()
    try:
        yield
    finally:
        enable_adapters(transformer)
