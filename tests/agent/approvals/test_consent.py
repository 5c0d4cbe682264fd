"""Whole utterances in eight languages: a yes, a no, or words to act on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.approvals.consent import consent_of
from agent.planner.intents import understand

TABLE: dict[str, dict[str, list[str]]] = yaml.safe_load(Path(__file__).with_name("utterances.yaml").read_text("utf-8"))
CASES = [(kind, language, words) for kind, by in TABLE.items() for language, all_ in by.items() for words in all_]


def test_the_table_is_large_and_has_every_language() -> None:
    assert len(CASES) >= 250
    assert {language for _, language, _ in CASES} >= {"en", "de", "es", "fr", "ja", "zh", "pt", "it"}


@pytest.mark.parametrize(("kind", "language", "words"), CASES)
def test_an_utterance_is_what_the_table_says(kind: str, language: str, words: str) -> None:
    assert consent_of(words) == (None if kind == "neither" else kind)


@pytest.mark.parametrize("words", ["ok but lower it", "yes?", "go back", "sure, if it is cheap", "okay no"])
def test_the_planner_reads_a_yes_in_the_same_place(words: str) -> None:
    assert understand(words).intent not in ("yes", "no")
    assert understand("ja, mach das").intent == "yes"
    assert understand("いいえ").intent == "no"


@pytest.mark.parametrize(
    ("words", "approval", "expected"),
    [
        ("start it", "start", "yes"),
        ("start it", "push", None),
        ("overwrite it", "overwrite", "yes"),
        ("train", "", None),
    ],
)
def test_a_cards_own_verb_is_a_yes_to_it_alone(words: str, approval: str, expected: Any) -> None:
    assert consent_of(words, approval) == expected


def test_a_long_text_is_never_consent() -> None:
    assert consent_of("yes " * 60) is None
