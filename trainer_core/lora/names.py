"""The keys of adapter files in every spelling, read as the module they change and the part of the change they hold.

Spellings: PEFT and official (`lora_A`), kohya, musubi and LyCORIS (`lora_down`, names flattened with underscores),
diffusers' older ones (`.lora.down`, `_lora.down`, `.lora_linear_layer.down`), adapters that PEFT named
(`lora_A.NAME.weight`), and any pile of prefixes before the module's name.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from trainer_core.model.names import to_diffusers, to_upstream
from trainer_core.model.reader_keys import LORA_MODULES

Part = Literal[
    "down", "up", "alpha", "magnitude", "dora_scale",
    "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b",
    "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b",
]  # fmt: skip
_SPELLINGS: dict[str, Part] = {
    "lora_A": "down",
    "lora_down": "down",
    "lora.down": "down",
    "lora_linear_layer.down": "down",
    "lora_B": "up",
    "lora_up": "up",
    "lora.up": "up",
    "lora_linear_layer.up": "up",
    "alpha": "alpha",
    "lora_magnitude_vector": "magnitude",
    "dora_scale": "dora_scale",
    "lokr_w1": "lokr_w1",
    "lokr_w1_a": "lokr_w1_a",
    "lokr_w1_b": "lokr_w1_b",
    "lokr_w2": "lokr_w2",
    "lokr_w2_a": "lokr_w2_a",
    "lokr_w2_b": "lokr_w2_b",
    "hada_w1_a": "hada_w1_a",
    "hada_w1_b": "hada_w1_b",
    "hada_w2_a": "hada_w2_a",
    "hada_w2_b": "hada_w2_b",
}
_KEY = re.compile(
    r"(?P<module>.+?)(?:\.|_(?=lora\.))"
    rf"(?P<part>{'|'.join(sorted(map(re.escape, _SPELLINGS), key=len, reverse=True))})"
    r"(?:\.(?!weight$|bias$)(?P<adapter>[^.]+))?(?:\.weight)?"
)
_FOREIGN_PARTS = {
    "lora_mid": "the middle matrix of a convolution's LoRA (LoCon)",
    "lora.mid": "the middle matrix of a convolution's LoRA (LoCon)",
    "lokr_t2": "LoKr in Tucker form, which is for convolutions",
    "hada_t1": "LoHa in Tucker form, which is for convolutions",
    "hada_t2": "LoHa in Tucker form, which is for convolutions",
    "oft_blocks": "OFT, an orthogonal adapter",
    "oft_diag": "OFT, an orthogonal adapter",
    "oft_R": "OFT, an orthogonal adapter",
    "boft_R": "BOFT, an orthogonal adapter",
    "ia3_l": "IA3, a rescaling adapter",
    "vera_lambda_b": "VeRA, whose matrices are not in the file",
    "vera_lambda_d": "VeRA, whose matrices are not in the file",
    "lora_E": "AdaLoRA",
    "lora_embedding_A": "a LoRA of an embedding",
    "lora_embedding_B": "a LoRA of an embedding",
    "lora_B.bias": "a LoRA that changes biases",
    "lora_B.default.bias": "a LoRA that changes biases",
    "diff": "whole differences of weights",
    "diff_b": "differences of biases",
    "set_weight": "weights to replace the base's",
    "reshape_weight": "a LoRA that makes the base's layers wider",
    "w_norm": "differences of norms",
    "b_norm": "differences of norms",
    "a1.weight": "GLoRA",
    "a2.weight": "GLoRA",
    "b1.weight": "GLoRA",
    "b2.weight": "GLoRA",
}
_PREFIXES = (
    "base_model.model.",
    "_orig_mod.",
    "module.",
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "connectors.",
)
_FLAT_PREFIXES = ("lora_unet_", "lora_transformer_", "lycoris_unet_", "lycoris_", "lora_")
_FLAT_ROOTS = ("", "model_", "diffusion_model_", "model_diffusion_model_", "transformer_")
_FLAT_BLOCK = re.compile(r"transformer_blocks_(\d+)_")
TEXT_HEADS = ("text_embedding_projection.", "video_embeddings_connector.", "audio_embeddings_connector.")
"""Upstream's names of what stands between the text encoder and the transformer."""
_TEXT_TO_UPSTREAM = {
    "text_proj_in": "text_embedding_projection.aggregate_embed",
    "video_text_proj_in": "text_embedding_projection.video_aggregate_embed",
    "audio_text_proj_in": "text_embedding_projection.audio_aggregate_embed",
    "video_connector": "video_embeddings_connector",
    "audio_connector": "audio_embeddings_connector",
}


