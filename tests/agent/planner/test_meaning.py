import time

import numpy as np
import pytest

from agent.planner import meaning
from agent.planner.meaning import digest_of, exemplars, meanings, nearest, stored_vectors
from agent.planner.sentence_encoder import encode, is_installed
from trainer_core.objective import OBJECTIVE_NAMES

LANGUAGES = {"en", "de", "es", "fr", "ja", "zh", "pt", "it"}


def test_the_encoder_is_a_dependency_so_the_main_way_has_it() -> None:
    assert is_installed()


@pytest.mark.parametrize("objective", OBJECTIVE_NAMES)
def test_every_objective_has_25_exemplars_in_eight_languages(objective: str) -> None:
    own = [exemplar for exemplar in exemplars() if exemplar.label == objective]
    assert len(own) >= 25
    assert {exemplar.language for exemplar in own} >= LANGUAGES


def test_no_sentence_stands_twice() -> None:
    digests = [digest_of(exemplar.text) for exemplar in exemplars()]
    assert sorted(set(digests)) == sorted(digests)


def test_the_stored_vectors_are_those_of_the_exemplars() -> None:
    stored = stored_vectors()
    assert set(stored) == {digest_of(exemplar.text) for exemplar in exemplars()}, "python -m agent.planner.make_vectors"
    some = exemplars()[::60]
    made = encode([exemplar.text for exemplar in some])
    assert made is not None
    kept = np.stack([stored[digest_of(exemplar.text)] for exemplar in some])
    np.testing.assert_allclose(kept, made, atol=4e-3)


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("noises for a film that has none", "v2a"),
        ("Geräusche für meinen Stummfilm", "v2a"),
        ("mes photos doivent bouger", "i2v"),
        ("我想让照片动起来", "i2v"),
        ("この音楽に映像をつけて", "a2v"),
        ("quiero que el vídeo sea más largo", "video_extension"),
    ],
)
def test_words_that_no_exemplar_holds_are_understood_by_their_meaning(words: str, label: str) -> None:
    assert words not in {exemplar.text for exemplar in exemplars()}
    assert nearest(words, "objective")[0].label == label


def test_small_talk_is_nearest_to_small_talk() -> None:
    assert nearest("could you tell me tomorrow's weather?")[0].kind == "elsewhere"


def test_without_the_encoder_words_alone_still_tell_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meaning, "is_installed", lambda: False)
    assert nearest("add foley to my silent clips") == []
    assert meanings("add foley to my silent clips", "objective")[0].label == "v2a"


def test_an_answer_after_the_first_takes_milliseconds() -> None:
    nearest("warm up")
    begun = time.perf_counter()
    for number in range(20):
        nearest(f"a sentence that was never seen, number {number}")
    assert (time.perf_counter() - begun) / 20 < 0.25
