"""The annotated YAML of each objective in examples/configs is what the tools draft, complete in reasons, and valid."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tools.draft.experiments import flat_values
from trainer_core.config import load_config
from trainer_core.objective import OBJECTIVE_NAMES, name_of

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIGS = EXAMPLES / "configs"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_they_are_what_is_drafted_now(tmp_path: Path) -> None:
    script("make_clips").make_clips(tmp_path / "clips", 6)
    made = script("make_configs").make_configs(tmp_path / "clips", tmp_path / "made")
    assert {path.stem for path in made} == set(OBJECTIVE_NAMES)
    assert {path.name for path in CONFIGS.iterdir()} == {path.name for path in made}
    for path in made:
        stored = (CONFIGS / path.name).read_text(encoding="utf-8")
        assert path.read_text(encoding="utf-8") == stored, "python examples/make_configs.py examples/configs"


@pytest.mark.parametrize("objective", OBJECTIVE_NAMES)
def test_the_strict_reader_takes_it(objective: str) -> None:
    config = load_config(CONFIGS / f"{objective}.yaml")
    assert name_of(config.strategy) == objective == config.ltx_agent.objective
    assert "/" not in config.data.preprocessed_data_root


@pytest.mark.parametrize("objective", OBJECTIVE_NAMES)
def test_every_value_has_its_reason(objective: str) -> None:
    text = (CONFIGS / f"{objective}.yaml").read_text(encoding="utf-8")
    assert set(flat_values(text)) == explained(text)


def explained(text: str) -> set[str]:
    """The dotted names of the values with a comment on their line."""
    found: set[str] = set()
    sections: list[tuple[int, str]] = []
    for line in text.splitlines():
        key = line.strip().partition(":")[0]
        if not key or key.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        sections = [*(section for section in sections if section[0] < indent), (indent, key)]
        if " # " in line:
            found.add(".".join(name for _, name in sections))
    return found
