"""What each switch saves on a processor: `python tests/instruments/measured_savings.py` prints the documented table.

A random mid-size model of the released classes trains for two steps in a process of its own, without a switch and with
it; a random mid-size text encoder reads one caption. Anonymous memory stands for a card's; what a switch keeps in host
memory lies in mapped files, which the kernel counts apart. Pinned memory and the side stream are not in it: they need a
card.
"""

import copy
import ctypes
import json
import math
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainer_core.memory.cell import Cell, Side

_M_MMAP_THRESHOLD = -3  # of malloc.h: freed blocks above it go back to the system at once
_SCRIPT = Path(__file__)
LAYERS, HEADS, VIDEO_HEAD, AUDIO_HEAD = 16, 4, 64, 32
GRID, AUDIO_FRAMES, TEXT_TOKENS = (4, 16, 32), 50, 64
STEPS = 2
ENCODER_LAYERS, ENCODER_WIDTH, ENCODER_HEADS = 8, 1024, 8
_CAPTION = "A fox walks through the snow, stops and looks back; the wind is heard."
_TEXT_ENCODER = "text_encoder"
ENCODER_TOLERANCE = 0.05
"""How far the hidden states of an encoder in 8 bits may lie from those in bf16, as a share of their norm."""

LORA = Cell(
    "2.3", Side(math.prod(GRID)), Side(AUDIO_FRAMES), rank=16, text_tokens=TEXT_TOKENS, precision="no", layers=LAYERS
)
FULL = replace(LORA, rank=0)
FUSED = replace(FULL, fused=True)
SWITCHES: dict[str, tuple[Cell, Cell, float]] = {
    "gradient checkpointing": (replace(LORA, checkpointing=False), LORA, 0.0),
    "activation offload": (LORA, replace(LORA, offload=True), 0.0),
    "12 of 16 blocks swapped": (LORA, replace(LORA, swap_blocks=12), 0.0),
    "chunked feed-forward, 256 tokens": (LORA, replace(LORA, chunk_tokens=256), 1e-5),
    "8-bit optimizer": (LORA, replace(LORA, moments_8bit=True), 0.01),
    "optimizer in backward, every weight": (FULL, FUSED, 0.0),
    "8-bit optimizer, every weight": (FUSED, replace(FUSED, moments_8bit=True), 0.01),
    "int8 base": (LORA, replace(LORA, quantization="int8"), 0.01),
    "fp8 base": (LORA, replace(LORA, quantization="fp8"), 0.01),
    "4-bit base": (LORA, replace(LORA, quantization="nf4"), 0.02),
}
"""By name: a training without the switch, the same with it, and how far its losses may differ, as a share."""


@dataclass(frozen=True)
class Measured:
    """The most anonymous memory that a child held beyond what it began with, in bytes; and the loss of each step."""

    peak_bytes: int
    losses: list[float]


@dataclass(frozen=True)
class Encoded:
    """The most anonymous memory that an encoder's child held, in bytes, and the file with its hidden states."""

    peak_bytes: int
    states: str


