"""Questions, terms, languages, numbers and what is meant by the sentence before."""

import json
from pathlib import Path
from typing import get_args

import pytest
import yaml

from agent.approvals.consent import consent_of
from agent.planner import meaning, offers
from agent.planner.answers import kinds
from agent.planner.glossary import explain, is_known, meant_term, nearest_terms, terms
from agent.planner.in_context import in_context
from agent.planner.intents import plain, understand
from agent.planner.languages import language_of
from agent.planner.numbers import with_digits
from agent.planner.offers import chosen, not_understood, offered_in
from agent.planner.questions import QuestionKind, meant_kind, question_kind
from agent.session.slash import parse

STATE = {"artifacts": {}, "approvals": [], "runs": [], "facts": {}, "project": "/p", "plan": {"steps": 60, "rank": 8}}


@pytest.mark.parametrize("kind", get_args(QuestionKind))
def test_every_kind_of_question_has_an_answer(kind: QuestionKind) -> None:
    answer = kinds.answer_to(kind, "why?", STATE)
    assert answer
    json.dumps(answer)


def test_exemplars_are_of_kinds_and_terms_that_exist() -> None:
    for name, known in (("question", set(get_args(QuestionKind))), ("term", set(terms()))):
        read = yaml.safe_load((meaning.EXEMPLARS / f"{name}.yaml").read_text(encoding="utf-8"))
        assert set(read["labels"]) <= known


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("how long is this going to take?", "duration"),
        ("was kostet das?", "cost"),
        ("combien ça coûte ?", "cost"),
        ("なぜこのランク？", "why"),
        ("can I sell it?", "commercial"),
        ("what now?", "next"),
        ("is my footage uploaded?", "privacy"),
        ("use 500 steps", None),
    ],
)
def test_kinds_by_rule(words: str, kind: str | None) -> None:
    assert question_kind(plain(words)) == kind


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("how pricey is this gonna be", "cost"),
        ("ist das viel geld?", "cost"),
        ("do i need to shoot more", "enough"),
        ("blorb", None),
        ("wibble the flange", None),
    ],
)
def test_kinds_by_meaning(words: str, kind: str | None) -> None:
    assert meant_kind(words) == kind


def test_terms_are_found_by_name_spelling_and_meaning() -> None:
    assert str(explain("ranks")).startswith("Rank: ")
    assert str(explain("leraning rate")).startswith("Learning rate: ")
    assert str(explain("fps")).startswith("Frame rate: ")
    assert str(meant_term("what's the magic word that wakes it up")).startswith("Trigger: ")
    assert explain("kumquat") is None
    assert not is_known("kumquat")
    assert nearest_terms("rang") == ["rank"]


@pytest.mark.parametrize(
    ("words", "agrees"),
    [
        *(
            (words, True)
            for words in ("yes", "Yes please!", "lgtm", "ship it", "👍", "ja", "oui", "go on", "ok, do it", "はい")
        ),
        *((words, False) for words in ("ok but rank 16", "okay no", "go back", "do it tomorrow", "yes?", "not ok", "")),
    ],
)
def test_only_a_whole_yes_is_one(words: str, agrees: bool) -> None:
    assert (consent_of(words) == "yes") == agrees


@pytest.mark.parametrize(
    ("spelled", "digits"),
    [
        ("five hundred steps", "500 steps"),
        ("two thousand five hundred", "2500"),
        ("a dozen clips", "12 clips"),
        ("twenty-five percent", "25 percent"),
        ("the first one", "the first one"),
        ("one step at a time", "one step at a time"),
        ("fünfhundert schritte", "500 schritte"),
        ("三百步", "300步"),
    ],
)
def test_numbers_in_words(spelled: str, digits: str) -> None:
    assert with_digits(spelled) == digits


@pytest.mark.parametrize(
    ("words", "language"),
    [
        ("wie lange dauert das?", "German"),
        ("¿cuánto cuesta todo esto?", "Spanish"),
        ("combien de temps pour ça ?", "French"),
        ("quanto tempo ci vuole?", "Italian"),
        ("quanto custa isto?", "Portuguese"),
        ("いくらですか", "Japanese"),
        ("多少钱", "Chinese"),
        ("how long will it take?", None),
        ("use 500 steps", None),
    ],
)
def test_language(words: str, language: str | None) -> None:
    assert language_of(words) == language


@pytest.mark.parametrize(
    ("before", "words", "draft"),
    [
        ("more steps", "500", {"steps": 500}),
        ("higher rank", "double", {"rank": 16}),
        ("use 500 steps", "no, 700", {"steps": 700}),
        ("use 600 steps", "half of that", {"steps": 30}),
        ("what is rank?", "set it to 16", {"rank": 16}),
        ("hello", "give it 40 more steps", {"steps": 100}),
        ("hello", "half the steps", {"steps": 30}),
        ("hello", "500", {}),
    ],
)
def test_a_sentence_beside_the_one_before(before: str, words: str, draft: dict[str, int]) -> None:
    assert in_context(understand(words), words, [understand(before)], STATE).draft == draft


@pytest.mark.parametrize(
    ("words", "term"), [("make it twice as long", "longer"), ("half of them", "half"), ("skip them", "clips")]
)
def test_what_leaves_open_what_is_meant_is_asked(words: str, term: str) -> None:
    wish = in_context(understand(words), words, [], STATE)
    assert (wish.intent, wish.term) == ("vague", term)


def test_the_same_words_never_come_twice_in_a_row() -> None:
    first = not_understood("blorb", STATE)
    second = not_understood("flurb", STATE, first)
    assert not set(offered_in(first)) & set(offered_in(second))
    assert chosen("the second", first) == offered_in(first)[1]
    assert chosen("blorb", first) is None


@pytest.mark.parametrize("phrase", sorted(set(offers._PHRASES.values())))
def test_what_is_offered_is_understood(phrase: str) -> None:
    wish = understand(phrase)
    assert wish.intent != "other" or phrase == "make the music longer"


@pytest.mark.parametrize(
    "words", ["undo that", "Take the last change back.", "no wait, undo", "mach das rückgängig", "元に戻して"]
)
def test_undo_in_words_is_the_command(words: str) -> None:
    parsed = parse(words)
    assert parsed is not None
    assert parsed.name == "undo"


@pytest.mark.parametrize(
    "words", ["can i undo this?", "undo the rank and use 500 steps", "take clip 3 back", "go back to step 100"]
)
def test_what_is_no_undo(words: str) -> None:
    assert parse(words) is None


def test_the_words_that_are_data_are_packaged() -> None:
    folder = Path(meaning.__file__).parent
    assert {path.name for path in folder.glob("*.yaml")} == {
        f"{name}.yaml" for name in ("glossary", "intents", "languages", "questions", "traits")
    }
