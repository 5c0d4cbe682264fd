"""Names of quantised bases: upstream's and ours, what each becomes here, and which have no counterpart. No torch."""

from dataclasses import dataclass

from trainer_core.errors import ConfigError


@dataclass(frozen=True)
class Quantization:
    """A storage of a frozen base's large linear layers. `bits` per weight, block and row scales included."""

    name: str
    bits: float
    words: str


SCHEMES: dict[str, Quantization] = {
    "int8": Quantization("int8", 8.0, "8-bit integers, one scale a row (torchao)"),
    "int8-dynamic": Quantization(
        "int8-dynamic", 8.0, "8-bit integers, activations rounded to 8 bits on the fly (torchao)"
    ),
    "fp8": Quantization("fp8", 8.0, "8-bit floats (e4m3), one scale a row (torchao)"),
    "nf4": Quantization("nf4", 4.127, "4-bit normal floats in blocks of 64 (bitsandbytes)"),
}
UPSTREAM: dict[str, str] = {"int8-quanto": "int8", "fp8-quanto": "fp8", "int4-quanto": "nf4"}
REFUSED: dict[str, tuple[str, str]] = {
    "int2-quanto": (
        "2-bit weights have no kernel here that would save memory over 4-bit ones",
        "Use int4-quanto, or swap blocks to host memory (ltx_agent.memory.swap_blocks).",
    ),
    "fp8uz-quanto": (
        "float8 e4m3fnuz is the 8-bit float of AMD's accelerators, and this trainer computes on NVIDIA GPUs",
        "Use fp8-quanto, which is e4m3fn.",
    ),
}


def quantization_named(name: str) -> Quantization:
    """Return what `acceleration.quantization` asks for. Raises ConfigError with the reason for what can't be had."""
    if name in REFUSED:
        reason, remedy = REFUSED[name]
        raise ConfigError(f"acceleration.quantization {name} is not available: {reason}.", remedy)
    return SCHEMES[UPSTREAM.get(name, name)]


def upstream_name(name: str) -> str | None:
    """Return the name under which upstream's schema knows this quantisation, or None when it has no word for it."""
    if name in UPSTREAM or name in REFUSED:
        return name
    return next((theirs for theirs, ours in UPSTREAM.items() if ours == name), None)
