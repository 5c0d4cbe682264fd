"""From a person's words and the counts of the footage to an objective, one question, or a plain refusal.

The words give each objective a likelihood (exemplars, and rules for what must be exact), the footage a prior; where the
two together don't favour one clearly, the two likeliest are offered. Nothing is drafted from words that weren't
understood.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from agent.planner.meaning import meanings
from agent.planner.sentence_encoder import plain
from agent.planner.sides import only_side, speaks_of_sound
from agent.planner.slots import objective_in, without_values
from tools.inspect.report.footage import Footage
from trainer_core.objective import OBJECTIVE_NAMES, objective_named

Verdict = Literal["clear", "ask", "refuse"]

ELSEWHERE = "elsewhere"
"""What stands beside the objectives in the odds: words that mean no goal at all."""

_TEMPERATURE = 0.12
"""How far apart two scores must be to be e times as likely. This and the margins: tests/instruments/goals.py."""
_RULE = 0.35
"""What a rule that matched adds to the score of its objective; rules are right six times in seven."""
_MARGIN = 1.7
"""Below this log-odds of the best objective over the next one, the person is asked."""
_MARGIN_REFUSE = 0.7
"""Above this log-odds of what the footage can't carry over the best that it can, the person is told so."""
_MARGIN_NEAR = 3.0
"""Within this log-odds, words that mean no goal are asked about by what they are nearest to, not by footage alone."""
_UNDERSTOOD = 0.14
"""A best score below this is no understanding, whatever the others are."""
_SURE = 0.3
"""And one below this is too weak to act on."""

_CONTRADICTED = 4.0
"""Log-odds that an objective loses when the words leave out the side it makes."""

_AND_ALSO = re.compile(
    r"[.;,]?\s+(?:and (?:also|then also|besides|additionally)|and on top of that|as well as|plus|besides|"
    r"in addition|also|und (?:auch|au[ßs]erdem|zus[äa]tzlich)|au[ßs]erdem|y (?:tambi[ée]n|adem[áa]s)|adem[áa]s|"
    r"et (?:aussi|en plus|puis)|en plus|e (?:tamb[ée]m|al[ée]m disso)|al[ée]m disso|e (?:anche|inoltre)|inoltre)\s+"
    r"|[、，,。]?(?:それから|さらに|また|另外|还要|同时还|而且)"
)
"""Words between two wishes; a bare "and" joins two sides of one as often."""

_NAMES: tuple[tuple[str, str], ...] = (
    ("av2av_ic", r"\baudio[- ]?(?:and )?video[- ]to[- ]audio[- ]?(?:and )?video\b"),
    ("v2v_ic", r"\bvideo[- ]to[- ]video\b"),
    ("a2a_ic", r"\baudio[- ]to[- ]audio\b"),
    ("v2a", r"\bvideo[- ]to[- ]audio\b"),
    ("a2v", r"\baudio[- ]to[- ]video\b"),
    ("t2v", r"\btext[- ]to[- ]video\b"),
    ("t2a", r"\btext[- ]to[- ](?:audio|speech|music|sound)\b"),
    ("i2v", r"\b(?:image|still|photo|picture)[- ]to[- ]video\b"),
    ("video_extension", r"\bvideo extension\b"),
    ("video_inpainting", r"\bvideo inpainting\b"),
    ("video_outpainting", r"\b(?:video )?outpainting\b"),
    ("audio_extension", r"\baudio extension\b"),
    ("audio_inpainting", r"\baudio inpainting\b"),
)


@dataclass(frozen=True)
class Choice:
    """What the words came to. `offered`: at most two objectives that this footage carries, the likeliest first.

    clear: `objective` is meant. ask: one of `offered`, or nothing was understood. refuse: `objective` is meant and the
    footage lacks `missing` for it. `beyond`: what the words may as well mean, where the footage lacks something for it
    too. `picture_only`: the sound is left out. `two_wishes`: the words ask for all of `offered` and `beyond`.
    """

    verdict: Verdict
    said: str
    objective: str | None = None
    offered: tuple[str, ...] = ()
    understood: bool = True
    missing: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    picture_only: bool = False
    two_wishes: bool = False


