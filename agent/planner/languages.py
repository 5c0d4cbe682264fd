"""The language of a sentence, by its script and its commonest words; enough to say once that answers are English."""

import re
from functools import cache
from pathlib import Path

import yaml

_SCRIPTS: tuple[tuple[str, str], ...] = (
    ("Japanese", r"[\u3040-\u30ff]"),
    ("Korean", r"[\uac00-\ud7af]"),
    ("Chinese", r"[\u4e00-\u9fff]"),
    ("Russian", r"[\u0400-\u04ff]"),
    ("Arabic", r"[\u0600-\u06ff]"),
    ("Thai", r"[\u0e00-\u0e7f]"),
)
FEWEST = 2
"""Words of a language, more than of English, from which a sentence counts as one of it."""


def language_of(words: str) -> str | None:
    """The language of `words` by its English name; None for English and where too little is said."""
    for name, script in _SCRIPTS:
        if re.search(script, words):
            return name
    said = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", words.lower())
    counts = {name: sum(word in known for word in said) for name, known in _words().items()}
    english = counts.pop("English")
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] >= FEWEST and counts[best] > english else None


@cache
def _words() -> dict[str, frozenset[str]]:
    read = yaml.safe_load((Path(__file__).parent / "languages.yaml").read_text(encoding="utf-8"))
    return {name: frozenset(words) for name, words in read.items()}
