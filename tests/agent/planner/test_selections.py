"""Which clips a sentence takes in or leaves out."""

from pathlib import Path
from typing import get_args

import pytest
import yaml

from agent.planner import selections
from agent.planner.numbers import with_digits
from agent.planner.selections import points_at_clips, selection_in
from tools.draft.references import Trait


@pytest.mark.parametrize(
    ("words", "selection"),
    [
        ("the first five", {"only": ["first 5"]}),
        ("only bunny_00 and bunny_01", {"only": ["bunny_00", "bunny_01"]}),
        ("all but the earth ones", {"skip": ["*earth*"]}),
        ("everything except clip 2", {"skip": ["2"]}),
        ("skip world_*", {"skip": ["world_*"]}),
        ("without the dark ones", {"skip": ["is:dark"]}),
        ("use all of them", {"skip": [], "only": []}),
        ("skip the ones without sound", {"skip": ["is:silent"]}),
        ("use clips 2 to 6", {"only": ["2-6"]}),
        ("don't use clip 4", {"skip": ["4"]}),
        ("please don't use clip 4", {"skip": ["4"]}),
        ("put clip 3 back in", {"back": ["3"]}),
        ("use half of the clips", {"only": ["every 2"]}),
        ("skip 3.mp4", {"skip": ["3.mp4"]}),
        ("clip 4 is ugly, drop it", {"skip": ["4"]}),
        ("nur die ersten drei", {"only": ["first 3"]}),
        ("暗いクリップを除いて", {"skip": ["is:dark"]}),
    ],
)
def test_clips_are_selected(words: str, selection: dict[str, list[str]]) -> None:
    assert selection_in(with_digits(words)) == selection


@pytest.mark.parametrize(
    "words",
    [
        "only the picture",
        "without the sound",
        "use 500 steps",
        "use rank 16",
        "remove the logo",
        "use my captions",
        "text-to-video",
        "use v2v_ic",
        "half of them",
        "so that when i type a prompt i get shots like these",
        "use a.safetensors",
        "without a trigger",
    ],
)
def test_what_selects_no_clips(words: str) -> None:
    assert selection_in(with_digits(words)) == {}


def test_a_pronoun_alone_selects_nothing_and_is_noticed() -> None:
    assert selection_in("skip them") == {}
    assert points_at_clips("skip them")
    assert not points_at_clips("skip clip 3")


def test_every_trait_has_words_and_no_word_is_of_another() -> None:
    words = yaml.safe_load((Path(selections.__file__).parent / "traits.yaml").read_text(encoding="utf-8"))
    assert set(words) == set(get_args(Trait))
