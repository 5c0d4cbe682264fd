"""The training run: metrics and files as in the contract, stopping, refusing non-finite values, ranks that agree."""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from trainer_core.config import TrainingConfig, dump_config
from trainer_core.errors import TrainingError
from trainer_core.launch import launch
from trainer_core.metrics import read_steps
from trainer_core.model.tiny import TinySource
from trainer_core.run_folder import LIVE_STATES, RunFolder, create_run_folder
from trainer_core.training import optimizer_step as update
from trainer_core.training.checkpointing.checkpoints import Checkpoints

CONTRACT = {
    "step", "time_s", "epoch", "loss", "loss_video", "loss_audio", "sigma_video", "sigma_audio", "lr", "grad_norm",
    "step_s", "memory_bytes", "samples_seen", "clips", "changed_weights",
}  # fmt: skip


def new_run(tmp_path: Path, config: TrainingConfig) -> RunFolder:
    run = create_run_folder(tmp_path / "runs")
    run.config_path.write_text(dump_config(config))
    return run


def run_to_end(tmp_path: Path, config: TrainingConfig) -> RunFolder:
    run = new_run(tmp_path, config)
    code = launch(run)
    assert code == 0, run.read_status().error
    return run


@pytest.fixture(autouse=True)
def _signals_as_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_run_leaves_what_the_contract_says(tmp_path, config_for):
    config = config_for("t2v", {"checkpoints": {"interval": 2, "keep_last_n": 2}})
    run = run_to_end(tmp_path, config)
    rows = read_steps(run.metrics_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert set(rows[0]) == CONTRACT
    assert set(rows[0]["step_s"]) == {"data", "forward", "backward", "optimizer"}
    assert all(math.isfinite(row["loss"]) for row in rows)
    assert rows[0]["loss"] == pytest.approx(rows[0]["loss_video"] + rows[0]["loss_audio"])
    assert rows[0]["sigma_video"] != rows[0]["sigma_audio"]
    assert rows[-1]["samples_seen"] == 6
    status = run.read_status()
    assert (status.state, status.step, status.steps) == ("done", 6, 6)
    assert status.last_checkpoint == "checkpoints/lora_weights_step_00006.safetensors"
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [
        f"lora_weights_step_0000{step}.safetensors" for step in (4, 6)
    ]


def test_a_full_run_moves_every_branch_it_trains_and_no_other(tmp_path, config_for):
    from trainer_core.model.names import beside_the_transformer, connectors_to_diffusers, to_diffusers
    from trainer_core.model.tiny import tiny_source

    config = config_for("t2a", {"model": {"training_mode": "full"}})
    run = run_to_end(tmp_path, config)
    saved = load_file(run.checkpoints / "model_weights_step_00006.safetensors")
    before = tiny_source("tiny").transformer(torch.float32).state_dict()
    own = {key: value for key, value in saved.items() if not beside_the_transformer(key)}
    after = {to_diffusers(key.removeprefix("model.diffusion_model.")): value for key, value in own.items()}
    assert set(after) == set(before)
    connectors = tiny_source("tiny").connectors(torch.float32).state_dict()
    for key in set(saved) - set(own):
        assert torch.equal(saved[key], connectors[connectors_to_diffusers(key)]), "the base's, as they were"
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert "transformer_blocks.0.audio_attn1.to_q.weight" in moved
    assert not [key for key in moved if "audio" not in key]


def test_the_loss_falls_on_a_sample_learnt_by_heart(tmp_path, config_for, precomputed):
    for folder in precomputed.iterdir():
        for index in (1, 2, 3):
            (folder / f"clips/clip {index}.pt").unlink()
    flow = {"timestep_sampling_mode": "uniform", "timestep_sampling_params": {"min_value": 0.5, "max_value": 0.5}}
    overlay = {
        "model": {"training_mode": "full"},
        "optimization": {"steps": 60, "learning_rate": 3e-3},
        "flow_matching": flow,
    }
    rows = read_steps(run_to_end(tmp_path, config_for("t2v", overlay)).metrics_path)
    assert sum(row["loss"] for row in rows[-5:]) < 0.85 * sum(row["loss"] for row in rows[:5])


def test_the_newest_checkpoint_is_kept_beyond_five_digits(tmp_path, config_for):
    config = config_for("t2v", {"checkpoints": {"keep_last_n": 1}})
    run = new_run(tmp_path, config)
    for step in (99_999, 100_000):
        (run.checkpoints / f"lora_weights_step_{step:05d}.safetensors").touch()
    Checkpoints(run, config, TinySource()).prune(None)
    assert [path.name for path in run.checkpoints.iterdir()] == ["lora_weights_step_100000.safetensors"]


def test_a_run_on_encoded_samples_loads_transformer_and_connectors_alone(tmp_path, config_for, monkeypatch):
    loaded = []
    for part in ("transformer", "connectors", "video_vae", "audio_vae", "vocoder", "text_encoder"):

        def spy(*given, part=part, real=getattr(TinySource, part), **named):
            loaded.append(part)
            return real(*given, **named)

        monkeypatch.setattr(TinySource, part, spy)
    run_to_end(tmp_path, config_for("t2v"))
    assert sorted(loaded) == ["connectors", "transformer"]


def test_two_runs_of_one_config_are_equal(tmp_path, config_for):
    first, second = (run_to_end(tmp_path, config_for("i2v")) for _ in range(2))
    assert [row["loss"] for row in read_steps(first.metrics_path)] == [
        row["loss"] for row in read_steps(second.metrics_path)
    ]


def test_seed_zero_is_a_seed(tmp_path, config_for):
    zero, other = (run_to_end(tmp_path, config_for("t2v", {"seed": seed})) for seed in (0, 42))
    assert read_steps(zero.metrics_path)[0]["loss"] != read_steps(other.metrics_path)[0]["loss"]


def test_a_step_logs_the_mean_of_all_its_micro_batches(tmp_path, config_for, monkeypatch):
    seen = []
    real = update.losses_of

    def spy(*given, **named):
        result = real(*given, **named)
        seen.append(result)
        return result

    monkeypatch.setattr(update, "losses_of", spy)
    overlay = {"optimization": {"steps": 1, "gradient_accumulation_steps": 4}}
    row = read_steps(run_to_end(tmp_path, config_for("t2v", overlay)).metrics_path)[0]
    assert len(seen) == 4
    assert row["loss_video"] == pytest.approx(sum(float(one.video.detach().mean()) for one in seen) / 4)
    assert len(row["clips"]) == 4


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_four_micro_batches_of_one_equal_one_batch_of_four(tmp_path, config_for, mode):
    runs = []
    for batch_size, accumulation in ((4, 1), (1, 4)):
        options = {"steps": 3, "learning_rate": 1e-4, "scheduler_type": "cosine", "max_grad_norm": 0.5}
        options |= {"batch_size": batch_size, "gradient_accumulation_steps": accumulation}
        runs.append(
            run_to_end(tmp_path, config_for("t2v", {"model": {"training_mode": mode}, "optimization": options}))
        )
    whole, parts = (read_steps(run.metrics_path) for run in runs)
    for key in ("loss", "loss_video", "loss_audio", "lr", "grad_norm"):
        assert [row[key] for row in parts] == pytest.approx([row[key] for row in whole], abs=1e-6), key
    name = "lora_weights_step_00003" if mode == "lora" else "model_weights_step_00003"
    weights = [load_file(run.checkpoints / f"{name}.safetensors") for run in runs]
    assert max(float((weights[0][key] - weights[1][key]).abs().max()) for key in weights[0]) <= 1e-6


def test_v2a_logs_the_sigma_that_its_audio_trained_at(tmp_path, config_for):
    row = read_steps(run_to_end(tmp_path, config_for("v2a")).metrics_path)[0]
    assert row["sigma_audio"] > 0
    assert row["sigma_video"] is None


def test_a_non_finite_loss_stops_before_the_update(tmp_path, config_for):
    away = {"learning_rate": 1e30, "max_grad_norm": 0}
    run = new_run(tmp_path, config_for("t2v", {"optimization": away}))
    assert launch(run) == TrainingError.exit_code
    status = run.read_status()
    assert status.state == "diverged"
    assert "loss is not finite" in (status.error or "")
    rows = read_steps(run.metrics_path)
    assert rows
    assert all(math.isfinite(row["loss"]) for row in rows)


def test_a_stop_request_saves_and_ends(tmp_path, config_for):
    run = new_run(tmp_path, config_for("t2v", {"optimization": {"steps": 1000}}))
    run.stop_request_path.write_text("stop")
    assert launch(run) == 0
    status = run.read_status()
    assert (status.state, status.stage, status.step) == ("done", "stopped", 0)


def test_data_that_lacks_a_column_ends_the_run_with_its_exit_code(tmp_path, config_for, precomputed):
    (precomputed / "audio_latents").rename(precomputed / "gone")
    run = new_run(tmp_path, config_for("t2v"))
    assert launch(run) == 3
    assert "`audio`" in (run.read_status().error or "")


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_two_processes_of_batch_one_equal_one_of_batch_two(tmp_path, config_for, precomputed, mode):
    for folder in precomputed.iterdir():
        for index in (2, 3):
            (folder / f"clips/clip {index}.pt").unlink()
    # at the recipes' learning rate: AdamW divides each gradient by its own size, so a rounding difference in one that
    # is nearly zero moves its weight by a share of the learning rate
    options = {"steps": 4, "learning_rate": 1e-4, "scheduler_type": "cosine"}

    def overlay(batch_size):
        return {"model": {"training_mode": mode}, "optimization": {**options, "batch_size": batch_size}}

    single = run_to_end(tmp_path, config_for("t2v", overlay(2)))
    pair = new_run(tmp_path, config_for("t2v", overlay(1)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "trainer_core.launch", str(pair.path)],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "ACCELERATE_USE_CPU": "true",
                "CUDA_VISIBLE_DEVICES": "",
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(2)
    ]
    assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    one, two = (read_steps(run.metrics_path) for run in (single, pair))
    assert [row["lr"] for row in two] == [row["lr"] for row in one]
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], abs=1e-6)
    name = "lora_weights_step_00004" if mode == "lora" else "model_weights_step_00004"
    weights = [load_file(run.checkpoints / f"{name}.safetensors") for run in (single, pair)]
    assert max(float((weights[0][key] - weights[1][key]).abs().max()) for key in weights[0]) <= 1e-6