def choose(words: str, footage: Footage) -> Choice:
    """Return what `words` ask for on this footage."""
    text = without_values(plain(words))
    likely = _prior(footage)
    carried = sorted((name for name in OBJECTIVE_NAMES if not missing_of(name, footage)), key=lambda n: -likely[n])
    if not text:
        return Choice("ask", words, offered=tuple(carried[:2]), understood=False)
    named = named_objective(text)
    side = only_side(text)
    if named is not None:
        return _clear_or_refused(named, words, text, footage, carried)
    wishes = _two_wishes(text)
    offered = tuple(name for name in wishes if name in carried)
    if offered:
        beyond = tuple(name for name in wishes if name not in carried)
        return Choice("ask", words, offered=offered, beyond=beyond, two_wishes=True)
    odds = _odds(text, side)
    elsewhere = odds.pop(ELSEWHERE)
    together = {name: odds[name] + likely[name] for name in carried}
    ranked = sorted(together, key=lambda name: -together[name])
    by_words = sorted(odds, key=lambda name: -odds[name])
    said_best = by_words[0]
    if not ranked:
        return Choice("ask", words, understood=False)
    if elsewhere > odds[said_best]:
        is_near = elsewhere - odds[said_best] < _MARGIN_NEAR
        return Choice("ask", words, offered=_two(ranked, by_words) if is_near else tuple(carried[:2]), understood=False)
    beyond = tuple(name for name in by_words[:2] if name not in carried and odds[said_best] - odds[name] < _MARGIN)
    if said_best not in carried and odds[said_best] - max(odds[name] for name in ranked) > _MARGIN_REFUSE:
        instead, missing = _instead(said_best, ranked), missing_of(said_best, footage)
        return Choice("refuse", words, said_best, instead, missing=missing, beyond=beyond[1:])
    best = ranked[0]
    rivals = [elsewhere, *(together[name] for name in ranked[1:]), *(odds[n] for n in odds if n not in together)]
    is_clear = (
        together[best] - max(rivals) >= _MARGIN
        and odds[best] == max(odds[name] for name in ranked)  # the footage may raise a doubt, never outvote the words
        and odds[best] * _TEMPERATURE >= _SURE
    )
    if not is_clear:
        return Choice("ask", words, offered=_two(ranked, by_words), beyond=beyond)
    return _clear_or_refused(best, words, text, footage, carried)


def _two_wishes(text: str) -> tuple[str, ...]:
    """The two objectives that a sentence asks for one after the other, each clearly; one training can't do both."""
    found: dict[str, None] = {}
    for part in _AND_ALSO.split(text):
        odds = _odds(part, only_side(part))
        first, second = sorted(odds, key=lambda name: -odds[name])[:2]
        clear = odds[first] - odds[second] >= _MARGIN and odds[first] * _TEMPERATURE >= _SURE
        if clear and first != ELSEWHERE:
            found[first] = None
    return tuple(found)[:2] if len(found) > 1 else ()


def _two(ranked: list[str], by_words: list[str]) -> tuple[str, ...]:
    """The likeliest of `ranked`, and the one of them that the words alone mean most: the footage doesn't drop it."""
    said = next(name for name in by_words if name in ranked)
    return tuple(dict.fromkeys((ranked[0], said, *ranked)))[:2]


def named_objective(text: str) -> str | None:
    """The objective whose own name stands in lower-case `text`."""
    for name in sorted(OBJECTIVE_NAMES, key=len, reverse=True):
        if re.search(rf"\b{name.replace('_', '[ _]')}\b", text):
            return name
    return next((name for name, pattern in _NAMES if re.search(pattern, text)), None)


def missing_of(name: str, footage: Footage) -> tuple[str, ...]:
    """The columns that no clip has and the objective can't do without; the sound it makes beside pictures it can."""
    traits = _traits(name)
    has = {
        "video": footage.pictures,
        "audio": footage.with_sound if traits.sees else footage.any_sound,
        **{column: getattr(footage, column) for column in traits.columns if column not in ("video", "audio")},
    }
    lacking = [column for column in traits.columns if not has[column]]
    if traits.moves and not footage.videos:
        lacking = ["moving video", *(column for column in lacking if column != "video")]
    return tuple(lacking)


