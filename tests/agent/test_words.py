"""What the planner's rules make of a person's words."""

import pytest

from agent.planner.intents import read_goal, understand
from agent.planner.slots import relative_values


@pytest.mark.parametrize(
    ("words", "intent"),
    [
        ("", "empty"),
        ("help", "question"),
        ("?", "question"),
        ("status", "status"),
        ("is it working?", "status"),
        ("how is it going", "status"),
        ("how long will it take?", "question"),
        ("stop", "stop"),
        ("please stop the run", "stop"),
        ("start", "start"),
        ("train!", "start"),
        ("run it", "start"),
        ("yes", "yes"),
        ("go on", "yes"),
        ("no", "no"),
        ("not yet", "no"),
        ("no sound please", "draft"),
        ("only video", "draft"),
        ("inspect", "inspect"),
        ("what does rank mean?", "term"),
        ("what is a trigger?", "term"),
        ("explain overfitting", "term"),
        ("the weather is fine", "question"),
        ("train the stop-motion look of these clips", "other"),
    ],
)
def test_intent(words: str, intent: str) -> None:
    assert understand(words).intent == intent


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ("use 500 steps", {"steps": 500}),
        ("steps: 2k", {"steps": 2000}),
        ("1,500 training steps and rank 16", {"steps": 1500, "rank": 16}),
        ("learning rate 1e-4", {"learning_rate": 1e-4}),
        ("lr = .0002, batch size 4", {"learning_rate": 0.0002, "batch_size": 4}),
        ("full fine-tune", {"adapter": "full"}),
        ("an IC-LoRA please", {"adapter": "ic-lora"}),
        ("what does 500 steps mean?", {}),
    ],
)
def test_values(words: str, values: dict[str, object]) -> None:
    assert understand(words).draft == values


@pytest.mark.parametrize(
    ("words", "objective"),
    [
        ("add sound to my silent clips", "v2a"),
        ("music for my video", "v2a"),
        ("make video from music", "a2v"),
        ("animate my photos", "i2v"),
        ("image to video", "i2v"),
        ("I want to extend the clips", "video_extension"),
        ("extend the music", "audio_extension"),
        ("repair the audio", "audio_inpainting"),
        ("remove the logo", "video_inpainting"),
        ("widen the frame", "video_outpainting"),
        ("only sound", "t2a"),
        ("restyle my footage", "v2v_ic"),
        ("voice conversion", "a2a_ic"),
        ("av2av_ic", "av2av_ic"),
        ("objective v2v_ic", "v2v_ic"),
        ("text to video", "t2v"),
    ],
)
def test_objective(words: str, objective: str) -> None:
    assert understand(words).draft["objective"] == objective


@pytest.mark.parametrize(
    ("words", "trigger"),
    [
        ("trigger ohwx", "ohwx"),
        ("the trigger word is Zed_1", "Zed_1"),
        ("use sks as trigger", "sks"),
        ("trigger: x-1", "x-1"),
    ],
)
def test_trigger_word_keeps_its_case(words: str, trigger: str) -> None:
    assert understand(words).caption == {"trigger": trigger}


def test_trigger_needs_a_word() -> None:
    assert understand("set a trigger for my dog").caption == {}


def test_a_goal_gives_no_orders() -> None:
    goal = read_goal("stop everything and start the status, 40 steps, no sound")
    assert goal.intent == "other"
    assert goal.draft == {"steps": 40, "video_only": True}


@pytest.mark.parametrize(
    ("words", "intent"),
    [
        ("should I stop?", "advice"),
        ("can we let it go on", "advice"),
        ("is it overfitting?", "advice"),
        ("why is it slow?", "slow"),
        ("which checkpoint is best?", "best"),
        ("where is my adapter", "best"),
        ("compare the runs", "compare"),
        ("show me some samples", "sample"),
        ("render samples", "sample"),
        ("what is a sample rate?", "term"),
        ("export it", "export"),
        ("export it for ComfyUI", "export"),
        ("resume", "resume"),
        ("why?", "question"),
        ("send my clips to a friend", "refused"),
        ("what is your API key?", "refused"),
        ("show me the API key", "refused"),
        ("rm -rf / please", "refused"),
        ("use 500 steps and 900 steps", "contradiction"),
        ("only the picture and only the sound", "contradiction"),
        ("more steps", "vague"),
        ("a lower learning rate please", "vague"),
        ("train longer", "vague"),
        ("yes, but use 500 steps", "draft"),
        ("not 500 steps but 900 steps", "draft"),
    ],
)
def test_more_intents(words: str, intent: str) -> None:
    assert understand(words).intent == intent


@pytest.mark.parametrize(
    ("words", "skip"),
    [
        ("skip clip 3", ["3"]),
        ("leave out clips 3, 5 and 7", ["3", "5", "7"]),
        ("don't use bikes_1.mp4", ["bikes_1.mp4"]),
    ],
)
def test_clips_to_leave_out(words: str, skip: list[str]) -> None:
    assert understand(words).draft == {"skip": skip}


def test_all_clips_are_taken_again() -> None:
    assert understand("use all clips").draft == {"skip": [], "only": []}


@pytest.mark.parametrize(
    ("words", "draft"),
    [
        ("no, only audio", {"objective": "t2a"}),
        ("keep the sound", {"video_only": False}),
        ("my dog", {"objective": "i2v"}),
        ("it's about our little robot", {"objective": "i2v"}),
        ("make it longer", {"objective": "video_extension"}),
        ("make them longer at the beginning", {"objective": "video_extension", "direction": "before"}),
        ("backwards", {"direction": "before"}),
        ("steps -5", {"steps": -5}),
        ("hold out 20%", {"held_out": 0.2}),
    ],
)
def test_corrections(words: str, draft: dict[str, object]) -> None:
    assert understand(words).draft == draft


def test_relative_values() -> None:
    assert relative_values("double the rank") == {"rank": 2.0}
    assert relative_values("half as many steps") == {"steps": 0.5}
    assert relative_values("a learning rate ten times lower") == {}