def test_the_learning_rate_follows_the_optimizer_steps(tmp_path, config_for):
    config = config_for("t2v", {"optimization": {"gradient_accumulation_steps": 2}, "ltx_agent": {"warmup_steps": 2}})
    rates = [row["lr"] for row in read_steps(run_to_end(tmp_path, config).metrics_path)]
    assert rates[0] == pytest.approx(1e-3 / 3)
    assert rates[2] == pytest.approx(1e-3)
    assert rates[-1] < rates[2]


def test_a_run_can_start_from_a_saved_lora(tmp_path, config_for):
    first = run_to_end(tmp_path, config_for("t2v", {"lora": {"rank": 4, "alpha": 2}}))
    saved = first.checkpoints / "lora_weights_step_00006.safetensors"
    overlay = {"model": {"load_checkpoint": str(saved)}, "optimization": {"steps": 1, "learning_rate": 1e-12}}
    second = run_to_end(tmp_path, config_for("t2v", overlay))
    again = load_file(second.checkpoints / "lora_weights_step_00001.safetensors")
    for key, tensor in load_file(saved).items():
        assert torch.allclose(tensor, again[key], atol=1e-6), key


def test_a_full_run_can_start_from_a_full_checkpoint(tmp_path, config_for):
    full = {"model": {"training_mode": "full"}}
    first = run_to_end(tmp_path, config_for("t2v", full))
    saved = first.checkpoints / "model_weights_step_00006.safetensors"
    still = {"steps": 1, "learning_rate": 1e-12}
    overlay = {"model": {"training_mode": "full", "load_checkpoint": str(saved)}, "optimization": still}
    second = run_to_end(tmp_path, config_for("t2v", overlay))
    again = load_file(second.checkpoints / "model_weights_step_00001.safetensors")
    for key, tensor in load_file(saved).items():
        assert torch.allclose(tensor, again[key], atol=1e-6), key


