"""Closed-form arithmetic of what a training takes: device and host memory, disk, FLOPs. No torch.

Weights, adapter, gradients and optimizer are counted from the layers' sizes. What a step keeps beyond them is linear in
tokens and blocks; its coefficients are in activations.json, measured by traces of the real classes (calibrate.py); a
test checks the sum against other traces.
"""

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from trainer_core.memory.cell import Cell, Version
from trainer_core.memory.encoding import encoding_peak_bytes
from trainer_core.memory.sizes import (
    CONNECTOR_WEIGHTS,
    RELEASED,
    Dimensions,
    Linear,
    adapted,
    block_linears,
    block_small_weights,
    branches,
    lora_weights,
    outer_weights,
)
from trainer_core.optimizer_names import OPTIMIZERS
from trainer_core.quantization_names import quantization_named

COEFFICIENTS_PATH = Path(__file__).parent / "activations.json"
MEASURED_TARGETS = ("to_k", "to_q", "to_v", "to_out.0")
"""The adapted layers that the coefficients were measured with, at rank 32."""
REGIMES = ("both", "video", "audio")
TRAININGS = ("lora", "fused", "master")
"""An adapter; every weight in bf16, and in float32 computed with in bf16, updated in the backward pass."""
FORMS = ("whole", "checkpointed", "chunked")
CARDS_GB = (16, 24, 32, 48, 80, 141)

CUDA_CONTEXT_BYTES = 700 * 2**20
"""What driver, kernels and the libraries' workspaces hold before the first tensor; a stated constant, unmeasured."""
ALLOCATOR_SHARE = 0.04
"""Rounding and fragmentation, as a share of what comes and goes in a step; a stated constant, unmeasured."""
RUNTIME_HOST_BYTES = 3 * 2**30
"""The process with its libraries, the loader's workers and the pinned buffers in flight; a stated constant."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes and FLOPs of a training. `parts` are bytes on the device; the peak is their sum.

    `encoding_peak_bytes`: on the device while captions and prompts are encoded, before any of that is there.
    """

    device_peak_bytes: int
    host_peak_bytes: int
    flops_per_step: int
    parts: dict[str, int]
    step_peak_bytes: int
    encoding_peak_bytes: int

    @property
    def fits(self) -> dict[str, bool]:
        """GPUs that hold it, by their size in GB (10^9 bytes, as they are sold), less a fiftieth kept back."""
        return {str(card): self.device_peak_bytes <= card * 1e9 * USABLE for card in CARDS_GB}

    @property
    def encodes(self) -> dict[str, bool]:
        """GPUs that hold the text encoder; beside the others it works in host memory."""
        return {str(card): self.encoding_peak_bytes <= card * 1e9 * USABLE for card in CARDS_GB}


USABLE = 0.98


def estimate(cell: Cell, size: Dimensions = RELEASED, *, text_encoder_8bit: bool = False) -> MemoryEstimate:
    """Return what training `cell` takes."""
    weights = _weights_bytes(cell, size)
    adapter = 0 if cell.full else 4 * lora_weights(cell, size)
    optimizer = optimizer_bytes(cell, size)
    activations = _beyond_rest_bytes(cell, size)
    connectors = 0 if cell.precompute_text else round(CONNECTOR_WEIGHTS[cell.version] * _width(cell) * _scale(size))
    parts = {
        "weights": weights,
        "adapter": adapter,
        "optimizer": optimizer,
        "activations": activations,
        "connectors": connectors,
        "allocator": round(ALLOCATOR_SHARE * activations),
        "cuda_context": CUDA_CONTEXT_BYTES,
    }
    return MemoryEstimate(
        device_peak_bytes=sum(parts.values()),
        host_peak_bytes=_host_bytes(cell, size),
        flops_per_step=flops(cell, size),
        parts=parts,
        step_peak_bytes=weights + adapter + optimizer + activations,
        encoding_peak_bytes=CUDA_CONTEXT_BYTES
        + encoding_peak_bytes(cell.version, cell.text_tokens, ALLOCATOR_SHARE, size, in_8bit=text_encoder_8bit),
    )


def form_key(version: str, regime: str, training: str, form: str) -> str:
    """The key of a form of training in activations.json; 2.5's steps are 2.3's."""
    return f"{'2.0' if version == '2.0' else '2.3'} {regime} {training} {form}"


