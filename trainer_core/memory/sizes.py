"""Number and place of an LTX-2 transformer's weights, from its dimensions alone. No torch.

Source: the layer sizes of diffusers' LTX2VideoTransformer3DModel; a test counts the real class's parameters.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from trainer_core.memory.cell import Cell, Version

CONNECTOR_WEIGHTS = {"2.0": 1.43e9, "2.3": 3.17e9, "2.5": 3.17e9}
CARRIED_CONNECTOR_WEIGHTS = {"2.0": 0.71e9, "2.3": 2.02e9, "2.5": 2.02e9}
"""Of the connectors what each full checkpoint carries: all but the text projections, in the base's bfloat16."""
TEXT_ENCODER_WEIGHTS = 12.2e9
"""Gemma 3 12B with its vision tower; 2.5's own Gemma 4 is taken to be as large."""
_TIME_CHANNELS = 256
_LATENT = 128


@dataclass(frozen=True)
class Dimensions:
    """Widths of the two branches and of what they exchange."""

    video: int = 4096
    audio: int = 2048
    exchange: int = 2048
    heads: int = 32
    caption: int = 3840
    text_video: int = 4096
    text_audio: int = 2048


RELEASED = Dimensions()


@dataclass(frozen=True)
class Linear:
    """One linear layer of a block. `branch` as in ltx.branch_of."""

    name: str
    branch: str
    inputs: int
    outputs: int
    bias: bool = True
    quantizable: bool = True

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs


def block_linears(version: Version, size: Dimensions = RELEASED) -> Iterator[Linear]:
    """The linear layers of one block, in its order."""
    gated = version != "2.0"
    attentions = (
        ("attn1", "video", size.video, size.video, size.video),
        ("audio_attn1", "audio", size.audio, size.audio, size.audio),
        ("attn2", "video", size.video, size.text_video, size.video),
        ("audio_attn2", "audio", size.audio, size.text_audio, size.audio),
        ("audio_to_video_attn", "cross", size.video, size.audio, size.exchange),
        ("video_to_audio_attn", "cross", size.audio, size.video, size.exchange),
    )
    for name, branch, query, key, inner in attentions:
        yield Linear(f"{name}.to_q", branch, query, inner)
        yield Linear(f"{name}.to_k", branch, key, inner)
        yield Linear(f"{name}.to_v", branch, key, inner)
        yield Linear(f"{name}.to_out.0", branch, inner, query)
        if gated:
            yield Linear(f"{name}.to_gate_logits", branch, query, size.heads, quantizable=False)
    for name, branch, width, bias in (
        ("ff", "video", size.video, version != "2.5"),
        ("audio_ff", "audio", size.audio, True),
    ):
        yield Linear(f"{name}.net.0.proj", branch, width, 4 * width, bias)
        yield Linear(f"{name}.net.2", branch, 4 * width, width, bias)


def block_small_weights(version: Version, size: Dimensions = RELEASED) -> dict[str, int]:
    """Weights of one block outside its matrices, by branch: biases, norms, modulation tables."""
    found = {"video": 0, "audio": 0, "cross": 0}
    for linear in block_linears(version, size):
        if linear.bias:
            found[linear.branch] += linear.outputs
    rows = 6 if version == "2.0" else 9
    prompt = 0 if version == "2.0" else 2
    found["video"] += 4 * size.video + (rows + prompt) * size.video
    found["audio"] += 4 * size.audio + (rows + prompt) * size.audio
    found["cross"] += 4 * size.exchange + 5 * (size.video + size.audio)
    return found


def outer_weights(version: Version, size: Dimensions = RELEASED) -> dict[str, int]:
    """Weights outside the blocks, by branch."""
    rows = 6 if version == "2.0" else 9
    found = {}
    for branch, width in (("video", size.video), ("audio", size.audio)):
        count = _LATENT * width + width + width * _LATENT + _LATENT + 2 * width + _modulation(width, rows)
        if version == "2.0":
            count += size.caption * width + width + width * width + width
        else:
            count += _modulation(width, 2)
        found[branch] = count
    if version == "2.5":
        found["video"] += size.video
    found["cross"] = sum(_modulation(width, 4) + _modulation(width, 1) for width in (size.video, size.audio))
    return found


def lora_weights(cell: Cell, size: Dimensions = RELEASED) -> int:
    """Weights of the cell's adapter."""
    return cell.layers * sum(_adapter_weights(cell, one) for one in adapted(cell, size))


def _adapter_weights(cell: Cell, one: Linear) -> int:
    if cell.kind != "lokr":
        return cell.rank * (one.inputs + one.outputs) + (one.outputs if cell.kind == "dora" else 0)
    (rows, tall), (columns, wide) = kronecker_sides(one.outputs, cell.factor), kronecker_sides(one.inputs, cell.factor)
    # PEFT keeps the large factor whole where its rank is no saving
    large = cell.rank * (tall + wide) if cell.rank < max(tall, wide) / 2 else tall * wide
    return rows * columns + large


def kronecker_sides(width: int, factor: int) -> tuple[int, int]:
    """The two sides that PEFT's LoKr divides a width into: `factor` where it divides it, else the divisor below it that
    leaves the two closest together."""
    if width % factor == 0:
        return factor, width // factor
    sides = [(side, width // side) for side in range(1, min(factor, int(width**0.5)) + 1) if width % side == 0]
    return sides[-1]


def adapted(cell: Cell, size: Dimensions = RELEASED) -> list[Linear]:
    """The linear layers of a block that the cell's adapter sits on."""
    return [
        one
        for one in block_linears(cell.version, size)
        if one.branch in branches(cell) and any(_matches(one.name, pattern) for pattern in cell.targets)
    ]


def branches(cell: Cell) -> set[str]:
    """The branches whose weights the cell can move."""
    if cell.video is not None and cell.audio is not None:
        return {"video", "audio", "cross"}
    return {"video"} if cell.video is not None else {"audio"}


def _modulation(width: int, rows: int) -> int:
    return (_TIME_CHANNELS + 1) * width + (width + 1) * width + (width + 1) * rows * width


def _matches(name: str, pattern: str) -> bool:
    if pattern.endswith(".*"):
        return f".{pattern.removesuffix('.*')}." in f".transformer_blocks.0.{name}"
    return name == pattern or name.endswith(f".{pattern}")
