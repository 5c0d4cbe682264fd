"""The grids that the estimate is held to: full-size trainings of every version, objective family, adapter and switch.

`cells` are those that the estimate was made with: chosen, and the draw that corrected it. `drawn` are others by chance,
which no coefficient and no formula has seen.
"""

import random
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
        "full float24": replace(base, rank=0, master="float24"),
        "full float24 fused": replace(base, rank=0, fused=True, master="float24"),
        "full float24 fused sound alone": Cell("2.3", None, Side(400), rank=0, fused=True, master="float24"),
        "full stochastic picture alone": replace(base, audio=None, rank=0, master="stochastic"),
        "int8 chunked offload": replace(base, quantization="int8", chunk_tokens=1024, offload=True),
        "video ic": replace(base, audio=None, targets=("attn1.*", "attn2.*", "ff.net.0.proj", "ff.net.2")),
    }
    return found | drawn(seed=SEEN_SEED)


DRAWN, SEED, SEEN_SEED = 24, 1128, 7
_TARGETS = (
    ("to_k", "to_q", "to_v", "to_out.0"),
    ("to_k", "to_q", "to_v", "to_out.0", "net.0.proj", "net.2"),
    ("attn1.*", "audio_attn1.*"),
)


def drawn(count: int = DRAWN, seed: int = SEED) -> dict[str, Cell]:
    """`count` trainings by chance: sizes, lengths, batches, ranks, targets, roles and switches."""
    chance = random.Random(seed)
    found: dict[str, Cell] = {}
    while len(found) < count:
        cell = _drawn(chance)
        found[_name(cell)] = cell
    return found


def _drawn(chance: random.Random) -> Cell:
    rows, columns, latents = chance.randint(8, 24), chance.randint(8, 40), chance.randint(2, 21)
    picture, sound = rows * columns * latents, round((latents * 8 - 7) / chance.choice((24, 25, 30)) * 25)
    reference = chance.choice((0, 0, 0, 1, 4))  # none, of the same size, of half the sides
    pictures = picture + (picture // reference if reference else 0)
    video, audio = chance.choice(
        (
            (Side(pictures), Side(sound)),
            (Side(pictures), None),
            (None, Side(sound + (sound if reference else 0))),
            (Side(pictures), Side(sound, generated=False)),
            (Side(picture, generated=False), Side(sound)),
        )
    )
    full, checkpointing = chance.random() < 0.2, chance.random() < 0.8
    fused = full and chance.random() < 0.7
    scheme = None if full else chance.choice((None, None, "int8", "int8-dynamic", "fp8", "nf4"))
    return Cell(
        chance.choice(VERSIONS),
        video,
        audio,
        rank=0 if full else chance.choice((4, 8, 24, 48, 64, 96, 160)),
        targets=chance.choice(_TARGETS),
        batch=chance.choice((1, 1, 1, 2, 3)),
        quantization=scheme,
        checkpointing=checkpointing,
        offload=checkpointing and chance.random() < 0.25,
        swap_blocks=chance.choice((0, 0, 0, 8, 30)) if checkpointing and not full else 0,
        chunk_tokens=chance.choice((None, None, 512, 2048)),
        moments_8bit=chance.random() < 0.4,
        fused=fused,
    )


def _name(cell: Cell) -> str:
    """What differs from a cell's defaults, in a few words."""
    plain = Cell(cell.version, cell.video, cell.audio)
    sides = [
        f"{name} {side.tokens}{'' if side.generated else ' given'}"
        for name, side in (("video", cell.video), ("audio", cell.audio))
        if side is not None
    ]
    switches = [
        f"{name} {value if not isinstance(value, tuple) else len(value)}"
        for name, value in vars(cell).items()
        if name not in ("version", "video", "audio") and value != getattr(plain, name)
    ]
    return ", ".join([cell.version, *sides, *switches])
