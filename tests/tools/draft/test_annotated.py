from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tools.draft.annotated import annotated_yaml, replace_drafted

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXTS | st.floats(1e-9, 1e9)
KEYS = st.sampled_from(["rank", "alpha", "steps", "seed"])
SECTIONS = st.dictionaries(KEYS, st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=3)), min_size=1)


@given(SECTIONS)
@example(
    {"acceleration": {"mixed_precision_mode": "no", "a": "1:30", "b": ["x?y", "~"], "c": "# no comment", "d": 5e-5}}
)
@settings(deadline=None)
def test_any_yaml_reader_gets_the_values_back(values: dict[str, Any]) -> None:
    reasons = {f"{section}.{key}": f"because # of {key}" for section, inside in values.items() for key in inside}
    assert yaml.safe_load(annotated_yaml(values, reasons)) == values


def test_reason_stands_on_the_values_line() -> None:
    lines = annotated_yaml({"lora": {"rank": 8}, "seed": 1}, {"lora.rank": "wide enough", "seed": "any"}).split("\n")
    assert any(line.startswith("  rank: 8") and line.endswith("# wide enough") for line in lines)
    assert any(line.startswith("seed: 1") and line.endswith("# any") for line in lines)


def test_untouched_draft_is_replaced_and_an_edited_one_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    first, second = (annotated_yaml({"seed": seed}, {}) for seed in (1, 2))
    assert replace_drafted(path, first) is None
    assert replace_drafted(path, second) is None
    edited = path.read_text().replace("seed: 2", "seed: 3")
    for number in (1, 2):
        path.write_text(edited)
        kept = replace_drafted(path, first)
        assert kept == tmp_path / f"config.yaml.bak-{number}"
        assert kept.read_text() == edited
    assert path.read_text() == first


def test_file_we_never_drafted_is_kept_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"model: \xff\r\n")
    kept = replace_drafted(path, annotated_yaml({"seed": 1}, {}))
    assert kept is not None
    assert kept.read_bytes() == b"model: \xff\r\n"