@pytest.mark.parametrize("version", ["2.0", "2.3", "2.5"])
def test_a_full_checkpoint_is_read_by_diffusers(tmp_path, config_for, write_precomputed, version):
    from diffusers import LTX2VideoTransformer3DModel

    from trainer_core.model.names import beside_the_transformer, to_diffusers
    from trainer_core.model.tiny import tiny_source

    widths = {"video_width": 32, "audio_width": 32} if version == "2.0" else {}
    root = write_precomputed(tmp_path / "other", ["a"], **widths)
    overlay = {
        "model": {"training_mode": "full", "model_path": f"tiny:{version}"},
        "data": {"preprocessed_data_root": str(root)},
        "optimization": {"steps": 1},
    }
    run = run_to_end(tmp_path, config_for("t2v", overlay))
    path = run.checkpoints / "model_weights_step_00001.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["model_version"] == version
    assert json.loads(metadata["config"])["transformer"]["num_layers"] == 2
    own = {key: value for key, value in load_file(path).items() if not beside_the_transformer(key)}
    if version == "2.0":
        # the library's own single-file loader knows 2.0's names alone
        tiny_source("tiny:2.0").transformer(torch.float32).save_config(tmp_path / "config" / "transformer")
        model = LTX2VideoTransformer3DModel.from_single_file(
            path, config=str(tmp_path / "config"), subfolder="transformer", torch_dtype=torch.float32
        )
        have = model.state_dict()
        for key, tensor in own.items():
            assert torch.equal(have[to_diffusers(key.removeprefix("model.diffusion_model."))], tensor), key
    else:
        model = LTX2VideoTransformer3DModel.from_config(tiny_source(f"tiny:{version}").library_config("transformer"))
        state = {to_diffusers(k.removeprefix("model.diffusion_model.")): v for k, v in own.items()}
        model.load_state_dict(state, strict=True)


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_model_gives_the_same_losses(tmp_path, config_for):
    plain = run_to_end(tmp_path, config_for("t2a"))
    compiled = run_to_end(tmp_path, config_for("t2a", {"ltx_agent": {"torch_compile": True}}))
    losses = [[row["loss"] for row in read_steps(run.metrics_path)] for run in (plain, compiled)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_bf16_follows_fp32(tmp_path, config_for):
    exact = run_to_end(tmp_path, config_for("t2v"))
    half = run_to_end(tmp_path, config_for("t2v", {"acceleration": {"mixed_precision_mode": "bf16"}}))
    losses = [[row["loss"] for row in read_steps(run.metrics_path)] for run in (exact, half)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_an_8bit_optimizer_trains(tmp_path, config_for):
    pytest.importorskip("bitsandbytes")
    run = run_to_end(tmp_path, config_for("t2v", {"optimization": {"optimizer_type": "adamw8bit"}}))
    assert run.read_status().step == 6


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 100.0])
def test_gradients_are_clipped_as_torch_clips_them(max_norm):
    ours, torchs = ([torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))] for _ in range(2))
    for parameters in (ours, torchs):
        parameters[0].grad = torch.tensor([3.0, 0.0, 0.0])
        parameters[1].grad = torch.tensor([0.0, 4.0])
    assert update.clip_gradients(ours, max_norm) == 5.0
    torch.nn.utils.clip_grad_norm_(torchs, max_norm or math.inf)
    for mine, other in zip(ours, torchs, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert torch.allclose(mine.grad, other.grad)


def test_gradient_checkpointing_gives_the_same_losses(tmp_path, config_for):
    plain = run_to_end(tmp_path, config_for("t2v"))
    saving = run_to_end(tmp_path, config_for("t2v", {"optimization": {"enable_gradient_checkpointing": True}}))
    losses = [[row["loss"] for row in read_steps(run.metrics_path)] for run in (plain, saving)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_the_run_folder_says_failed_when_its_process_was_killed(tmp_path, config_for):
    run = new_run(tmp_path, config_for("t2v", {"optimization": {"steps": 100_000}}))
    child = subprocess.Popen([sys.executable, "-P", "-m", "trainer_core.launch", str(run.path)], start_new_session=True)
    try:
        for _ in range(600):
            if run.metrics_path.exists() and len(run.metrics_path.read_bytes().splitlines()) > 3:
                break
            assert child.poll() is None
            time.sleep(0.1)
    finally:
        child.kill()
        child.wait()
    status = run.read_status()
    assert status.state == "failed"
    assert str(child.pid) in (status.error or "")
    assert json.loads(run.status_path.read_text())["state"] in LIVE_STATES


@pytest.mark.parametrize("workers", [0, 1])
def test_data_that_breaks_while_training_ends_with_the_code_of_data(
    tmp_path, config_for, precomputed, monkeypatch, workers
):
    config = config_for("t2v", {"optimization": {"steps": 40}, "data": {"num_dataloader_workers": workers}})
    run = new_run(tmp_path, config)
    path = precomputed / "latents/clips/clip 1.pt"
    losses_of = update.losses_of

    def after_that_it_is_broken(*args):
        path.write_bytes(b"no tensors any more")
        return losses_of(*args)

    monkeypatch.setattr(update, "losses_of", after_that_it_is_broken)
    assert launch(run) == 3
    status = run.read_status()
    assert (status.state, status.step > 0) == ("failed", True)
    assert "clip 1.pt can't be read as precomputed tensors" in str(status.error)
    assert "Traceback" not in str(status.error)


def test_one_silent_clip_does_not_stop_a_run_that_may_leave_it_out(tmp_path, config_for, precomputed):
    (precomputed / "audio_latents/clips/clip 2.pt").unlink()
    refused = new_run(tmp_path / "refused", config_for("t2v"))
    assert launch(refused) == 3
    assert "set ltx_agent.incomplete_samples: leave_out" in str(refused.read_status().error)
    run = run_to_end(tmp_path, config_for("t2v", {"ltx_agent": {"incomplete_samples": "leave_out"}}))
    left_out = [event["message"] for event in run.events() if event["kind"] == "left out"]
    assert left_out == ["clips/clip 2 is left out: it has no audio."]
    assert all("clips/clip 2.pt" not in row["clips"] for row in read_steps(run.metrics_path))