def table() -> str:
    """Markdown: memory without and with each switch, and what became of the losses."""
    known: dict[Cell, Measured] = {}
    rows = [["switch", "without", "with", "saves", "losses differ by", "at most"], ["---", *["---:"] * 5]]
    with tempfile.TemporaryDirectory(prefix="ltx-measured-") as folder:
        write_model(Path(folder))
        for name, (plain, switched, tolerance) in SWITCHES.items():
            for case in (plain, switched):
                if case not in known:
                    known[case] = measure(Path(folder), case)
            before, after = known[plain], known[switched]
            far = max(abs(b / a - 1) for a, b in zip(before.losses, after.losses, strict=True))
            sizes = (before.peak_bytes, after.peak_bytes, before.peak_bytes - after.peak_bytes)
            rows.append([name, *(f"{size / 1e6:.0f} MB" for size in sizes), f"{far:.1g}", f"{tolerance:g}"])
        write_encoder(Path(folder))
        whole, packed = (encode(Path(folder), in_8bit=in_8bit) for in_8bit in (False, True))
        sizes = (whole.peak_bytes, packed.peak_bytes, whole.peak_bytes - packed.peak_bytes)
        far = states_apart(whole, packed)
        cells = [*(f"{size / 1e6:.0f} MB" for size in sizes), f"{far:.1g} (states)", f"{ENCODER_TOLERANCE:g}"]
        rows.append(["text encoder in 8 bits", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_model(folder: Path) -> None:
    """Write the mid-size transformer as a diffusers folder."""
    import torch
    from released_models import narrow_transformer

    torch.manual_seed(0)
    narrow_transformer("2.3", HEADS, VIDEO_HEAD, AUDIO_HEAD, LAYERS).save_pretrained(folder / "transformer")


def measure(folder: Path, case: Cell) -> Measured:
    """Train `case` on the model in `folder` in a process of its own."""
    usual, own = asdict(LORA), asdict(case)
    changes = {name: value for name, value in own.items() if value != usual[name]}
    return Measured(**_child("train", folder, changes))


def write_encoder(folder: Path) -> None:
    """Write a text encoder of mid size as a transformers folder, in bf16 as the released one is."""
    import torch

    from trainer_core.model.tiny import TinySource

    tokenizer, tiny = TinySource("2.3").text_encoder(torch.float32)
    config = copy.deepcopy(tiny.config)
    config.text_config.update(
        {
            "hidden_size": ENCODER_WIDTH,
            "intermediate_size": 4 * ENCODER_WIDTH,
            "num_hidden_layers": ENCODER_LAYERS,
            "num_attention_heads": ENCODER_HEADS,
            "num_key_value_heads": ENCODER_HEADS // 2,
            "head_dim": ENCODER_WIDTH // ENCODER_HEADS,
            "layer_types": ["sliding_attention"] * (ENCODER_LAYERS - 1) + ["full_attention"],
        }
    )
    torch.manual_seed(0)
    type(tiny)(config).to(torch.bfloat16).save_pretrained(folder / _TEXT_ENCODER)
    tokenizer.save_pretrained(folder / _TEXT_ENCODER)


def encode(folder: Path, *, in_8bit: bool) -> Encoded:
    """Read a caption with the text encoder in `folder` in a process of its own."""
    return Encoded(**_child("encode", folder, {"in_8bit": in_8bit}))


def states_apart(whole: Encoded, packed: Encoded) -> float:
    """The distance of their hidden states as a share of the norm."""
    from safetensors.torch import load_file

    ours, theirs = (load_file(each.states)["states"].float() for each in (packed, whole))
    return float((ours - theirs).norm() / theirs.norm())


def _child(work: str, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(_SCRIPT), work, str(folder), json.dumps(options)],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def train(folder: Path, case: Cell) -> Measured:
    """The child's work: load, two steps, with the anonymous memory watched all the while."""
    import torch

    from trainer_core.model.folder import FolderSource
    from trainer_core.model.quantize import quantize
    from trainer_core.model.source import Placement
    from trainer_core.model.tiny import TinySource

    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 16)
    torch.set_num_threads(1)
    tiny = TinySource("2.3").transformer(torch.float32)
    _train(quantize(tiny, case.quantization) if case.quantization else tiny, folder, case)  # what is there once for all
    with _Watched() as watched:
        source, placement = FolderSource(folder, {}), Placement(quantization=case.quantization)
        losses = _train(source.transformer(torch.float32, placement), folder, case)
    return Measured(watched.peak_bytes, losses)


def read_caption(folder: Path, *, in_8bit: bool) -> Encoded:
    """The encoder's child: load, read one caption, with the anonymous memory watched all the while."""
    import torch
    from safetensors.torch import save_file

    from trainer_core.model.folder import load_text_encoder
    from trainer_core.model.tiny import TinySource

    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 16)
    torch.set_num_threads(1)
    _hidden_states(*TinySource("2.3").text_encoder(torch.bfloat16, in_8bit=in_8bit))  # what is there once for all
    sizes = {"caption_channels": ENCODER_WIDTH, "text_proj_in_factor": ENCODER_LAYERS + 1}
    with _Watched() as watched:
        tokenizer, encoder = load_text_encoder(
            folder / _TEXT_ENCODER, "2.3", sizes, torch.bfloat16, device=torch.device("cpu"), in_8bit=in_8bit
        )
        _to_card(encoder, [])
        states = _hidden_states(tokenizer, encoder)
    path = folder / f"states-{'8bit' if in_8bit else 'bf16'}.safetensors"
    save_file({"states": states}, path)
    return Encoded(watched.peak_bytes, str(path))