def flops(cell: Cell, size: Dimensions = RELEASED) -> int:
    """Floating-point operations of one step: forward, backward, and what is computed again.

    A frozen matrix costs two matrix products a step (forward, the gradient of its input), a trained one three.
    """
    forward = 0
    for one in block_linears(cell.version, size):
        if one.branch in branches(cell):
            forward += 2 * one.weights * _rows(cell, one.name)
    attention = 2 * 2 * sum(queries * keys * width for queries, keys, width in _attentions(cell, size))
    again = 1 if cell.checkpointing else 0
    linear_passes = (3 if cell.full else 2) + again
    chunked = 0
    if cell.chunk_tokens is not None:
        chunked = sum(
            2 * one.weights * _rows(cell, one.name)
            for one in block_linears(cell.version, size)
            if one.branch in branches(cell) and ".net." in one.name
        )
    adapter = sum(2 * _adapter_products(cell, one) * _rows(cell, one.name) for one in adapted(cell, size))
    # the backward of attention takes five products where the forward takes two
    step = forward * linear_passes + attention * (1 + again) + attention * 5 // 2 + chunked + adapter * (3 + again)
    return step * cell.layers * cell.batch


def _adapter_products(cell: Cell, one: Linear) -> int:
    """Multiplications of one token with the adapter of a layer; LoKr's is as large as the layer itself."""
    return one.weights if cell.kind == "lokr" else cell.rank * (one.inputs + one.outputs)


def _rows(cell: Cell, name: str) -> int:
    """Tokens of one sample that go through the linear layer `name`."""
    video = cell.video.tokens if cell.video is not None else 0
    audio = cell.audio.tokens if cell.audio is not None else 0
    keys_or_values = name.rpartition(".")[2] in ("to_k", "to_v")
    if _reads_text(name):
        return cell.text_tokens
    if name.startswith("audio_to_video_attn."):
        return audio if keys_or_values else video
    if name.startswith("video_to_audio_attn."):
        return video if keys_or_values else audio
    return audio if name.startswith("audio_") else video


def _attentions(cell: Cell, size: Dimensions) -> list[tuple[int, int, int]]:
    video = cell.video.tokens if cell.video is not None else 0
    audio = cell.audio.tokens if cell.audio is not None else 0
    found = [
        (video, video, size.video),
        (audio, audio, size.audio),
        (video, cell.text_tokens, size.video),
        (audio, cell.text_tokens, size.audio),
    ]
    return [*found, (video, audio, size.exchange), (audio, video, size.exchange)]


def _width(cell: Cell) -> int:
    return 2 if cell.precision == "bf16" else 4


def _scale(size: Dimensions) -> float:
    """How much smaller than the released connectors those of another size are: by the square of the width."""
    return (size.video / RELEASED.video) ** 2


def _weights_bytes(cell: Cell, size: Dimensions) -> int:
    block = block_weights_bytes(cell, size)
    swapped = max(min(cell.swap_blocks, cell.layers) - _SWAP_SLOTS, 0)
    outer = sum(_base_width(cell, branch) * count for branch, count in outer_weights(cell.version, size).items())
    return (cell.layers - swapped) * block + outer


def _base_width(cell: Cell, branch: str) -> int:
    """Bytes of a weight of the transformer itself: those that full training doesn't reach stay as they were loaded."""
    return cell.trained_bytes if cell.full and branch in branches(cell) else _width(cell)


_SWAP_SLOTS = 2
"""Swapped blocks that are on the device at a time: the one at work, and the one arriving."""


def block_weights_bytes(cell: Cell, size: Dimensions = RELEASED) -> int:
    """Bytes of one block's base weights."""
    total = 0.0
    scheme = None if cell.quantization is None else quantization_named(cell.quantization)
    for one in block_linears(cell.version, size):
        if scheme is None or not one.quantizable:
            total += _base_width(cell, one.branch) * one.weights
        elif scheme.name == "nf4":
            total += one.weights / 2 + one.weights / 64 + 4 * (one.weights / 64 / 256)
        else:
            # a scale a row in float32, and for integers a zero point
            total += one.weights + one.outputs * (4 if scheme.name == "fp8" else 5)
    small = block_small_weights(cell.version, size)
    return round(total) + sum(_base_width(cell, branch) * count for branch, count in small.items())


def trained_weights(cell: Cell, size: Dimensions = RELEASED) -> int:
    """Return how many weights the optimizer moves."""
    if not cell.full:
        return lora_weights(cell, size)
    mine = branches(cell)
    block = sum(one.weights for one in block_linears(cell.version, size) if one.branch in mine)
    block += sum(count for branch, count in block_small_weights(cell.version, size).items() if branch in mine)
    return cell.layers * block + sum(
        count for branch, count in outer_weights(cell.version, size).items() if branch in mine
    )


