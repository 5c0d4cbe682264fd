"""The state's files: whole or not there, plain data only, every damage recognised."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer_core.training.checkpointing.state import list_states, newest_state, read_state, remove_state, write_state
from trainer_core.training.checkpointing.tree import join_tensors, split_tensors

CONTENT: dict[str, Any] = {
    "optimizer": {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.arange(6.0).view(2, 3)}},
        "betas": (0.9, 0.999),
    },
    "half": torch.ones(2, dtype=torch.bfloat16),
    "bytes": b"\x00\xff",
    "nothing": None,
}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    write_state(tmp_path, 7, CONTENT, None)
    saved = read_state(tmp_path / "step_00007")
    assert saved.step == 7
    assert saved.content["optimizer"]["betas"] == (0.9, 0.999)
    assert torch.equal(saved.content["optimizer"]["state"][0]["exp_avg"], torch.arange(6.0).view(2, 3))
    assert saved.content["half"].dtype == torch.bfloat16
    assert (saved.content["bytes"], saved.content["nothing"]) == (b"\x00\xff", None)


@pytest.mark.parametrize("file", ["tensors.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "lost"])
def test_every_damage_is_recognised_and_the_state_before_is_used(tmp_path: Path, file: str, damage: str) -> None:
    for step in (3, 6):
        write_state(tmp_path, step, CONTENT, None)
    path = tmp_path / "step_00006" / file
    held = bytearray(path.read_bytes())
    if damage == "lost":
        path.unlink()
    else:
        held[len(held) // 2] ^= 1
        path.write_bytes({"flip": bytes(held), "cut": bytes(held[:-20]), "empty": b""}[damage])
    saved, problems = newest_state(tmp_path)
    assert saved is not None
    assert saved.step == 3
    assert bool(problems) != (file == "manifest.json" and damage == "lost")


def test_any_single_flipped_bit_of_the_manifest_is_recognised(tmp_path: Path) -> None:
    write_state(tmp_path, 1, CONTENT, None)
    path = tmp_path / "step_00001" / "manifest.json"
    whole = path.read_bytes()
    meant = json.loads(whole)
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        saved, _ = newest_state(tmp_path)
        if saved is not None:  # a flip that leaves the document as it was, such as in white space
            assert json.loads(path.read_bytes()) == meant


def test_a_state_of_another_step_limit_is_found(tmp_path: Path) -> None:
    for step in (3, 6, 9):
        write_state(tmp_path, step, CONTENT, None)
    saved, _ = newest_state(tmp_path, up_to=8)
    assert saved is not None
    assert saved.step == 6
    remove_state(tmp_path / "step_00006")
    assert [step for step, _ in list_states(tmp_path)] == [3, 9]


def test_what_is_no_plain_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="can't hold"):
        write_state(tmp_path, 1, {"object": object()}, None)
    assert list_states(tmp_path) == []


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_any_nesting_of_plain_values_survives_json(value: Any) -> None:
    document = json.loads(json.dumps(split_tensors(value, "", {})))
    assert join_tensors(document, {}) == value
