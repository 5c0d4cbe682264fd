"""What fitting a training costs: a packed base against bf16 and float32, the estimate against traces, loading."""

import importlib.util
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from measuring import forget_peak, in_a_child, kibibytes
from memory_trace import trace
from released_models import narrow_transformer, released_transformer

from trainer_core.adapters import add_lora
from trainer_core.data.batch import Batch, random_batch
from trainer_core.memory.cell import Cell, Side
from trainer_core.memory.estimate import estimate
from trainer_core.memory.live import LiveBytes
from trainer_core.model.folder import FolderSource
from trainer_core.model.ltx import LtxModel
from trainer_core.model.quantize import quantize
from trainer_core.model.source import Placement
from trainer_core.model.text import TextContext
from trainer_core.objective import load_recipe, objective_of
from trainer_core.sections.run import LoraSection
from trainer_core.sections.strategy import FlexibleStrategy
from trainer_core.training.noise import sigma_sampler
from trainer_core.training.step import draw, losses_from, predict, step_input

# 800 steps, and traces of the whole grid, take minutes: longer than a test may
pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

HEADS, VIDEO_HEAD, AUDIO_HEAD, LAYERS = 4, 64, 32, 4  # the released blocks at a sixteenth of their width
GRID, AUDIO_FRAMES, TEXT_TOKENS = (2, 3, 4), 8, 32
STEPS = 200
BASES = {
    "float32": (torch.float32, None),
    "bf16": (torch.bfloat16, None),
    "int8": (torch.bfloat16, "int8"),
    "int8-dynamic": (torch.bfloat16, "int8-dynamic"),
}


@pytest.fixture(scope="module")
def mid_size(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    """A random model of the released classes, as a folder on disk."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("mid-size")
    narrow_transformer("2.3", HEADS, VIDEO_HEAD, AUDIO_HEAD, LAYERS).save_pretrained(root / "transformer")
    return FolderSource(root, {})


class Trained:
    """A LoRA's training of one base on draws that are the same for every base."""

    def __init__(self, source: FolderSource, dtype: torch.dtype, scheme: str | None) -> None:
        self.transformer = source.transformer(dtype, Placement(quantization=scheme))
        self.weights_bytes = _bytes_of(self.transformer)
        self.objective = objective_of(FlexibleStrategy.model_validate(load_recipe("t2v")["training_strategy"]))
        self.parameters = add_lora(self.transformer, LoraSection(rank=16, alpha=16), self.objective, 0)
        self.model = LtxModel(self.transformer)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=5e-4)
        self.autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
        self.sampler = sigma_sampler("shifted_logit_normal", {})
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def step(self, batch: Batch, number: int) -> None:
        draws = draw(batch, self.objective, self.sampler, torch.Generator().manual_seed(number))
        inputs = step_input(self.model, batch, self.objective, draws)
        context = TextContext(batch.video_features, batch.audio_features, None)
        started = time.perf_counter()
        with self.autocast:
            total = losses_from(inputs, *predict(self.model, context, inputs)).total
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.seconds.append(time.perf_counter() - started)
        self.losses.append(float(total.detach()))

    def peak_bytes(self, batch: Batch) -> int:
        """Tensors at the peak of one step more, which counts neither for the losses nor for the seconds."""
        counted = LiveBytes()
        counted.hold(*self.model.parameters(), *self.model.buffers())
        with counted:
            self.step(batch, STEPS)
        self.losses.pop()
        self.seconds.pop()
        return counted.peak


def _bytes_of(module: torch.nn.Module) -> int:
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _batch() -> Batch:
    widths = (HEADS * VIDEO_HEAD, HEADS * AUDIO_HEAD)
    return random_batch(GRID, AUDIO_FRAMES, TEXT_TOKENS, widths, torch.Generator().manual_seed(1))


