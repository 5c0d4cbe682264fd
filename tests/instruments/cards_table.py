"""The table of GPUs in TABLES.md, by arithmetic: `python tests/instruments/cards_table.py` prints it."""

from tools.machine import largest_bucket, ways
from trainer_core.memory.cell import Cell, Side
from trainer_core.memory.estimate import CARDS_GB, USABLE


def table() -> str:
    """Markdown: for each way to train, the largest estimated bucket of every card; a dash where none fits."""
    heads = ["LTX-2.3, sound and picture", *(f"{card} GB" for card in CARDS_GB)]
    rows = [heads, ["---"] * len(heads)]
    for what, switches, cell in ways(Cell("2.3", Side(0), Side(0), rank=32)):
        buckets = (largest_bucket(cell, card * 1e9 * USABLE) for card in CARDS_GB)
        rows.append([f"{what}: {switches}", *(str(bucket or "–") for bucket in buckets)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table())
