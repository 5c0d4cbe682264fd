import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from agent.planner.objective_choice import choose, missing_of
from agent.planner.sides import only_side, speaks_of_sound
from tools.inspect.report.footage import Footage
from trainer_core.objective import OBJECTIVE_NAMES

sys.path.insert(0, str(Path(__file__).parents[2] / "instruments"))

from goals import FOOTAGE, SPLITS, judged, sentences

SOUND = Footage(videos=10, with_sound=10)
SILENT = Footage(videos=10)
PAIRS = Footage(videos=10, with_sound=10, reference_video=10)
MASKS = Footage(videos=10, with_sound=10, video_mask=10)
PHOTOS = Footage(images=30)
WAVS = Footage(sounds=40)


def test_goals_of_the_kept_back_split_are_hardly_ever_taken_for_another() -> None:
    found = Counter(one.outcome for one in judged("fresh", ("clips with sound", "silent clips", "pairs", "photos")))
    assert found["wrong"] <= 0.02 * found.total()
    assert found["right"] + found["offered"] >= 0.95 * found.total()


def test_what_measures_is_nowhere_an_exemplar() -> None:
    from agent.planner.meaning import digest_of, exemplars

    held = {digest_of(words) for split in SPLITS for _, words in sentences(split)}
    assert held.isdisjoint(digest_of(exemplar.text) for exemplar in exemplars())


@pytest.mark.parametrize("words", ["", "   ", "wibble flurb", "what's the weather like?", "500 steps", "trigger ohwx"])
def test_words_that_name_no_goal_are_asked_about(words: str) -> None:
    choice = choose(words, SOUND)
    assert choice.verdict == "ask"
    assert not choice.understood
    assert choice.offered == ("t2v", "i2v")


@pytest.mark.parametrize(
    ("words", "footage", "objective", "missing"),
    [
        ("add sound to my silent clips", SILENT, "v2a", ("audio",)),
        ("remove the logo", SOUND, "video_inpainting", ("video_mask",)),
        ("restyle my footage", SOUND, "v2v_ic", ("reference_video",)),
        ("bring my old family photos to life", PHOTOS, "i2v", ("moving video",)),
        ("clone the speaking voice of our narrator, only the sound", PHOTOS, "t2a", ("audio",)),
        ("make my vertical clips widescreen", WAVS, "video_outpainting", ("video",)),
    ],
)
def test_what_the_footage_cannot_carry_is_refused_with_what_is_missing(
    words: str, footage: Footage, objective: str, missing: tuple[str, ...]
) -> None:
    choice = choose(words, footage)
    assert (choice.verdict, choice.objective, choice.missing) == ("refuse", objective, missing)
    assert all(not missing_of(name, footage) for name in choice.offered)


def test_voice_and_look_from_footage_without_sound_is_refused_and_the_picture_offered() -> None:
    choice = choose("learn this man's face and voice", PHOTOS)
    assert choice.verdict == "refuse"
    assert choice.missing == ("audio",)
    assert choice.offered == ("t2v",)


@pytest.mark.parametrize("words", ["restyle my footage", "before and after, learn what my colourist does"])
def test_pairs_and_words_of_change_are_an_in_context_objective(words: str) -> None:
    assert choose(words, PAIRS).objective == "v2v_ic"


def test_masks_beside_clips_put_inpainting_first_where_the_words_leave_it_open() -> None:
    choice = choose("make it nice", MASKS)
    assert choice.verdict == "ask"
    assert choice.offered[0] == "video_inpainting"


@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
def test_its_own_name_is_an_objective_whatever_stands_around_it(name: str) -> None:
    footage = Footage(
        videos=5, with_sound=5, sounds=5, reference_video=5, reference_audio=5, video_mask=5, audio_mask=5
    )
    assert choose(f"please make it {name.replace('_', ' ')} now", footage).objective == name


@pytest.mark.parametrize(
    ("words", "side"),
    [
        ("only the picture", "picture"),
        ("my film without sound", "picture"),
        ("nur das bild", "picture"),
        ("sin sonido", "picture"),
        ("sans le son", "picture"),
        ("映像だけ", "picture"),
        ("不要声音", "picture"),
        ("just the audio", "sound"),
        ("ohne bild", "sound"),
        ("只要声音", "sound"),
        ("my clips have no sound, add some", None),
        ("foley for silent clips", None),
        ("the look of my film", None),
    ],
)
def test_which_side_is_wanted_alone(words: str, side: str | None) -> None:
    assert only_side(words) == side


def test_leaving_the_sound_out_is_not_speaking_of_it() -> None:
    assert speaks_of_sound("her voice and her face")
    assert not speaks_of_sound("my film without sound")
    assert choose("the look of my film, without sound", SOUND).picture_only


@pytest.mark.parametrize(
    ("words", "objective"),
    [
        ("Musik passend zum Bild", "v2a"),
        ("quiero planos más largos", "video_extension"),
        ("donner vie à de vieilles photos", "i2v"),
        ("古い写真を動かして", "i2v"),
        ("给我的歌配上画面", "a2v"),
        ("a estética da minha curta-metragem", "t2v"),
        ("nuove musiche nello stile della mia band, solo audio", "t2a"),
    ],
)
def test_goals_in_other_languages_are_understood(words: str, objective: str) -> None:
    choice = choose(words, SOUND)
    assert objective in (choice.objective, *choice.offered)


def test_a_choice_after_the_first_takes_less_than_a_quarter_of_a_second() -> None:
    choose("warm up", SOUND)
    times = []
    for number, footage in enumerate(FOOTAGE.values()):
        begun = time.perf_counter()
        choose(f"a goal that was never said before, number {number}", footage)
        times.append(time.perf_counter() - begun)
    assert sorted(times)[-2] < 0.25


def test_two_wishes_in_one_sentence_are_asked_about() -> None:
    choice = choose("animate my old photos, plus add foley to my silent clips", SOUND)
    assert (choice.verdict, choice.offered, choice.two_wishes) == ("ask", ("i2v", "v2a"), True)
    beyond = choose("make my clips longer and also remove the logo", SOUND)
    assert (beyond.verdict, beyond.offered, beyond.beyond) == ("ask", ("video_extension",), ("video_inpainting",))


def test_two_sides_of_one_wish_are_one() -> None:
    assert choose("the look of my film and also its sound", SOUND).objective == "t2v"


def test_a_question_offers_what_the_words_mean_most_whatever_lies_beside_the_clips() -> None:
    footage = FOOTAGE["pairs with sound"]
    for words in ("a composer for my pictures", "shapes that dance to techno"):
        choice = choose(words, footage)
        by_words = choose(words, SOUND)
        assert (by_words.objective or by_words.offered[0]) in (choice.objective, *choice.offered)


def test_a_refusal_names_the_other_thing_that_may_have_been_meant() -> None:
    close = [
        one for one in judged("oblique", ("silent clips",)) if one.choice.verdict == "refuse" and one.choice.beyond
    ]
    assert close
    for one in close:
        assert all(missing_of(name, FOOTAGE["silent clips"]) for name in one.choice.beyond)
