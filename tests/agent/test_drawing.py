"""ARCHITECTURE.md shows the graph as the code builds it."""

from pathlib import Path

from agent.graph import drawing

ROOT = Path(__file__).parents[2]


def test_architecture_shows_the_graph() -> None:
    assert drawing().strip() in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), (
        "ARCHITECTURE.md shows another graph; put the output of `python -m agent.graph` into it"
    )