def test_an_int8_base_against_bf16_and_float32(mid_size, record_ratio):
    batch = _batch()
    trained = {name: Trained(mid_size, dtype, scheme) for name, (dtype, scheme) in BASES.items()}
    for number in range(STEPS):
        for one in trained.values():
            one.step(batch, number)
    exact, half, few = (trained[name] for name in ("float32", "bf16", "int8"))
    what = f"random 2.3 of {HEADS * VIDEO_HEAD} and {HEADS * AUDIO_HEAD} channels, {LAYERS} blocks, CPU"
    released = _released_share()
    for other, one, share in (("bf16", half, released), ("float32", exact, released / 2)):
        note = (
            f"{what}; the layers outside the blocks stay bf16: {share:.2f} at the released size, counted; no limit set"
        )
        record_ratio(f"memory of an int8 base against {other}", few.weights_bytes / one.weights_bytes, None, note)
    peak = few.peak_bytes(batch) / half.peak_bytes(batch)
    record_ratio("peak of a step on an int8 base against bf16", peak, None, f"{what}; tensors counted; no limit set")
    step_s = {name: sorted(one.seconds)[STEPS // 4] for name, one in trained.items()}
    level = sum(exact.losses) / STEPS
    for name in ("int8", "int8-dynamic"):
        for other in ("bf16", "float32"):
            note = (
                f"{step_s[name] * 1e3:.0f} and {step_s[other] * 1e3:.0f} ms, lower quartiles of {STEPS} in turn; "
                f"{what}: its kernels for bf16 and 8 bits, which tell nothing of a card; no limit set"
            )
            record_ratio(f"step on an {name} base against {other}", step_s[name] / step_s[other], None, note)
    for name in ("bf16", "int8", "int8-dynamic"):
        far = sum(abs(a - b) for a, b in zip(trained[name].losses, exact.losses, strict=True)) / STEPS / level
        note = (
            f"{far:.4%}: mean absolute difference over {STEPS} steps; loss {exact.losses[0]:.3f} → "
            f"{exact.losses[-1]:.3f}; {what}; the limit is our own"
        )
        record_ratio(f"loss on a {name} base, difference from float32", far, 0.01, note)


def _released_share() -> float:
    """Bytes of the released transformer in int8 over those in bf16."""
    plain = Cell("2.3", Side(1), Side(1))
    packed = estimate(replace(plain, quantization="int8"))
    return packed.parts["weights"] / estimate(plain).parts["weights"]


def test_the_estimate_against_traces_of_both_grids(record_ratio):
    path = Path(__file__).parents[1] / "trainer_core" / "memory" / "grid.py"
    spec = importlib.util.spec_from_file_location("memory_grid", path)
    assert spec is not None
    assert spec.loader is not None
    grid = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(grid)
    grids: dict[str, dict[str, Any]] = {
        "largest error against its trace": grid.cells(),
        "largest error over trainings by chance": grid.drawn(),
    }
    for what, cells in grids.items():
        errors = {name: estimate(cell).step_peak_bytes / trace(cell).peak - 1 for name, cell in cells.items()}
        worst = max(errors, key=lambda name: abs(errors[name]))
        mean = sum(map(abs, errors.values())) / len(errors)
        note = f"{len(cells)} cells, {mean:.2%} in the mean; the largest is {worst}: {errors[worst]:+.2%}"
        if what.endswith("chance"):
            note = f"seed {grid.SEED}, of which no coefficient and no formula was made; {note}"
        record_ratio(f"estimated peak of a step, {what}", abs(errors[worst]), 0.05, note)


def test_loading_against_the_file(tmp_path, record_ratio):
    """One block of the released size, so that the file is large beside everything else."""
    transformer = torch.nn.Module.to_empty(released_transformer("2.3", 1), device="cpu")
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.fill_(0.01)
    transformer.save_pretrained(tmp_path / "transformer", max_shard_size="20GB")
    (file,) = (tmp_path / "transformer").glob("*.safetensors")
    size = file.stat().st_size
    del transformer
    seen = {what: _loaded_in_a_child(what, tmp_path) for what in ("bare", "bf16", "bare int8", "int8")}
    note = f"one block of 2.3 and what surrounds the blocks, {size / 1e9:.2f} GB, warm"
    record_ratio("loading bf16 against reading its file", seen["bf16"][0] / seen["bare"][0], 1.5, note)
    packed_note = f"{note}; bare: the file read whole, then packed"
    record_ratio("loading int8 against bare", seen["int8"][0] / seen["bare int8"][0], 1.1, packed_note)
    for name, target in (("bf16", 1.1), ("int8", 0.75)):
        own = f"{note}; anonymous memory" if name == "int8" else f"{note}; resident memory"
        figure = seen[name][2] if name == "int8" else seen[name][1]
        record_ratio(f"memory at the peak of loading {name}, against the file", figure / size, target, own)


def _loaded_in_a_child(what: str, folder: Path) -> tuple[float, int, int]:
    """Seconds, and by how many bytes resident and anonymous memory grew at most."""
    seconds, resident, anonymous = in_a_child(__file__, what, str(folder))
    return float(seconds), int(resident), int(anonymous)


def _load(what: str, folder: Path) -> Any:
    if not what.startswith("bare"):
        return FolderSource(folder, {}).transformer(
            torch.bfloat16, Placement(quantization="int8" if what == "int8" else None)
        )
    from safetensors.torch import load

    (file,) = (folder / "transformer").glob("*.safetensors")
    state = load(file.read_bytes())
    if what == "bare":
        return state
    transformer = released_transformer("2.3", 1)
    transformer.load_state_dict(state, assign=True)
    return quantize(transformer, "int8")


def print_loading(what: str, folder: Path) -> None:
    quantize(torch.nn.Sequential(), "int8")  # the library's import is no part of loading
    released_transformer("2.3", 1)
    (file,) = (folder / "transformer").glob("*.safetensors")
    file.read_bytes()
    forget_peak()
    before, anonymous_before = kibibytes("VmRSS"), kibibytes("RssAnon")
    most, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            most[0] = max(most[0], kibibytes("RssAnon") - anonymous_before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    kept = _load(what, folder)
    seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    assert kept is not None
    print(seconds, (kibibytes("VmHWM") - before) * 1024, most[0] * 1024)


if __name__ == "__main__":
    print_loading(sys.argv[1], Path(sys.argv[2]))
