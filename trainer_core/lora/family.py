"""The model family that an adapter seems to be made for, told by its modules' names and their widths. No torch.

Shapes here are (O, I) of the weights that an adapter changes, by the names that its file gives them. Sources: the
module names and widths of each family's published transformer, as diffusers and the original repositories have them.
"""

import re
from collections.abc import Callable, Mapping

Shapes = Mapping[str, tuple[int, int]]
LTX2_WIDTHS = (4096, 2048)
"""Of video and of audio, in every released version of LTX-2."""


_PREFIX = re.compile(
    r"^(?:lora_unet_|lycoris_|base_model\.model\.|model\.diffusion_model\.|diffusion_model\.|transformer\.)+"
)


def looks_like(shapes: Shapes, metadata: Mapping[str, str]) -> str | None:
    """The family by its name, with what tells it; None where nothing does. It is not LTX-2's, or not this version's."""
    dotted = {_PREFIX.sub("", name).replace("_", "."): shape for name, shape in shapes.items()}
    for tells in _FAMILIES:
        if found := tells(dotted):
            return found
    said = metadata.get("modelspec.architecture") or metadata.get("ss_base_model_version")
    return f"`{said[:60]}`, as its metadata says" if said else None


def differs_from(name: str, shape: tuple[int, int], wanted: tuple[int, int]) -> str:
    """Return why a module that the model has too is of another shape (O, I): the model that the widths belong to."""
    parts = name.split(".")
    width = shape[0] if name.endswith((".to_q", ".to_k", ".to_v")) else shape[1]
    if name.startswith(("time_embed.", "audio_time_embed.")) and shape[1] == wanted[1]:
        rows = shape[0] // shape[1]
        version = {6: "LTX-2.0", 9: "LTX-2.3 or 2.5"}.get(rows)
        return f"its {rows} modulations are those of {version}" if version else f"it has {rows} modulations"
    if len(parts) > 2 and parts[2] in ("attn1", "attn2") and width in _PLAIN_WIDTHS:
        return f"its width {width} is that of {_PLAIN_WIDTHS[width]}"
    if shape[0] in LTX2_WIDTHS or shape[1] in LTX2_WIDTHS:
        return "its widths are those of a released LTX-2"
    if max(shape) <= 256:
        return "its widths are those of the tiny model that this program makes for trials"
    return "it was made for another model"


_PLAIN_WIDTHS = {
    2048: "LTX-Video 0.9 (2B)",
    1152: "PixArt",
    1920: "CogVideoX-2B",
    3072: "CogVideoX-5B or Mochi",
    2240: "Sana",
}
"""Of models whose blocks are named as LTX-2's are: `transformer_blocks.N.attn1.to_q`."""


def _wan(shapes: Shapes) -> str | None:
    blocks = _having(shapes, r"(^|\.)blocks\.\d+\.(self\.attn|cross\.attn)\.(q|k|v|o)$|(^|\.)blocks\.\d+\.ffn\.[02]$")
    blocks |= _having(shapes, r"^blocks\.\d+\.attn[12]\.to\.(q|k|v|out\.0)$")
    if not blocks:
        return None
    width = _most_common_width(shapes, blocks)
    size = {1536: " 1.3B", 3072: " 2.2 5B", 5120: " 14B"}.get(width, "")
    return f"Wan{size} (its layers are blocks.N.self_attn, cross_attn and ffn)"


def _hunyuan_or_flux(shapes: Shapes) -> str | None:
    double = _numbers(shapes, r"(?<!\w)double\.blocks\.(\d+)\.")
    single = _numbers(shapes, r"(?<!\w)single\.blocks\.(\d+)\.")
    if not double and not single:
        return None
    refined = _having(shapes, r"individual\.token\.refiner|img\.attn\.q$|img\.mlp\.fc1|\.img\.attn\.qkv\.fc")
    if refined or max(double, default=0) >= 19 or max(single, default=0) >= 38:
        return "HunyuanVideo (its blocks are double_blocks and single_blocks)"
    return "Flux, or HunyuanVideo (its blocks are double_blocks and single_blocks)"


def _flux_or_qwen(shapes: Shapes) -> str | None:
    joint = _having(shapes, r"^transformer\.blocks\.\d+\.attn\.(to\.q|to\.k|to\.v|add\.[qkv]\.proj|to\.add\.out)")
    single = _having(shapes, r"^single\.transformer\.blocks\.\d+\.")
    if single:
        return "Flux (it has single_transformer_blocks)"
    if joint and _having(shapes, r"\.(img|txt)\.(mlp|mod)\."):
        return "Qwen-Image (its blocks have img_mlp and txt_mlp)"
    if joint:
        return "Flux, Stable Diffusion 3 or Qwen-Image (its blocks have one joint attention, `attn`)"
    return "Stable Diffusion 3 (it has joint_blocks)" if _having(shapes, r"(^|\.)joint\.blocks\.\d+\.") else None


def _stable_diffusion(shapes: Shapes) -> str | None:
    if not _having(shapes, r"(^|\.)(down|up|mid|input|output|middle)\.blocks?\.") and not _having(
        shapes, r"^(lora\.)?te\d?\.|text\.model\.encoder"
    ):
        return None
    contexts = {shape[1] for name, shape in shapes.items() if re.search(r"attn2\.to\.[kv]$", name)}
    kind = next((name for width, name in ((2048, " XL"), (1024, " 2"), (768, " 1.5")) if width in contexts), "")
    return f"Stable Diffusion{kind} (it has the blocks of a U-Net or its text encoder)"


def _language_model(shapes: Shapes) -> str | None:
    found = _having(shapes, r"layers\.\d+\.(self\.attn|mlp)\.(q|k|v|o|gate|up|down)\.proj$")
    return "a language model (it has layers.N.self_attn)" if found else None


def _same_names(shapes: Shapes) -> str | None:
    """Families whose blocks are named as LTX-2's are, told by width and by what LTX-2 has and they don't."""
    if _having(shapes, r"audio"):
        return None
    found = _having(shapes, r"(^|\.)transformer\.blocks\.\d+\.attn1\.to\.(q|k|v)$")
    width = _most_common_width(shapes, found) if found else 0
    return f"{_PLAIN_WIDTHS[width]} (its attention is {width} wide)" if width in _PLAIN_WIDTHS else None


_FAMILIES: tuple[Callable[[Shapes], str | None], ...] = (
    _wan,
    _hunyuan_or_flux,
    _flux_or_qwen,
    _stable_diffusion,
    _language_model,
    _same_names,
)


def _having(shapes: Shapes, pattern: str) -> set[str]:
    return {name for name in shapes if re.search(pattern, name)}


def _numbers(shapes: Shapes, pattern: str) -> list[int]:
    return [int(found[1]) for name in shapes if (found := re.search(pattern, name))]


def _most_common_width(shapes: Shapes, names: set[str]) -> int:
    widths = [shapes[name][0] for name in sorted(names)]
    return max(widths, key=widths.count)