def optimizer_bytes(cell: Cell, size: Dimensions) -> int:
    """Return the optimizer's bytes: of every weight, and of every row and column of a matrix. 24-bit weights keep their
    last 8 bits here."""
    count = trained_weights(cell, size)
    if cell.trained_bytes == 2:
        return round(count * _BF16_STATES[cell.master])
    if cell.moments_8bit:
        return round(count * (2 + 2 * 4 / 256))
    facts = OPTIMIZERS[cell.optimizer]
    shared = _edges_bytes(cell, size) * (2 if facts.bytes_a_weight else 1) if facts.factored else 0
    return round(count * facts.bytes_a_weight) + shared


_BF16_STATES = {"float24": 1 + 2 + 2 * 2 / 32, "stochastic": 2 + 2 * 4 / 256}
"""Bytes a weight: FlashAdamW's 8 bits, its moments and their float16 scales a 32; torchao's moments and scales."""


def _edges_bytes(cell: Cell, size: Dimensions) -> int:
    """A float32 for each row and column of the trained matrices, and for each trained weight outside them."""
    if not cell.full:
        edges = sum(one.inputs + one.outputs + 2 * cell.rank for one in adapted(cell, size))
        return 4 * cell.layers * edges
    mine = branches(cell)
    edges = sum(one.inputs + one.outputs for one in block_linears(cell.version, size) if one.branch in mine)
    edges += sum(count for branch, count in block_small_weights(cell.version, size).items() if branch in mine)
    return 4 * cell.layers * edges


@cache
def _coefficients() -> dict[str, Any]:
    return json.loads(COEFFICIENTS_PATH.read_text(encoding="utf-8"))


def _beyond_rest_bytes(cell: Cell, size: Dimensions) -> int:
    """Activations, gradients and temporaries at the peak of a step."""
    video = cell.batch * cell.video.tokens if cell.video is not None else 0
    audio = cell.batch * cell.audio.tokens if cell.audio is not None else 0
    regime = "both" if video and audio else "video" if video else "audio"
    training = "lora" if not cell.full else "fused" if cell.trained_bytes == 2 or cell.precision == "no" else "master"
    form = "whole" if not cell.checkpointing else "checkpointed" if cell.chunk_tokens is None else "chunked"
    if form == "chunked" and max(video, audio) <= (cell.chunk_tokens or 0) * cell.batch:
        form = "checkpointed"
    known = _known_form(cell.version, regime, training, form)
    # the coefficients are those of the released widths and of one sample's text
    scale = size.video / RELEASED.video * (1 if cell.precision == "bf16" else 2)
    once = scale * _at(known["once"], video, audio)
    layers = scale * cell.layers * _at(known["a_layer"], video, audio)
    if cell.offload:
        layers -= cell.layers * _inputs_bytes(video, audio, size)
    widths = (size.video if cell.video is not None else 0) + (size.audio if cell.audio is not None else 0)
    if form == "whole":  # the coefficients hold one sample's text, under an adapter that changes its keys
        layers += (
            cell.layers * cell.text_tokens * widths * (cell.batch * _text_kept(cell, size) - _text_kept_usually(cell))
        )
    else:
        once += (cell.batch - 1) * cell.text_tokens * 24 * (size.video if cell.video is not None else size.audio)
    if not cell.full:
        # the coefficients are those of the usual layers adapted
        more = cell.batch * (_inputs_kept(cell, size) - _inputs_kept(replace(cell, targets=MEASURED_TARGETS), size))
        once, layers = (once, layers + cell.layers * more) if form == "whole" else (once + more, layers)
    if form == "whole" and not cell.full:
        # measured at rank 32: autograd also keeps what autocast made of the adapter's weights
        layers += 2 * cell.layers * (cell.rank - 32) * sum(one.inputs + one.outputs for one in adapted(cell, size))
    more_once, more_a_layer = _kind_bytes(cell, size)
    once, layers = once + more_once, layers + cell.layers * more_a_layer
    # what the blocks keep goes while the gradients come: the most lies at one of the backward pass's ends
    layers = max(layers, _gradient_bytes(cell, size))
    return max(round(once + layers + _unpacked_bytes(cell, size) + _update_bytes(cell, size)), 0)


def _kind_bytes(cell: Cell, size: Dimensions) -> tuple[float, float]:
    """What DoRA and LoKr take beside a plain LoRA: (at the step's peak, in each block that keeps its activations).

    DoRA makes B·A dense to measure its rows, by a unit matrix as wide as the input, and keeps what the base and the
    matrices put out; LoKr makes ΔW dense and keeps it for the gradient of the input, in the dtype that is computed in.
    """
    mine = adapted(cell, size)
    if cell.full or not mine or cell.kind not in ("dora", "lokr"):
        return 0.0, 0.0
    narrow = _width(cell)
    if cell.kind == "lokr":
        kept = sum(narrow * one.weights for one in mine)
        made = max((8 + narrow) * one.weights for one in mine)
    else:
        kept = sum(cell.batch * _rows(cell, one.name) * one.outputs * 2 * narrow for one in mine)
        unit = 4 if narrow == 4 else 4 + narrow
        made = max(max(unit * one.inputs**2, narrow * one.inputs**2 + (16 + narrow) * one.weights) for one in mine)
    return (made + kept, 0.0) if cell.checkpointing else (made, kept)


