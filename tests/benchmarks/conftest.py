"""`make bench`: every benchmark reports a ratio against the limit of the same run; the table goes to RESULTS.md."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from trainer_core.files import write_text

RESULTS = Path(__file__).parent / "RESULTS.md"
_PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "av", "opencv-python-headless", "typer")


@dataclass(frozen=True)
class Row:
    """One measured ratio; `target` is the most it may be, None where it is reported without a limit."""

    name: str
    ratio: float
    target: float | None
    note: str

    def line(self) -> str:
        if self.target is None:
            return f"| {self.name} | {self.ratio:.3f} | – | – | {self.note} |"
        verdict = "yes" if self.ratio <= self.target else "**no**"
        return f"| {self.name} | {self.ratio:.3f} | ≤ {self.target:g} | {verdict} | {self.note} |"


RecordRatio = Callable[..., None]


@pytest.fixture(scope="session")
def _rows() -> Iterator[list[Row]]:
    rows: list[Row] = []
    yield rows
    if rows:
        names = {row.name for row in rows}
        table = _table([*(row for row in _stored() if row.name not in names), *rows])
        write_text(RESULTS, table)
        print("\n" + table)


@pytest.fixture
def record_ratio(_rows: list[Row]) -> RecordRatio:
    """Record `(name, ratio, target, note="")` for the table; no target: a figure that nobody set a limit to."""

    def record(name: str, ratio: float, target: float | None, note: str = "") -> None:
        _rows.append(Row(name, ratio, target, note))

    return record


def _stored() -> list[Row]:
    """The rows of the last table: running one benchmark file leaves the others' figures alone."""
    if not RESULTS.exists():
        return []
    lines = [line for line in RESULTS.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [
        Row(name, float(ratio), None if target == "–" else float(target.lstrip("≤ ")), note)
        for name, ratio, target, _, note in cells
    ]


def _table(rows: list[Row]) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Each figure is a ratio to the limit named in its row, both measured in the same run.",
        "",
        "| what | ratio | target | met | how |",
        "| --- | ---: | ---: | --- | --- |",
        *(row.line() for row in rows),
        "",
        f"Measured with Python {platform.python_version()} on {platform.machine()}, {versions}.",
        "",
    ]
    return "\n".join(lines)
