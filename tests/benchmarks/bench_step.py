"""Our training step against a bare forward, backward and optimizer step of the same model on the same batch."""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
import torch
import yaml
from measuring import forget_peak, in_a_child, in_turn, kibibytes, timed

from trainer_core.config import parse_config
from trainer_core.data.batch import Batch
from trainer_core.model.text import TextFeatures, connect
from trainer_core.objective import load_recipe, merged
from trainer_core.run_folder import RunStatus, create_run_folder
from trainer_core.training.loop import log
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.optimizer_step import optimize, prepare_step
from trainer_core.training.setup import TrainingSession, set_up
from trainer_core.training.step import MODALITIES, model_input

pytestmark = pytest.mark.bench

GRID, AUDIO_FRAMES = (7, 8, 14), 51  # 448x256x49 at 24 frames per second
SOUND_ALONE_FRAMES = 250  # ten seconds: sound without pictures is trained on longer clips
FEWEST_REPEATS, SECONDS_A_SIDE = 40, 4.0


def write_sample(root: Path, audio_frames: int = AUDIO_FRAMES) -> None:
    generator = torch.Generator().manual_seed(0)
    frames, height, width = GRID
    contents = {
        "latents": {
            "latents": torch.randn(128, *GRID, generator=generator),
            "num_frames": frames,
            "height": height,
            "width": width,
            "fps": 24.0,
        },
        "audio_latents": {"latents": torch.randn(8, audio_frames, 16, generator=generator)},
        "conditions": {
            "video_prompt_embeds": torch.randn(512, 64, generator=generator),
            "audio_prompt_embeds": torch.randn(512, 32, generator=generator),
            "prompt_attention_mask": torch.arange(512) > 300,
        },
    }
    contents["reference_latents"] = contents["latents"]
    for directory, content in contents.items():
        (root / directory).mkdir(parents=True)
        torch.save(content, root / directory / "sample.pt")


def session_for(objective: str, folder: Path, latents: Path | None = None) -> TrainingSession:
    overlay = {
        "model": {"model_path": "tiny"},
        "data": {"preprocessed_data_root": str(latents or folder / "latents"), "num_dataloader_workers": 0},
        "acceleration": {"mixed_precision_mode": "no"},
        "optimization": {"steps": 10_000, "enable_gradient_checkpointing": False},
    }
    config = parse_config(yaml.safe_dump(merged(load_recipe(objective), overlay)))
    return set_up(config, create_run_folder(folder / "runs"))


def bare_step(session: TrainingSession, batch: Batch) -> Callable[[], None]:
    """The model's own work on tensors prepared beforehand: connectors, transformer, loss, backward, AdamW."""
    prepared = prepare_step(session, batch).prepared
    present = tuple(name for name in MODALITIES if prepared[name] is not None)
    features = TextFeatures(batch.video_features, batch.audio_features, batch.text_mask)

    def run() -> None:
        with torch.no_grad():
            context = connect(session.connectors, features, present)
        video = model_input(prepared["video"], context.video, context.mask, session.model.device)
        audio = model_input(prepared["audio"], context.audio, context.mask, session.model.device)
        losses = []
        for predicted, side in zip(session.model(video, audio), (prepared["video"], prepared["audio"]), strict=True):
            if predicted is not None and side is not None and side.target is not None:
                losses.append(torch.nn.functional.mse_loss(predicted[:, -side.target.shape[1] :], side.target))
        torch.stack(losses).sum().backward()
        session.optimizer.step()
        session.optimizer.zero_grad(set_to_none=True)

    return run


def our_step(session: TrainingSession, batch: Batch, keeper: StatusKeeper) -> Callable[[], None]:
    """A whole step, its noise and conditions included, though in a run the loader's thread makes them ahead."""

    def run() -> None:
        log(session, optimize(session, iter([prepare_step(session, batch)]), 0), keeper)

    return run


def measured(session: TrainingSession, batch: Batch) -> tuple[float, float]:
    """(ratio of our step to the bare one, seconds of our step): lower quartiles over pairs measured in turn."""
    with StatusKeeper(session.run, RunStatus("running")) as keeper:
        ours, bare = our_step(session, batch, keeper), bare_step(session, batch)
        for run in (ours, bare, ours):
            run()
        repeats = max(FEWEST_REPEATS, round(SECONDS_A_SIDE / timed(bare)))
        return in_turn(ours, bare, repeats)


@pytest.mark.parametrize("objective", ["t2v", "v2a", "v2v_ic", "t2a"])
def test_a_training_step_against_the_bare_model(tmp_path, record_ratio, objective):
    audio_frames = SOUND_ALONE_FRAMES if objective == "t2a" else AUDIO_FRAMES
    write_sample(tmp_path / "latents", audio_frames)
    session = session_for(objective, tmp_path)
    batch = session.stream[0]
    ratio, seconds = measured(session, batch)
    size = ", ".join(f"{side.tokens} {name} tokens" for name in MODALITIES if (side := batch.modality(name)))
    note = f"tiny 2.3, LoRA, {size}; our step {seconds * 1000:.0f} ms; quartiles, in turn"
    record_ratio(f"training step against the bare model's, {objective}", ratio, 1.05, f"{note}; noising included")


def test_sound_alone_does_not_pay_for_the_picture(tmp_path, record_ratio):
    write_sample(tmp_path / "latents")
    seconds = {}
    for objective in ("t2v", "t2a"):
        session = session_for(objective, tmp_path)
        seconds[objective] = measured(session, session.stream[0])[1]
    note = f"equal audio length ({AUDIO_FRAMES} latent frames)"
    record_ratio("t2a step against the t2v step", seconds["t2a"] / seconds["t2v"], 0.6, note)


@pytest.mark.parametrize("objective", ["t2v", "v2a", "v2v_ic", "t2a"])
def test_peak_memory_of_a_step_against_the_bare_models(tmp_path, record_ratio, objective):
    write_sample(tmp_path / "latents")
    grown = {}
    for what in ("ours", "bare"):
        grown[what] = median(int(in_a_child(__file__, what, objective, str(tmp_path))[-1]) for _ in range(3))
    bare = f"the bare ones {grown['bare'] / 2**20:.0f} MiB"
    note = f"resident memory that three steps add, median of three processes; {bare}"
    record_ratio(f"peak memory of a step, {objective}", grown["ours"] / grown["bare"], 1.05, note)


def print_grown_memory(what: str, objective: str, folder: Path) -> None:
    """Print the bytes of peak resident memory that three steps add to a process that is ready to train."""
    session = session_for(objective, folder / what, folder / "latents")
    batch = session.stream[0]
    with StatusKeeper(session.run, RunStatus("running")) as keeper:
        forget_peak()  # the peak counts from here, each side's inputs included
        before = kibibytes("VmRSS")
        run = our_step(session, batch, keeper) if what == "ours" else bare_step(session, batch)
        for _ in range(3):
            run()
    print((kibibytes("VmHWM") - before) * 1024)


if __name__ == "__main__":
    print_grown_memory(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
