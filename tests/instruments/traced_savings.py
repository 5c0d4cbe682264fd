"""Savings of each switch at full size, traced: `python tests/instruments/traced_savings.py` prints the table.

The traces count tensors of the released model on a fake device; connectors and text encoder, which never train, are
counted from their weights.
"""

from dataclasses import replace

from trainer_core.memory.cell import Cell, Side
from trainer_core.memory.encoding import text_encoder_bytes
from trainer_core.memory.estimate import estimate

LORA = Cell("2.3", Side(4000), Side(93))
FULL = replace(LORA, rank=0)
FUSED = replace(FULL, fused=True)

SWITCHES: dict[str, tuple[Cell, Cell]] = {
    "gradient checkpointing": (replace(LORA, checkpointing=False), LORA),
    "8-bit optimizer": (LORA, replace(LORA, moments_8bit=True)),
    "optimizer in backward, every weight": (FULL, FUSED),
    "8-bit optimizer, every weight": (FUSED, replace(FUSED, moments_8bit=True)),
    "24-bit weights, every weight": (replace(FUSED, moments_8bit=True), replace(FUSED, master="float24")),
    "int8 base": (LORA, replace(LORA, quantization="int8")),
    "fp8 base": (LORA, replace(LORA, quantization="fp8")),
    "4-bit base": (LORA, replace(LORA, quantization="nf4")),
    "chunked feed-forward": (LORA, replace(LORA, chunk_tokens=1024)),
    "activation offload": (LORA, replace(LORA, offload=True)),
    "12 blocks swapped": (LORA, replace(LORA, swap_blocks=12)),
}
"""By name: a training without the switch, and the same with it."""


def table() -> str:
    """Markdown: the traced peak without and with each switch, and the estimate's word on the difference."""
    from memory_trace import trace

    known: dict[Cell, int] = {}

    def peak(cell: Cell) -> int:
        if cell not in known:
            known[cell] = trace(cell).peak
        return known[cell]

    rows = [["switch", "without", "with", "saves", "estimated saving"], ["---", "---:", "---:", "---:", "---:"]]
    for name, (plain, switched) in SWITCHES.items():
        before, after = peak(plain), peak(switched)
        guess = estimate(plain).step_peak_bytes - estimate(switched).step_peak_bytes
        rows.append([name, *(f"{count / 1e9:.1f} GB" for count in (before, after, before - after, guess))])
    counted = {
        "text beforehand (connectors dropped)": (estimate(LORA).parts["connectors"], 0),
        "text encoder in 8 bits": (text_encoder_bytes(in_8bit=False), text_encoder_bytes(in_8bit=True)),
    }
    for name, (before, after) in counted.items():
        rows.append([name, *(f"{count / 1e9:.1f} GB" for count in (before, after, before - after)), "counted"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table())
