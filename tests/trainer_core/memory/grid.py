"""The grid that the estimate is held to: full-size trainings of every version, objective family, adapter and switch."""

from dataclasses import replace

from trainer_core.memory.cell import Cell, Side, Version

VERSIONS: tuple[Version, ...] = ("2.0", "2.3", "2.5")
# video tokens, audio tokens: 576x576x49, 768x448x89, 960x544x49, 960x544x121
SIZES = ((2268, 51), (4032, 93), (3570, 51), (8160, 126))


def cells() -> dict[str, Cell]:
    """Named cells; none is a point that the coefficients were fitted at."""
    found: dict[str, Cell] = {}
    for version in VERSIONS:
        for video, audio in SIZES:
            sides = {
                "sound and picture": (Side(video + 33), Side(audio)),
                "picture alone": (Side(video + 33), None),
                "reference": (Side(2 * video), None),
                "sound from picture": (Side(video + 33, generated=False), Side(audio)),
            }
            for name, (first, second) in sides.items():
                found[f"{version} {name} {video}"] = Cell(version, first, second)
        for tokens in (140, 500):
            found[f"{version} sound alone {tokens}"] = Cell(version, None, Side(tokens))
    base = Cell("2.3", Side(4000), Side(93))
    found |= {
        "plain": base,
        "int8": replace(base, quantization="int8"),
        "int8-dynamic": replace(base, quantization="int8-dynamic"),
        "fp8": replace(base, quantization="fp8"),
        "nf4": replace(base, quantization="nf4"),
        "rank 16": replace(base, rank=16),
        "rank 128": replace(base, rank=128),
        "batch 2": replace(base, batch=2),
        "whole": replace(base, checkpointing=False),
        "chunked": replace(base, chunk_tokens=1024),
        "offload": replace(base, offload=True),
        "offload sound alone": Cell("2.3", None, Side(400), offload=True),
        "offload picture alone": Cell("2.3", Side(8193), None, offload=True),
        "swap 12": replace(base, swap_blocks=12),
        "swap 24 int8": replace(base, quantization="int8", swap_blocks=24),
        "swap 36 sound alone": Cell("2.3", None, Side(400), swap_blocks=36),
        "8-bit moments": replace(base, moments_8bit=True),
        "full": replace(base, rank=0),
        "full fused": replace(base, rank=0, fused=True),
        "full fused sound alone": Cell("2.3", None, Side(400), rank=0, fused=True),
        "2.0 full fused": replace(base, version="2.0", rank=0, fused=True),
        "full fused 8-bit": replace(base, rank=0, fused=True, moments_8bit=True),
        "int8 chunked offload": replace(base, quantization="int8", chunk_tokens=1024, offload=True),
        "video ic": replace(base, audio=None, targets=("attn1.*", "attn2.*", "ff.net.0.proj", "ff.net.2")),
    }
    return found
