"""An utterance taken apart: both wishes are kept, and what nobody could follow is told."""

import pytest

from agent.planner.clauses import read


@pytest.mark.parametrize(
    ("words", "intents"),
    [
        ("use 500 steps", ["draft"]),
        ("use 500 steps and start", ["draft", "start"]),
        ("stop and export it", ["stop", "export"]),
        ("what is rank? set it to 16", ["term", "draft"]),
        ("what is rank and what will it cost?", ["term", "question"]),
        ("rank 16, 800 steps, lr 5e-5", ["draft"]),
        ("resume from step 100 with 800 steps and learning rate 5e-5", ["resume"]),
        ("bunny_00 and bunny_01", ["draft"]),
        ("start tomorrow and stop at noon", ["deferred"]),
        ("don't start, use 40 steps first", ["draft"]),
        ("use 300 steps and show me some samples", ["draft", "sample"]),
        ("only the picture and only the sound", ["contradiction"]),
        ("lower the learning rate and use rank 16", ["draft", "vague"]),
        ("the learning rate is too high", ["vague"]),
        ("that's too many steps", ["vague"]),
        ("use rank 16 and more steps", ["draft", "vague"]),
        ("rank 16, 300 steps and a lower learning rate, please", ["draft", "vague"]),
        ("trigger ohwx and a higher rank", ["caption", "vague"]),
        ("more steps, use 500 steps, and rank 16", ["draft"]),
        ("a lower learning rate and more steps", ["vague"]),
    ],
)
def test_the_wishes_of_a_sentence(words: str, intents: list[str]) -> None:
    assert [wish.intent for wish in read(words).wishes] == intents


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("use 500 steps at 24 fps", ("24 fps",)),
        ("use 500 steps, and wobble the flanges", ("wobble the flanges",)),
        ("use 500 steps, it's only a test", ()),
        ("skip clip 3 and use 500 steps", ()),
        ("2k steps and rank 16 please", ()),
        ("hold out 20%", ()),
        ("trigger ohwx and 500 steps", ()),
        ("no wait, 900 steps", ()),
        ("all but the bunny ones", ()),
    ],
)
def test_what_was_not_followed(words: str, left: tuple[str, ...]) -> None:
    assert read(words).left == left
