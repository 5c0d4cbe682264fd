"""The forms that others read an adapter in, made from one that was read: diffusers' keys, and who reads what."""

from torch import Tensor

from trainer_core.lora.changes import Kronecker
from trainer_core.lora.file import LoraFile

READERS = {
    "LoRA": "LoRA for ComfyUI (models/loras), diffusers and the official tools",
    "DoRA": "DoRA for ComfyUI (models/loras) and diffusers; the official tools read plain LoRA alone",
    "LoKr": "LoKr for ComfyUI (models/loras); diffusers takes its own folder, the official tools plain LoRA alone",
    "LoHa": "LoHa for ComfyUI (models/loras); diffusers takes its own folder, the official tools plain LoRA alone",
}


def readers_of(lora: LoraFile) -> str:
    """Return the file's kind and its readers, in words."""
    return next((told for form, told in READERS.items() if form in lora.forms and form != "LoRA"), READERS["LoRA"])


def diffusers_state(lora: LoraFile) -> tuple[dict[str, Tensor], str]:
    """The adapter under diffusers' keys, and which of its functions loads it.

    LoKr and LoHa are multiplied out to the plain B·A that they are, as the pipeline reads nothing else; a LoKr whose
    B·A would be larger than the weights themselves stays LoKr, which the transformer's own loader reads.
    """
    large = [
        module
        for module, (rows, columns) in lora.shapes.items()
        if lora.ranks_by_module[module] * (rows + columns) > rows * columns
    ]
    if large and set(lora.forms) == {"LoKr"}:
        return _as_lokr(
            lora
        ), f"{len(lora.changes)} modules of LoKr for transformer.load_lora_adapter (with use_safetensors=True)"
    state = {}
    for module, (down, up) in lora.pairs.items():
        state[f"transformer.{module}.lora_A.weight"] = down
        state[f"transformer.{module}.lora_B.weight"] = up
        if (magnitude := lora.magnitudes.get(module)) is not None:
            state[f"transformer.{module}.lora_magnitude_vector"] = magnitude.flatten()
    return state, f"{len(lora.changes)} modules for LTX2Pipeline.load_lora_weights"


def _as_lokr(lora: LoraFile) -> dict[str, Tensor]:
    state = {}
    for module, change in lora.changes.items():
        assert isinstance(change, Kronecker)
        state[f"transformer.{module}.lokr_w1"] = change.left
        if change.down.shape[0] >= min(change.up.shape[0], change.down.shape[1]):
            state[f"transformer.{module}.lokr_w2"] = change.up @ change.down
        else:
            state[f"transformer.{module}.lokr_w2_a"] = change.up
            state[f"transformer.{module}.lokr_w2_b"] = change.down
    return state