@dataclass(frozen=True)
class _Traits:
    """An objective as far as it is chosen by: the side it makes, whether it reads pictures, needs motion, and columns.

    `columns` are those it can't do without: the sound that it would make beside pictures is none of them.
    """

    makes_picture: bool
    makes_sound: bool
    sees: bool
    moves: bool
    columns: tuple[str, ...]


@cache
def _traits(name: str) -> _Traits:
    objective = objective_named(name)
    columns = set(objective.columns().values()) - {"caption"}
    if objective.video.generated and objective.audio.generated and not objective.uses_reference:
        columns -= {"audio"}
    return _Traits(
        makes_picture=objective.video.generated,
        makes_sound=objective.audio.generated,
        sees=objective.video.present,
        moves=any(objective.video.condition(kind) for kind in ("prefix", "suffix", "first_frame")),
        columns=tuple(sorted(columns)),
    )


def _clear_or_refused(name: str, words: str, text: str, footage: Footage, carried: list[str]) -> Choice:
    missing = missing_of(name, footage)
    if missing:
        instead = _instead(name, [one for one in carried if one != name])
        return Choice("refuse", words, name, instead, missing=missing)
    makes_both = _traits(name).makes_picture and _traits(name).makes_sound
    picture_only = makes_both and only_side(text) == "picture"
    if makes_both and not footage.any_sound and speaks_of_sound(text):
        return Choice("refuse", words, name, (name,), missing=("audio",), picture_only=True)
    return Choice("clear", words, name, picture_only=picture_only)


def _odds(text: str, side: str | None) -> dict[str, float]:
    """Log-likelihoods of the objectives, and of words that mean none, from the words alone."""
    scores = dict.fromkeys((*OBJECTIVE_NAMES, ELSEWHERE), 0.0)
    for match in meanings(text):
        name = match.label if match.kind == "objective" else ELSEWHERE
        scores[name] = max(scores[name], match.score)
    ruled = objective_in(text)
    if ruled is not None:
        scores[ruled] += _RULE
    if side is not None:
        scores["t2a" if side == "sound" else "t2v"] += _RULE
    if max(scores[name] for name in OBJECTIVE_NAMES) < _UNDERSTOOD:
        scores[ELSEWHERE] += 1.0
    odds = {name: score / _TEMPERATURE for name, score in scores.items()}
    for name in OBJECTIVE_NAMES:
        makes_picture = _traits(name).makes_picture
        if (side == "sound" and makes_picture) or (side == "picture" and not makes_picture):
            odds[name] -= _CONTRADICTED
    return odds


def _prior(footage: Footage) -> dict[str, float]:
    """What the footage says for each objective before a word is said, as log-odds."""
    clips = max(1, footage.pictures + footage.sounds)
    prior = dict.fromkeys(OBJECTIVE_NAMES, 0.0)
    prior.update({"t2v": 0.5, "i2v": 0.3, "t2a": 0.0 if footage.pictures else 0.5})  # what most people train
    for name, column, weight in (
        ("v2v_ic", "reference_video", 2.0),
        ("av2av_ic", "reference_audio", 1.5 if footage.reference_video else 0.0),
        ("a2a_ic", "reference_audio", 2.0 if not footage.reference_video else 0.0),
        ("video_inpainting", "video_mask", 2.5),
        ("audio_inpainting", "audio_mask", 2.5),
    ):
        prior[name] += weight * min(1.0, 2 * getattr(footage, column) / clips)
    return prior


def _instead(name: str, ranked: list[str]) -> tuple[str, ...]:
    """The objective to offer in place of one that the footage can't carry: one that makes the same side."""
    own = _traits(name)
    if name == "av2av_ic" and "v2v_ic" in ranked:
        return ("v2v_ic",)
    same = [
        one
        for one in ranked
        if (_traits(one).makes_picture and own.makes_picture) or (_traits(one).makes_sound and own.makes_sound)
    ]
    if "t2v" in ranked and own.makes_picture:
        return ("t2v",)
    return tuple((same or ranked)[:1])