def _hidden_states(tokenizer: Any, encoder: Any) -> Any:
    import torch

    tokens = tokenizer(_CAPTION, return_tensors="pt")
    with torch.no_grad():
        seen = encoder.model(input_ids=tokens.input_ids, output_hidden_states=True, use_cache=False)
    return torch.stack(seen.hidden_states, dim=-1)


def _train(transformer: Any, folder: Path, case: Cell) -> list[float]:
    import torch

    from trainer_core.adapters import add_lora, train_fully
    from trainer_core.model.block_swap import BlockSwap, swapped_indices
    from trainer_core.model.ltx import LtxModel
    from trainer_core.model.savings import checkpoint_blocks, chunk_feed_forward
    from trainer_core.objective import ModalityObjective, Objective
    from trainer_core.sections.run import LoraSection, OptimizationSection
    from trainer_core.training.optim.optimizers import build_optimizer

    objective = Objective(ModalityObjective("generate"), ModalityObjective("generate"))
    parameters: Any
    if not case.full:
        parameters = add_lora(transformer, LoraSection(rank=case.rank, alpha=case.rank), objective, 0)
    else:
        parameters = train_fully(transformer, objective)
    blocks = transformer.transformer_blocks
    swapped = [blocks[index] for index in swapped_indices(len(blocks), case.swap_blocks)]
    _to_card(transformer, swapped)
    if case.checkpointing:
        files = _Files(folder)
        checkpoint_blocks(transformer, offload=case.offload, leave=files.leave, arrive=lambda kept, _: kept.clone())
    if case.chunk_tokens is not None:
        chunk_feed_forward(transformer, case.chunk_tokens)
    if swapped:
        BlockSwap(blocks, case.swap_blocks, torch.device("cpu"))
    kind = "adamw8bit" if case.moments_8bit else "adamw"
    options = OptimizationSection.model_validate({"learning_rate": 1e-4, "optimizer_type": kind})
    optimizer = build_optimizer(options, parameters, fused=case.fused)
    return _steps(LtxModel(transformer), objective, optimizer)


def _steps(model: Any, objective: Any, optimizer: Any) -> list[float]:
    import torch

    from trainer_core.data.batch import random_batch
    from trainer_core.model.ltx import context_widths
    from trainer_core.model.text import TextContext
    from trainer_core.training.noise import sigma_sampler
    from trainer_core.training.step import draw, losses_from, predict, step_input

    widths = context_widths(model.transformer.config)
    batch = random_batch(GRID, AUDIO_FRAMES, TEXT_TOKENS, widths, torch.Generator().manual_seed(1))
    context = TextContext(batch.video_features, batch.audio_features, None)
    sampler, found = sigma_sampler("shifted_logit_normal", {}), []
    for number in range(STEPS):
        draws = draw(batch, objective, sampler, torch.Generator().manual_seed(number))
        inputs = step_input(model, batch, objective, draws)
        loss = losses_from(inputs, *predict(model, context, inputs)).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found.append(float(loss.detach()))
    return found


def _to_card(transformer: Any, swapped: list[Any]) -> None:
    """Copy the mapped weights into anonymous memory, those of the swapped blocks aside: they stay on the host."""
    import torch

    stay = {id(tensor) for block in swapped for tensor in (*block.parameters(), *block.buffers())}
    for layer in transformer.modules():
        for held in (layer._parameters, layer._buffers):
            for name, tensor in held.items():
                if tensor is None or id(tensor) in stay:
                    continue
                if isinstance(tensor, torch.nn.Parameter):
                    tensor.data = tensor.data.clone()
                else:
                    held[name] = tensor.clone()


class _Files:
    """Host memory of the offloaded: a mapped file a tensor."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def leave(self, tensor: Any) -> Any:
        import torch

        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            mapped = torch.from_file(file.name, shared=True, size=tensor.numel(), dtype=tensor.dtype)
        return mapped.view(tensor.shape).copy_(tensor)


class _Watched:
    """Asks the kernel for this process's anonymous memory every millisecond, from a thread."""

    def __enter__(self) -> "_Watched":
        self._begun, self._most, self._ended = _anonymous_bytes(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.001):
            self._most = max(self._most, _anonymous_bytes())

    @property
    def peak_bytes(self) -> int:
        return self._most - self._begun


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def _serve(work: str, folder: Path, options: dict[str, Any]) -> Measured | Encoded:
    if work == "encode":
        return read_caption(folder, in_8bit=options["in_8bit"])
    return train(folder, replace(LORA, **options))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(asdict(_serve(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])))))
    else:
        print(table())