@dataclass(frozen=True)
class Key:
    """One key, read. `module` is diffusers' name, or upstream's for what stands before the transformer (`text`)."""

    module: str
    part: Part
    text: bool


def read_key(key: str) -> Key | None:
    """Return the parsed `key`; None where it is no part of an adapter that can be read."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    module, text = module_name(found["module"])
    return Key(module, _SPELLINGS[found["part"]], text)


def foreign_part(key: str) -> str | None:
    """The kind of adapter that `key` belongs to, where it is known and can't be read; None where it isn't known."""
    return next(
        (kind for ending, kind in _FOREIGN_PARTS.items() if key.endswith((f".{ending}", f".{ending}.weight"))), None
    )


def module_name(stem: str) -> tuple[str, bool]:
    """The module that a key's stem names, in whichever spelling, and whether it stands before the transformer."""
    for prefix in _FLAT_PREFIXES:
        if stem.startswith(prefix) and "." not in stem:
            return _unflattened(stem.removeprefix(prefix)), False
    connectors = False
    while found := [prefix for prefix in _PREFIXES if stem.startswith(prefix)]:
        connectors |= found[0] == "connectors."
        stem = stem.removeprefix(found[0])
    stem = stem.replace(".processor.", ".")
    stem = f"{stem}.0" if stem.endswith(".to_out") else stem
    head, _, rest = stem.partition(".")
    if connectors or head in _TEXT_TO_UPSTREAM:
        upstream = f"{_TEXT_TO_UPSTREAM.get(head, head)}{'.' if rest else ''}{rest}"
        return upstream.replace("connector.transformer_blocks.", "connector.transformer_1d_blocks."), True
    if stem.startswith(TEXT_HEADS):
        return stem, True
    return to_diffusers(stem), False


def text_key(module: str) -> str:
    """The stem that readers know a module before the transformer by: connectors are kept with the transformer."""
    return module if module.startswith("text_embedding_projection.") else f"diffusion_model.{module}"


def is_known(module: str) -> bool:
    """True if LTX-2 has such a module, by diffusers' name, in any version."""
    return _block_free(to_upstream(module)) in _known()


def _unflattened(flat: str) -> str:
    for root in _FLAT_ROOTS:
        if not flat.startswith(root):
            continue
        rest = flat.removeprefix(root)
        number = _FLAT_BLOCK.match(rest)
        known = _flat_modules().get(_FLAT_BLOCK.sub("transformer_blocks_N_", rest, count=1) if number else rest)
        if known is not None:
            return to_diffusers(known.replace(".N.", f".{number[1]}.") if number else known)
    return flat


@cache
def _known() -> frozenset[str]:
    return frozenset(LORA_MODULES)


@cache
def _flat_modules() -> dict[str, str]:
    """Upstream's modules by their names with underscores for dots, upstream's own and diffusers'."""
    theirs = {to_diffusers(module).replace(".", "_"): module for module in LORA_MODULES}
    return theirs | {module.replace(".", "_"): module for module in LORA_MODULES}


def _block_free(name: str) -> str:
    parts = name.split(".")
    if parts[0] == "transformer_blocks" and len(parts) > 1 and parts[1].isdecimal():
        parts[1] = "N"
    return ".".join(parts)