def _inputs_kept(cell: Cell, size: Dimensions) -> int:
    """What a block keeps for its adapter's gradients, a sample: each adapted layer's input in bf16. Where feed-forward
    layers run in chunks, theirs goes with the chunk."""
    kept = [one for one in adapted(cell, size) if cell.chunk_tokens is None or ".net." not in one.name]
    return sum(2 * one.inputs * _rows(cell, one.name) for one in kept if not _reads_text(one.name))


def _text_kept(cell: Cell, size: Dimensions) -> int:
    """Bytes that an uncheckpointed block keeps of a text token, a channel: by traces. Keys and values alone are kept
    where no adapter changes them."""
    changes = cell.full or any(_reads_text(one.name) for one in adapted(cell, size))
    return _text_kept_usually(cell) if changes else 4


def _text_kept_usually(cell: Cell) -> int:
    return 14 if cell.full else 12


def _reads_text(name: str) -> bool:
    return name.startswith(("attn2.", "audio_attn2.")) and name.rpartition(".")[2] in ("to_k", "to_v")


def _gradient_bytes(cell: Cell, size: Dimensions) -> int:
    """All gradients together: float32 for an adapter, the base's dtype for its own weights; none where fused."""
    if cell.fused:
        return 0
    return cell.trained_bytes * trained_weights(cell, size)


def _update_bytes(cell: Cell, size: Dimensions) -> int:
    """What updating the largest matrix takes in float32, beside a step's activations where it happens among them."""
    if not cell.full or not cell.fused or cell.trained_bytes == 4:
        return 0
    mine = branches(cell)
    return 4 * _UPDATE_COPIES * max(one.weights for one in block_linears(cell.version, size) if one.branch in mine)


_UPDATE_COPIES = 7
"""Gradient, both moments, the weight, the denominator, and two on the way to 8 bits."""


def _unpacked_bytes(cell: Cell, size: Dimensions) -> int:
    """Memory that quantised weights take beside themselves at the peak, in the branches that run.

    The largest matrix made dense: in bf16; a float8 one goes through float32 twice. Where activations are rounded too,
    the widest one, if it takes more: it is in float32 twice before the layer's output is there.
    """
    if cell.quantization is None:
        return 0
    name = quantization_named(cell.quantization).name
    mine = [one for one in block_linears(cell.version, size) if one.branch in branches(cell)]
    dense = (10 if name == "fp8" else 2) * max(one.weights for one in mine)
    if name != "int8-dynamic":
        return dense
    most = cell.chunk_tokens or math.inf
    widest = [(one, cell.batch * min(_rows(cell, one.name), most)) for one in mine if one.name.endswith(".net.2")]
    return max(dense, *(round(rows * (8 * one.inputs - _width(cell) * one.outputs)) for one, rows in widest))


def _known_form(version: Version, regime: str, training: str, form: str) -> dict[str, list[float]]:
    """The coefficients of a form of training, or of the nearest one above it that was measured."""
    for kind, shape in ((training, form), (training, "checkpointed"), ("lora", form)):
        for era in (version, "2.3"):
            key = form_key(era, regime, kind, shape)
            if key in _coefficients() and (form == "whole") == (shape == "whole"):
                found: dict[str, list[float]] = _coefficients()[key]
                return found
    raise KeyError(f"{version} {regime} {training} {form}")


def _at(plane: list[float], video: int, audio: int) -> float:
    return plane[0] + plane[1] * video + plane[2] * audio


def _inputs_bytes(video: int, audio: int, size: Dimensions) -> int:
    """What a checkpointed block keeps for itself: its hidden states in bf16."""
    return 2 * (video * size.video + audio * size.audio)


def _host_bytes(cell: Cell, size: Dimensions) -> int:
    """The larger of two stages: encoding holds the connectors, training what is swapped and offloaded."""
    video = cell.batch * cell.video.tokens if cell.video is not None else 0
    audio = cell.batch * cell.audio.tokens if cell.audio is not None else 0
    swapped = min(cell.swap_blocks, cell.layers) * block_weights_bytes(cell, size)
    offloaded = cell.layers * _inputs_bytes(video, audio, size) if cell.offload else 0
    connectors = round(2 * CONNECTOR_WEIGHTS[cell.version] * _scale(size))
    return RUNTIME_HOST_BYTES + max(swapped + offloaded, connectors)
